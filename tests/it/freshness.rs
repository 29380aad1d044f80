//! Freshness on real processes: three replicas under load, faults in the middle, and a checker that reads the
//! recorded history afterwards.
//!
//! The invariant: a request that was first sent after a change was answered `complete`, or after its `certain_by`, is
//! never decided from a state that is older than the change. [`world`] says what a state is and what it answers,
//! [`history`] what is recorded, [`checker`] which histories break the invariant; none of these does anything but
//! think, and [`broken_histories`] shows that the checker finds what it should. [`fleet`] has the processes, [`load`]
//! asks and changes, [`scenario`] puts it together, and the rest are the faults.
//!
//! `KEYSTILE_HISTORY_SEED` repeats the choices of a run, though not its timing; every run prints its seed.

mod broken_histories;
mod checker;
mod failover;
mod faults;
mod fleet;
mod history;
mod load;
mod recorder;
mod scenario;
mod world;

//! Rate limits, exact over all replicas: the rule, and what follows from it. Pure: time is a parameter, nothing waits.
//!
//! **The rule**: for every window W and limit N, in no interval of length W are more than N requests admitted (or estimated
//! tokens charged), over all replicas together. `docs/rate-limits.md` says what that means for users,
//! `docs/limits-proof.md` why it holds, and which test fails without which clause.
//!
//! - [`Row`] is what the store keeps of a limited [`Subject`]: counters by sub-bucket of each window, on a time line of
//!   its own that never goes back. Only whoever holds its lock changes it.
//! - [`answer`] is the one place where units are **debited**: it takes from a row what a replica asks for, if the rule
//!   allows.
//! - [`Stock`] is debited units in the hands of a replica, usable once each and for at most [`LEASE_MAX`].
//! - [`Holding`] is everything that a replica holds of one subject: stocks, refusals that it remembers, units to be given
//!   back, how much is needed.
//!
//! Times of rows are microseconds since 1970 on the database's clock ([`RowTime`]); times of replicas are nanoseconds of
//! their own monotonic clock ([`OwnTime`]). Neither is ever compared with the other.

mod answer;
mod codec;
mod demand;
mod holding;
mod refusal;
mod row;
mod status;
mod stock;
mod terms;
mod window;

pub use answer::{Answer, Ask, Part, answer, answer_in_turn};
pub use codec::{CorruptRow, decode, encode};
pub use holding::{Holding, Taken, Want};
pub use refusal::Refusal;
pub use row::{Return, Row, Shortage, Standing};
pub use status::{LimitStatus, Whose};
pub use stock::{LEASE_MAX, Stock};
pub use terms::{Limit, Metric, Need, Subject, Terms};
pub use window::{OwnTime, RowTime, Window};

#[cfg(test)]
mod tests;

//! PostgreSQL: the only user of diesel.
//!
//! Free functions on a connection, grouped by aggregate, one file a table group; each file has private
//! row structs and converts them to the types of [`crate::policy`] in one place. No repository traits:
//! PostgreSQL is the only store. What the functions mean together is up to the use cases.
//!
//! Lock order, each ascending: ids of requests, owners and keys, then secrets and digests, counters of limits, budgets,
//! usage, and
//! **the revision row last** (see [`changes`]).

pub mod audit;
pub mod budgets;
pub mod changes;
mod committed;
mod connect;
pub mod counters;
pub mod durability;
pub mod enclava_source;
mod epoch;
mod errors;
pub mod following;
pub mod idempotency;
pub mod inspection;
mod key_rows;
pub mod keys;
pub mod listing;
pub mod migrations;
pub mod owners;
pub mod peppers;
mod plans;
mod pool;
mod prepared;
pub mod probe;
pub mod purge;
pub mod replicas;
pub mod rotation;
mod schema;
pub mod secrets;
mod statement;
pub mod usage;

pub use epoch::{Epoch, ReadAt};
pub use errors::StorageError;
pub use pool::{Connection, READ_TIMEOUT, Session, Store, WRITE_TIMEOUT, Work};

//! Keystile against real PostgreSQL.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod administrator;
mod apply;
mod audit;
mod bad_input;
mod bounds;
mod budgets;
mod callers;
mod change_log;
mod command_line;
mod concurrency;
mod creating;
mod deciding;
mod deleting;
mod deploy;
mod doctor;
mod embedded;
mod expiring;
mod first_session;
mod freshness;
mod harness;
mod hostile;
mod import;
mod life;
mod limits;
mod listing;
mod lists_by_index;
mod loading;
mod logs;
mod look_alikes;
mod looking_up;
mod metrics;
mod model;
mod older_system;
mod operations;
mod outage;
mod owners;
mod plans;
mod proving;
mod raw;
mod readme;
mod refused;
mod repeating;
mod replicas;
mod rotating;
mod schema;
mod secrets;
mod short_way;
mod streaming;
mod tls;
mod traces;
mod updating;
mod usage;
mod waiting;
mod watching;
mod wire;

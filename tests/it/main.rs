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
mod bad_input;
mod bounds;
mod callers;
mod change_log;
mod concurrency;
mod creating;
mod deciding;
mod deleting;
mod doctor;
mod embedded;
mod expiring;
mod first_session;
mod harness;
mod hostile;
mod import;
mod listing;
mod look_alikes;
mod looking_up;
mod model;
mod older_system;
mod outage;
mod proving;
mod raw;
mod readme;
mod repeating;
mod rotating;
mod schema;
mod updating;
mod wire;

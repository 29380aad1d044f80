//! Keystile answers one question for other services: *may this API key do this, now?*
//! It also keeps the keys.
//!
//! The modules below stand in dependency order: each may use those above it, never those below.
//! `ARCHITECTURE.md` has the map; `tests/architecture/` holds the rules:
//!
//! - [`policy`] is pure: it knows `std` and `chrono`, no clock, no IO.
//! - [`storage`] is the only user of diesel, [`grpc`] the only one of tonic and prost.
//! - [`clock`] is the only reader of clocks.

pub mod call;
pub mod clock;
pub mod policy;

pub mod limits;

pub mod metrics;

pub mod token;

pub mod tls;

pub mod storage;

pub mod leases;

pub mod cache;

pub mod admin;
pub mod authorize;

pub mod grpc;

pub mod embedded;

pub mod config;
pub mod telemetry;

pub mod server;

pub mod cli;

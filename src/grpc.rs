//! The gRPC surface: the only user of tonic and prost.
//!
//! A request goes through [`telemetry_layer`] (which measures it), [`error_layer`] (which gives tonic's own errors our shape) and [`auth_layer`] (who
//! may call?) to a handler of about ten lines: read the message ([`convert`]), call a use case, write the
//! answer. [`error`] is the one table from failures to statuses.

pub mod access;
mod audit_service;
pub mod auth_layer;
mod authorize_service;
mod budget_service;
pub mod closing;
pub mod convert;
pub mod error;
pub mod error_layer;
pub mod hot;
mod key_service;
mod page;
mod page_token;
pub mod pb;
pub mod peer;
mod redact;
mod session;
mod streams;
pub mod telemetry_layer;
pub mod violations;

pub use audit_service::AuditApi;
pub use authorize_service::{AuthorizeApi, BATCH_MAX};
pub use budget_service::BudgetApi;
pub use key_service::KeyApi;
pub use streams::{Movement, Streams};

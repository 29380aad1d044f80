//! The gRPC surface: the only user of tonic and prost.

pub mod pb;
mod redact;

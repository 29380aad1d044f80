//! The code generated from `proto/keystile/v1`, and its descriptors.
//!
//! Messages that hold a secret get their `Debug` from `redact.rs`, never a derived one.

#![expect(
    clippy::all,
    clippy::as_conversions,
    reason = "generated code; the .proto files are its documentation"
)]

tonic::include_proto!("keystile.v1");

/// The encoded `FileDescriptorSet` of the published contract, for reflection and tests.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keystile_descriptor.bin"));

//! Compiles `proto/` without protoc, and keeps the descriptors for server reflection.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const PROTOS: [&str; 5] = [
    "keystile/v1/types.proto",
    "keystile/v1/authorize_service.proto",
    "keystile/v1/key_service.proto",
    "keystile/v1/budget_service.proto",
    "keystile/v1/audit_service.proto",
];

/// What the end user controls may be any bytes and must lead to a deny, never to an error. Protobuf
/// refuses a `string` that is not UTF-8, so the generated code reads these fields as `bytes`: the same
/// on the wire, while the published contract stays `string`.
const END_USER_FIELDS: [(&str, &[&str]); 4] = [
    ("AuthorizeRequest", &["token", "model", "endpoint", "method", "chatbot_id", "client_ip"]),
    ("FilterModelsRequest", &["token", "endpoint", "method", "chatbot_id", "client_ip"]),
    ("IntrospectKeyRequest", &["token"]),
    ("LookupKeyRequest", &["token"]),
];

/// Messages that are encoded once and sent many times: the generated code takes them as the `bytes` that they are on
/// the wire.
const ENCODED_FIELDS: [(&str, &[&str]); 1] = [("AuthorizeResponse", &["key"])];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let published = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("keystile_descriptor.bin"), published.encode_to_vec())?;

    let mut generated = published;
    let changed = take_as_bytes(&mut generated);
    let wanted: usize = bytes_fields().map(|(_, fields)| fields.len()).sum();
    assert_eq!(changed, wanted, "a field is named here that the contract does not have");

    tonic_prost_build::configure()
        .bytes(".keystile.v1")
        .btree_map(".keystile.v1")
        .skip_debug([
            "AuthorizeRequest",
            "FilterModelsRequest",
            "IntrospectKeyRequest",
            "LookupKeyRequest",
            "CreateKeyResponse",
            "RotateKeyResponse",
            "Key",
        ])
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds(generated)?;
    Ok(())
}

fn bytes_fields() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    END_USER_FIELDS.into_iter().chain(ENCODED_FIELDS)
}

fn take_as_bytes(set: &mut FileDescriptorSet) -> usize {
    let wanted: BTreeSet<(&str, &str)> = bytes_fields()
        .flat_map(|(message, fields)| fields.iter().map(move |field| (message, *field)))
        .collect();
    let mut changed = 0;
    let ours = set.file.iter_mut().filter(|file| file.package() == "keystile.v1");
    for message in ours.flat_map(|file| &mut file.message_type) {
        changed += take_fields_as_bytes(message, &wanted);
    }
    changed
}

fn take_fields_as_bytes(message: &mut DescriptorProto, wanted: &BTreeSet<(&str, &str)>) -> usize {
    let name = message.name().to_owned();
    let mut changed = 0;
    for field in &mut message.field {
        if wanted.contains(&(name.as_str(), field.name())) {
            field.set_type(Type::Bytes);
            field.type_name = None;
            changed += 1;
        }
    }
    changed
}

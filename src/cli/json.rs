//! Messages of the contract as JSON, by the contract's own descriptors.
//!
//! The protobuf JSON mapping with three choices, told in `--output`'s help: the names of the `.proto` files,
//! 64-bit integers as numbers, and plain fields also where they have their default value.

use anyhow::Context;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::grpc::pb;

/// `message`, which is a `keystile.v1.<name>`, as JSON.
///
/// # Errors
/// Only if `name` is not the message's, or holds a time out of the calendar.
pub fn to_json(name: &str, message: &impl Message) -> anyhow::Result<Value> {
    let message = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())
        .with_context(|| format!("the answer is no {name}"))?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .with_context(|| format!("the answer has a {name} that JSON cannot hold"))
}

/// The `keystile.v1.<name>` that `text` says.
///
/// # Errors
/// What is wrong with it, without what it holds.
pub fn from_json<M: Message + Default>(name: &str, text: &str) -> anyhow::Result<M> {
    let mut json = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor(name)?, &mut json)?;
    json.end()?;
    Ok(M::decode(message.encode_to_vec().as_slice())?)
}

fn descriptor(name: &str) -> anyhow::Result<MessageDescriptor> {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).context("the contract's descriptors")?;
    pool.get_message_by_name(&format!("keystile.v1.{name}"))
        .with_context(|| format!("the contract has no message {name}"))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn names_are_the_contracts_and_integers_are_numbers() {
        let key = pb::Key {
            key_id: 9_007_199_254_740_993,
            display_name: "ci".into(),
            state: pb::key::State::Active.into(),
            expire_time: Some(Timestamp { seconds: 1_900_000_000, nanos: 0 }),
            models: Some(pb::AccessRule { mode: pb::access_rule::Mode::Only.into(), patterns: vec![] }),
            rate_limits: Some(pb::RateLimits {
                requests: Some(pb::RateLimitWindows { per_minute: Some(0), ..Default::default() }),
                tokens: None,
            }),
            ..Default::default()
        };
        let json = to_json("Key", &key).unwrap();
        assert_eq!(json["key_id"], 9_007_199_254_740_993_i64);
        assert_eq!(json["user_id"], 0);
        assert_eq!(json["state"], "ACTIVE");
        assert_eq!(json["expire_time"], "2030-03-17T17:46:40Z");
        assert_eq!(json["models"], serde_json::json!({"mode": "ONLY", "patterns": []}));
        assert_eq!(json["rate_limits"], serde_json::json!({"requests": {"per_minute": 0}}));
        assert_eq!(json["tags"], serde_json::json!([]));
        assert_eq!(json.get("create_time"), None);
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        assert!(to_json("Nothing", &pb::Key::default()).unwrap_err().to_string().contains("Nothing"));
    }
}

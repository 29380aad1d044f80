//! Messages of the contract as JSON, by the contract's own descriptors.
//!
//! The protobuf JSON mapping with three choices, told in `--output`'s help: the names of the `.proto` files,
//! 64-bit integers as numbers (whole numbers of a `google.protobuf.Struct` too), and plain fields also where they have their default value.

use anyhow::Context;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::grpc::pb;

/// Up to here, 2^53, each whole number is a double of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

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
    let mut json = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .with_context(|| format!("the answer has a {name} that JSON cannot hold"))?;
    whole_numbers(&mut json);
    Ok(json)
}

/// Writes 1000006.0 as 1000006: a `Struct` knows no integers. The contract has no other fractions.
fn whole_numbers(json: &mut Value) {
    match json {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() <= EXACT_MAX);
            if let Some(whole) = whole.and_then(|it| format!("{it:.0}").parse::<i64>().ok()) {
                *json = whole.into();
            }
        }
        Value::Array(members) => members.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
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
    fn whole_numbers_of_a_struct_are_integers() {
        let number =
            |number: f64| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) };
        let list = prost_types::ListValue { values: vec![number(-3.0), number(1e300)] };
        let list = prost_types::Value { kind: Some(prost_types::value::Kind::ListValue(list)) };
        let fields = [("key_id", number(1_000_006.0)), ("half", number(0.5)), ("list", list)];
        let before = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let event =
            pb::AuditEvent { before: Some(prost_types::Struct { fields: before }), ..Default::default() };
        let before = to_json("AuditEvent", &event).unwrap()["before"].clone();
        assert_eq!(before, serde_json::json!({"key_id": 1_000_006, "half": 0.5, "list": [-3, 1e300]}));
        assert_eq!(before["key_id"].to_string(), "1000006");
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        assert!(to_json("Nothing", &pb::Key::default()).unwrap_err().to_string().contains("Nothing"));
    }
}

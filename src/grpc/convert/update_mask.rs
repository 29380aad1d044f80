//! `update_mask`: which fields of a key an update changes.

use std::collections::BTreeSet;

use prost_types::FieldMask;

use crate::grpc::pb;
use crate::grpc::violations::Violations;

/// A field that an update can change. Limits are fields of their own; lists, maps and rules are changed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "as the contract names them")]
pub enum Field {
    UserId,
    DisplayName,
    Description,
    Tags,
    Metadata,
    Permissions,
    Scopes,
    Models,
    Endpoints,
    Ips,
    Chatbots,
    Observe,
    RequestsPerMinute,
    RequestsPerHour,
    RequestsPerDay,
    TokensPerMinute,
    TokensPerHour,
    TokensPerDay,
}

const REQUESTS: [Field; 3] = [Field::RequestsPerMinute, Field::RequestsPerHour, Field::RequestsPerDay];
const TOKENS: [Field; 3] = [Field::TokensPerMinute, Field::TokensPerHour, Field::TokensPerDay];

/// What a path names.
const PATHS: [(&str, &[Field]); 21] = [
    ("user_id", &[Field::UserId]),
    ("display_name", &[Field::DisplayName]),
    ("description", &[Field::Description]),
    ("tags", &[Field::Tags]),
    ("metadata", &[Field::Metadata]),
    ("permissions", &[Field::Permissions]),
    ("scopes", &[Field::Scopes]),
    ("models", &[Field::Models]),
    ("endpoints", &[Field::Endpoints]),
    ("ips", &[Field::Ips]),
    ("chatbots", &[Field::Chatbots]),
    ("observe", &[Field::Observe]),
    ("rate_limits", &[REQUESTS[0], REQUESTS[1], REQUESTS[2], TOKENS[0], TOKENS[1], TOKENS[2]]),
    ("rate_limits.requests", &REQUESTS),
    ("rate_limits.tokens", &TOKENS),
    ("rate_limits.requests.per_minute", &[Field::RequestsPerMinute]),
    ("rate_limits.requests.per_hour", &[Field::RequestsPerHour]),
    ("rate_limits.requests.per_day", &[Field::RequestsPerDay]),
    ("rate_limits.tokens.per_minute", &[Field::TokensPerMinute]),
    ("rate_limits.tokens.per_hour", &[Field::TokensPerHour]),
    ("rate_limits.tokens.per_day", &[Field::TokensPerDay]),
];

const OUTPUT_ONLY: [&str; 15] = [
    "key_id",
    "key_prefix",
    "state",
    "create_time",
    "update_time",
    "last_used_time",
    "revoke_time",
    "revoke_reason",
    "delete_time",
    "purge_time",
    "etag",
    "totals",
    "budgets",
    "key_hash",
    "previous_token_expire_time",
];

/// So much of a wrong path is told back.
const PATH_SHOWN_MAX: usize = 64;

/// A path as it is told back.
pub(super) fn shown_path(path: &str) -> String {
    path.chars().take(PATH_SHOWN_MAX).flat_map(char::escape_debug).collect()
}

/// The fields that an update is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Fields whose value in the key counts, set or not.
    pub fields: BTreeSet<Field>,
    /// The caller has not picked single fields: what he left in the rest of the key says what he has seen.
    pub is_whole: bool,
}

/// The fields that a mask names; without one, those that are set.
pub fn read_mask(violations: &mut Violations, mask: Option<FieldMask>, key: &pb::Key) -> Mask {
    let FieldMask { paths } = mask.unwrap_or_default();
    match paths.as_slice() {
        [] => {
            let fields = set_fields(key);
            if fields.is_empty() {
                violations
                    .add("update_mask", "must name a field, or the key must set one that can be changed");
            }
            Mask { fields, is_whole: true }
        }
        [all] if all == "*" => {
            let mut fields: BTreeSet<Field> = PATHS.iter().flat_map(|(_, fields)| *fields).copied().collect();
            // An owner is never left out on purpose: 0 is what a caller sends who has not thought of it.
            if key.user_id == 0 {
                fields.remove(&Field::UserId);
            }
            Mask { fields, is_whole: true }
        }
        paths => Mask { fields: named_fields(violations, paths), is_whole: false },
    }
}

fn named_fields(violations: &mut Violations, paths: &[String]) -> BTreeSet<Field> {
    let mut fields = BTreeSet::new();
    for (position, path) in paths.iter().enumerate() {
        match PATHS.iter().find(|(known, _)| known == path) {
            Some((_, named)) => fields.extend(*named),
            None => violations.add(format!("update_mask.paths[{position}]"), refusal(path)),
        }
    }
    fields
}

fn refusal(path: &str) -> String {
    let shown = shown_path(path);
    let top = path.split('.').next().unwrap_or_default();
    if path == "*" {
        "must stand alone where it is `*`".to_owned()
    } else if top == "expire_time" {
        "`expire_time` is changed by SetExpiration, ExtendExpiration and ClearExpiration".to_owned()
    } else if OUTPUT_ONLY.contains(&top) {
        format!("`{shown}` is output only")
    } else if PATHS.iter().any(|(known, _)| *known == top && *known != "rate_limits") {
        format!("`{shown}` cannot be changed by itself: name `{top}`, which is replaced whole")
    } else {
        format!("`{shown}` is no field of a key")
    }
}

/// Every field of the message is decided about: a new one breaks the build.
fn set_fields(key: &pb::Key) -> BTreeSet<Field> {
    let pb::Key {
        user_id,
        display_name,
        description,
        tags,
        metadata,
        permissions,
        scopes,
        models,
        endpoints,
        ips,
        chatbots,
        rate_limits,
        observe,
        // Has methods of its own; compared with what the key has.
        expire_time: _,
        // Output only: ignored (AIP 203).
        key_id: _,
        key_prefix: _,
        state: _,
        create_time: _,
        update_time: _,
        last_used_time: _,
        revoke_time: _,
        revoke_reason: _,
        delete_time: _,
        purge_time: _,
        etag: _,
        totals: _,
        budgets: _,
        key_hash: _,
        previous_token_expire_time: _,
    } = key;
    let pb::RateLimits { requests, tokens } = rate_limits.unwrap_or_default();
    let (requests, tokens) = (requests.unwrap_or_default(), tokens.unwrap_or_default());
    let set = [
        (Field::UserId, *user_id != 0),
        (Field::DisplayName, !display_name.is_empty()),
        (Field::Description, !description.is_empty()),
        (Field::Tags, !tags.is_empty()),
        (Field::Metadata, !metadata.is_empty()),
        (Field::Permissions, !permissions.is_empty()),
        (Field::Scopes, !scopes.is_empty()),
        (Field::Models, models.is_some()),
        (Field::Endpoints, endpoints.is_some()),
        (Field::Ips, ips.is_some()),
        (Field::Chatbots, chatbots.is_some()),
        (Field::Observe, !observe.is_empty()),
        (Field::RequestsPerMinute, requests.per_minute.is_some()),
        (Field::RequestsPerHour, requests.per_hour.is_some()),
        (Field::RequestsPerDay, requests.per_day.is_some()),
        (Field::TokensPerMinute, tokens.per_minute.is_some()),
        (Field::TokensPerHour, tokens.per_hour.is_some()),
        (Field::TokensPerDay, tokens.per_day.is_some()),
    ];
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    fn read(paths: &[&str], key: &pb::Key) -> (Mask, Vec<String>) {
        let mut violations = Violations::default();
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let mask = read_mask(&mut violations, Some(FieldMask { paths }), key);
        (mask, violations.iter().map(|fault| format!("{}: {}", fault.field, fault.description)).collect())
    }

    #[test]
    fn every_field_of_the_contract_can_be_named_or_is_refused_for_its_reason() {
        let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
        let key = pool.get_message_by_name("keystile.v1.Key").unwrap();
        for field in key.fields() {
            let (mask, faults) = read(&[field.name()], &pb::Key::default());
            let is_settable = !mask.fields.is_empty();
            assert_eq!(is_settable, faults.is_empty(), "{}: {faults:?}", field.name());
            let is_known =
                is_settable || OUTPUT_ONLY.contains(&field.name()) || field.name() == "expire_time";
            assert!(is_known, "{}", field.name());
        }
        let known = PATHS.iter().filter(|(path, _)| !path.contains('.')).map(|(path, _)| *path);
        assert!(known.chain(OUTPUT_ONLY).all(|name| key.get_field_by_name(name).is_some()));
    }

    #[test]
    fn paths_add_up() {
        let (mask, faults) =
            read(&["rate_limits.tokens", "rate_limits.requests.per_day"], &pb::Key::default());
        let expected = TOKENS.into_iter().chain([Field::RequestsPerDay]).collect();
        assert_eq!((mask, faults), (Mask { fields: expected, is_whole: false }, Vec::new()));
        let (all, _) = read(&["*"], &pb::Key { user_id: 7, ..Default::default() });
        assert_eq!(all.fields.len(), 18);
        let (but_owner, _) = read(&["*"], &pb::Key::default());
        assert!(!but_owner.fields.contains(&Field::UserId));
    }

    #[test]
    fn a_wrong_path_is_named_and_cut() {
        let long = "\u{7}".repeat(1_000);
        let paths = ["*", "key.tags", "metadata.team", "models.mode", "state", "expire_time", "", &long];
        let (mask, faults) = read(&paths, &pb::Key::default());
        assert!(mask.fields.is_empty());
        let expected = [
            "must stand alone",
            "`key.tags` is no field",
            "name `metadata`, which is replaced whole",
            "name `models`, which is replaced whole",
            "`state` is output only",
            "SetExpiration",
            "`` is no field",
            "\\u{7}` is no field",
        ];
        assert_eq!(faults.len(), expected.len());
        for (position, (fault, expected)) in faults.iter().zip(expected).enumerate() {
            assert!(fault.starts_with(&format!("update_mask.paths[{position}]: ")), "{fault}");
            assert!(fault.contains(expected) && fault.len() < 500, "{fault}");
        }
    }
}

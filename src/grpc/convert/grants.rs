//! Members of a key's sets.

use std::fmt::Display;

use super::rules::read_set;
use crate::admin::{GRANTS_MAX, GrantPatterns, Grants};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{
    AddressPattern, EndpointPattern, NamePattern, PATTERNS_MAX, Permission, Scope, TAGS_MAX, Tag,
};

/// Grants from a message; none at all is a fault. Which scopes there may be says `read_scope`: adding takes fewer than
/// removing.
pub fn read_grants<E: Display>(
    violations: &mut Violations,
    field: &str,
    grants: Option<pb::Grants>,
    read_scope: impl Fn(&str) -> Result<Scope, E>,
) -> Option<Grants> {
    let grants = violations.require(field, grants, "must be given")?;
    let pb::Grants { scopes, permissions, models, endpoints, ips, chatbots, tags } = grants;
    let path = |name: &str| format!("{field}.{name}");
    let read = Grants {
        scopes: read_set(violations, &path("scopes"), &scopes, GRANTS_MAX, read_scope),
        permissions: read_set(violations, &path("permissions"), &permissions, GRANTS_MAX, |text| {
            Permission::parse(text)
        }),
        patterns: GrantPatterns {
            models: read_set(violations, &path("models"), &models, PATTERNS_MAX, NamePattern::parse),
            endpoints: read_set(
                violations,
                &path("endpoints"),
                &endpoints,
                PATTERNS_MAX,
                EndpointPattern::parse,
            ),
            ips: read_set(violations, &path("ips"), &ips, PATTERNS_MAX, AddressPattern::parse),
            chatbots: read_set(violations, &path("chatbots"), &chatbots, PATTERNS_MAX, NamePattern::parse),
        },
        tags: read_set(violations, &path("tags"), &tags, TAGS_MAX, |text| Tag::parse(text)),
    };
    let given = [scopes, permissions, models, endpoints, ips, chatbots, tags];
    if given.iter().all(Vec::is_empty) {
        violations.add(field, "must name at least one member");
    }
    Some(read)
}

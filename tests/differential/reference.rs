//! The rules, as obviously as they can be written: no tables, no sharing with the crate, everything from source text.

use keystile::policy::{Check, Reason};

use crate::bits::{address_bits, cidr_contains, cidr_is_valid};
use crate::source::{Rule, SourceKey, SourceRequest};

#[derive(Debug, Default)]
pub struct Expected {
    pub denied: Option<Reason>,
    pub observed: Option<Reason>,
    pub missing: Option<String>,
}

/// Every check is made; then the first failure that is not observed denies, and the first before it that is
/// observed is reported.
pub fn decide(key: &SourceKey, request: &SourceRequest) -> Expected {
    let states = [
        (key.deleted, Reason::KeyInvalid),
        (key.revoked, Reason::KeyRevoked),
        (key.owner_disabled, Reason::OwnerDisabled),
        (key.expire_ns.is_some_and(|expire_ns| request.now_ns >= expire_ns), Reason::KeyExpired),
    ];
    if let Some((_, reason)) = states.into_iter().find(|(failed, _)| *failed) {
        return Expected { denied: Some(reason), ..Expected::default() };
    }
    let missing_scope =
        request.scopes.iter().find(|asked| !key.scopes.iter().any(|grant| scope_grants(grant, asked)));
    let missing_permission = request.permissions.iter().find(|asked| !key.permissions.contains(asked));
    let model = name_failure(&key.models, request.model.as_deref(), request.model_not_applicable);
    let chatbot = name_failure(&key.chatbots, request.chatbot.as_deref(), request.chatbot_not_applicable);
    let failures = [
        (Check::Ips, ip_failure(key, request), None),
        (Check::Endpoints, endpoint_failure(key, request), None),
        (Check::Scopes, missing_scope.map(|_| Reason::ScopeMissing), missing_scope),
        (Check::Permissions, missing_permission.map(|_| Reason::PermissionMissing), missing_permission),
        (Check::Models, model.then_some(Reason::ModelNotAllowed), None),
        (Check::Chatbots, chatbot.then_some(Reason::ChatbotNotAllowed), None),
    ];
    let mut expected = Expected::default();
    for (check, reason, missing) in failures {
        match reason {
            None => {}
            Some(reason) if key.observe.contains(&check) => {
                expected.observed = expected.observed.or(Some(reason));
            }
            Some(reason) => {
                expected.denied = Some(reason);
                expected.missing = missing.cloned();
                break;
            }
        }
    }
    expected
}

pub fn allows_model(key: &SourceKey, model: &[u8]) -> bool {
    key.observe.contains(&Check::Models) || !name_failure(&key.models, Some(model), false)
}

fn ip_failure(key: &SourceKey, request: &SourceRequest) -> Option<Reason> {
    let allowed = match (&request.ip, &key.ips) {
        (None, rule) => rule.is_none(),
        (Some(value), rule) => match std::str::from_utf8(value) {
            Ok(text) if address_bits(text).is_some() => match rule {
                None => true,
                Some(patterns) => patterns.iter().any(|pattern| cidr_contains(pattern, text)),
            },
            _ => false,
        },
    };
    (!allowed).then_some(Reason::IpNotAllowed)
}

fn endpoint_failure(key: &SourceKey, request: &SourceRequest) -> Option<Reason> {
    const TOKEN: &[u8] = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let is_token =
        |method: &Vec<u8>| (1..=32).contains(&method.len()) && method.iter().all(|byte| TOKEN.contains(byte));
    if request.method.as_ref().is_some_and(|method| !is_token(method)) {
        return Some(Reason::EndpointMalformed);
    }
    let allowed = match (&request.endpoint, &key.endpoints) {
        (None, rule) => rule.is_none() || request.endpoint_not_applicable,
        (Some(value), rule) => {
            let Some(path) = normalise(value) else { return Some(Reason::EndpointMalformed) };
            let method = request.method.as_deref();
            match rule {
                None => true,
                Some(patterns) => patterns.iter().any(|pattern| endpoint_matches(pattern, &path, method)),
            }
        }
    };
    (!allowed).then_some(Reason::EndpointNotAllowed)
}

fn name_failure(rule: &Rule, value: Option<&[u8]>, not_applicable: bool) -> bool {
    let Some(value) = value else { return rule.is_some() && !not_applicable };
    let Ok(name) = String::from_utf8(value.to_vec()) else { return true };
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return true;
    }
    rule.as_ref().is_some_and(|patterns| !patterns.iter().any(|pattern| wildcard_matches(pattern, &name)))
}

/// Character by character; a `*` at the end of the pattern takes the rest.
fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    for index in 0.. {
        match (pattern.get(index), text.get(index)) {
            (Some('*'), _) if index + 1 == pattern.len() => return true,
            (None, None) => return true,
            (Some(expected), Some(actual)) if expected == actual => {}
            _ => return false,
        }
    }
    false
}

/// The methods of a pattern, if it names some, and its path.
fn split_endpoint(pattern: &str) -> (Option<Vec<&str>>, &str) {
    if pattern.starts_with('/') {
        return (None, pattern);
    }
    match pattern.find(' ') {
        Some(space) => (Some(pattern[..space].split(',').collect()), &pattern[space + 1..]),
        None => (None, pattern),
    }
}

fn endpoint_matches(pattern: &str, path: &str, method: Option<&[u8]>) -> bool {
    let (methods, _) = split_endpoint(pattern);
    let method_fits = match (&methods, method) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(methods), Some(method)) => methods.iter().any(|allowed| allowed.as_bytes() == method),
    };
    method_fits && wildcard_matches(&pattern_path(pattern).unwrap(), path)
}

/// The normalised path of a pattern with its `*`.
fn pattern_path(pattern: &str) -> Option<String> {
    let (_, path) = split_endpoint(pattern);
    match path.strip_suffix('*') {
        Some(stem) => Some(normalise(stem.as_bytes())? + "*"),
        None => normalise(path.as_bytes()),
    }
}

/// The one spelling of a path; `None` where it is malformed.
pub fn normalise(value: &[u8]) -> Option<String> {
    const UNRESERVED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    const ALSO_ALLOWED: &str = "/:@!$&'()*+,;=";
    let path: Vec<u8> = value.iter().copied().take_while(|byte| *byte != b'?' && *byte != b'#').collect();
    if path.len() > 8192 || path.first() != Some(&b'/') {
        return None;
    }
    let mut decoded: Vec<(u8, bool)> = Vec::new();
    let mut index = 0;
    while index < path.len() {
        if path[index] == b'%' {
            let digits = path.get(index + 1..index + 3)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            decoded.push((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, true));
            index += 3;
        } else {
            decoded.push((path[index], false));
            index += 1;
        }
    }
    let text = String::from_utf8(decoded.iter().map(|(byte, _)| *byte).collect()).ok()?;
    if text.chars().any(char::is_control) || text.contains('\\') {
        return None;
    }
    if decoded.contains(&(b'/', true)) || decoded.contains(&(b'%', true)) {
        return None;
    }
    let mut normal = String::new();
    for (byte, escaped) in decoded {
        let char = char::from(byte);
        if UNRESERVED.contains(char) || (!escaped && ALSO_ALLOWED.contains(char)) {
            normal.push(char);
        } else {
            normal += &format!("%{byte:02X}");
        }
    }
    while normal.contains("//") {
        normal = normal.replace("//", "/");
    }
    let has_dots = normal.split('/').any(|segment| segment == "." || segment == "..");
    (!has_dots && normal.len() <= 8192).then_some(normal)
}

fn is_scope_segment(segment: &str) -> bool {
    !segment.is_empty() && segment.chars().all(|char| char.is_ascii_alphanumeric() || "_:-".contains(char))
}

fn scope_grants(grant: &str, asked: &str) -> bool {
    let asked_segments: Vec<&str> = asked.split('.').collect();
    if asked.len() > 128 || !asked_segments.iter().all(|segment| is_scope_segment(segment)) {
        return false;
    }
    let is_reserved = asked_segments[0] == "keystile" && asked_segments.len() > 1;
    let grant_segments: Vec<&str> = grant.split('.').collect();
    match grant_segments.split_last() {
        Some((&"*", [])) => !is_reserved,
        Some((&"*", above)) => asked_segments.len() > above.len() && asked_segments[..above.len()] == *above,
        _ => asked_segments == grant_segments,
    }
}

pub fn scope_is_valid(text: &str) -> bool {
    let segments: Vec<&str> = text.split('.').collect();
    let (last, above) = segments.split_last().unwrap();
    text.len() <= 128
        && above.iter().all(|segment| is_scope_segment(segment))
        && (*last == "*" || is_scope_segment(last))
}

pub fn name_pattern_is_valid(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && !text.chars().any(char::is_control)
        && (!text.contains('*') || text.find('*') == Some(text.len() - 1))
}

pub fn address_pattern_is_valid(text: &str) -> bool {
    cidr_is_valid(text)
}

pub fn endpoint_pattern_is_valid(text: &str) -> bool {
    let (methods, path) = split_endpoint(text);
    let is_method = |method: &&str| {
        (1..=32).contains(&method.len()) && method.chars().all(|char| char.is_ascii_uppercase())
    };
    let mut named = methods.clone().unwrap_or_default();
    named.sort_unstable();
    named.dedup();
    let canonical = |normal: String| match &methods {
        Some(_) => format!("{} {normal}", named.join(",")),
        None => normal,
    };
    text.len() <= 256
        && named.iter().all(is_method)
        && !path.contains(['?', '#'])
        && (!path.contains('*') || path.find('*') == Some(path.len() - 1))
        && pattern_path(text).map(canonical).is_some_and(|canonical| canonical.len() <= 256)
}

//! Keys and requests that nearly match: patterns are made from the values of requests, then changed a little.

use keystile::policy::Check;

use crate::bits::address_bits;
use crate::random::Random;
use crate::reference::{
    address_pattern_is_valid, endpoint_pattern_is_valid, name_pattern_is_valid, normalise, scope_is_valid,
};
use crate::respell;
use crate::source::{Rule, SourceKey, SourceRequest};

const NOW_NS: i64 = 1_800_000_000_000_000_000;

const MODELS: &[&str] =
    &["gpt-4o", "gpt-4o-mini", "gpt-4", "o3", "org/model:7b", "modèle", "claude", "*", "m*"];
const CHATBOTS: &[&str] = &["support", "support-2", "Support", "4f2a", "бот"];
const PATHS: &[&str] = &[
    "/",
    "/v1/models",
    "/v1/files",
    "/v1/files/",
    "/v1/files/a",
    "/v1/filesystem",
    "/v1/chat/completions",
    "/V1/models",
    "/api/v1/chatbot/external/4f2a/chat",
    "/a b/é",
    "/a:b@c;d=e",
    "/...",
    "/v1/files/*",
    "/.well-known/x",
];
const METHODS: &[&str] = &["GET", "POST", "PUT", "get", "M-SEARCH", "DELETE"];
const ADDRESSES: &[&str] = &[
    "10.0.0.0",
    "10.255.255.255",
    "192.0.2.1",
    "192.0.2.128",
    "2001:db8::",
    "2001:db8::1",
    "::1",
    "::",
    "0.0.0.0",
];
const SCOPES: &[&str] = &[
    "chat.completions",
    "chat",
    "chat.a.b",
    "chats.a",
    "models.list",
    "keystile.admin",
    "keystile.authorize",
    "keystile",
    "Chat.completions",
    "a_b:c-d",
];
const PERMISSIONS: &[&str] = &["read", "write", "chat", "READ", "read.all"];

pub fn request(random: &mut Random) -> SourceRequest {
    SourceRequest {
        now_ns: NOW_NS + random.below(3) as i64 - 1,
        model: name(random, MODELS),
        endpoint: endpoint(random),
        method: method(random),
        chatbot: name(random, CHATBOTS),
        ip: ip(random),
        scopes: asked(random, SCOPES),
        permissions: asked(random, PERMISSIONS),
        model_not_applicable: random.one_in(3),
        endpoint_not_applicable: random.one_in(3),
        chatbot_not_applicable: random.one_in(3),
    }
}

fn name(random: &mut Random, names: &[&str]) -> Option<Vec<u8>> {
    let name = random.pick(names);
    match random.below(24) {
        0..3 => None,
        3 => Some(respell::hostile(random, name)),
        4 => Some(respell::nearly(random, name).into_bytes()),
        _ => Some(name.as_bytes().to_vec()),
    }
}

fn endpoint(random: &mut Random) -> Option<Vec<u8>> {
    let path = random.pick(PATHS);
    match random.below(24) {
        0..3 => None,
        3 => Some(respell::hostile(random, path)),
        4 => Some(respell::nearly(random, path).into_bytes()),
        5..12 => Some(respell::path(random, path)),
        _ => Some(path.as_bytes().to_vec()),
    }
}

fn method(random: &mut Random) -> Option<Vec<u8>> {
    let method = random.pick(METHODS);
    match random.below(40) {
        0..8 => None,
        8 => Some(respell::hostile(random, method)),
        9 => Some(vec![b'A'; 31 + random.below(3)]),
        _ => Some(method.as_bytes().to_vec()),
    }
}

/// An address or its neighbour, in one of many spellings.
fn ip(random: &mut Random) -> Option<Vec<u8>> {
    let bits = address_bits(random.pick(ADDRESSES)).unwrap();
    let bits = if random.one_in(3) { neighbour(random, &bits) } else { bits };
    let text = respell::address(random, &bits);
    match random.below(24) {
        0..2 => None,
        2 => Some(respell::hostile(random, &text)),
        3 => Some((text + random.pick(&[":80", "%eth0", "/32", " ", "\0"])).into_bytes()),
        _ => Some(text.into_bytes()),
    }
}

/// The address before or after, around the end.
fn neighbour(random: &mut Random, bits: &str) -> String {
    // Adding one turns a tail of ones into zeros and the zero before it into a one; subtracting is the mirror image.
    let (tail, other) = if random.one_in(2) { ('1', '0') } else { ('0', '1') };
    let kept = bits.trim_end_matches(tail);
    let flipped = other.to_string().repeat(bits.len() - kept.len());
    match kept.strip_suffix(other) {
        Some(above) => format!("{above}{tail}{flipped}"),
        None => flipped,
    }
}

fn asked(random: &mut Random, texts: &[&str]) -> Vec<String> {
    let count = random.below(3);
    let mut asked = Vec::new();
    for _ in 0..count {
        let text = random.pick(texts);
        asked.push(if random.one_in(20) { respell::nearly(random, text) } else { text.to_owned() });
    }
    asked
}

pub fn key(random: &mut Random, requests: &[SourceRequest]) -> SourceKey {
    let values = |of: fn(&SourceRequest) -> &Option<Vec<u8>>| -> Vec<&[u8]> {
        requests.iter().filter_map(|request| of(request).as_deref()).collect()
    };
    let methods = values(|request| &request.method);
    SourceKey {
        revoked: random.one_in(40),
        deleted: random.one_in(40),
        owner_disabled: random.one_in(40),
        expire_ns: match random.below(8) {
            0 => Some(NOW_NS + random.below(5) as i64 - 2),
            1..3 => Some(NOW_NS + 1_000_000_000),
            _ => None,
        },
        ips: rule(random, &values(|request| &request.ip), ip_pattern, address_pattern_is_valid),
        endpoints: rule(
            random,
            &values(|request| &request.endpoint),
            |random, value| endpoint_pattern(random, value, &methods),
            endpoint_pattern_is_valid,
        ),
        models: rule(random, &values(|request| &request.model), name_pattern, name_pattern_is_valid),
        chatbots: rule(random, &values(|request| &request.chatbot), name_pattern, name_pattern_is_valid),
        scopes: granted_scopes(random, requests),
        permissions: granted_permissions(random),
        observe: match random.below(12) {
            0 => Check::ALL.to_vec(),
            1..4 => Check::ALL.into_iter().filter(|_| random.one_in(3)).collect(),
            _ => Vec::new(),
        },
    }
}

/// ANY, emptied, or patterns made from what is asked for.
fn rule(
    random: &mut Random,
    values: &[&[u8]],
    mut pattern: impl FnMut(&mut Random, &str) -> String,
    is_valid: fn(&str) -> bool,
) -> Rule {
    match random.below(20) {
        0..7 => return None,
        7 => return Some(Vec::new()),
        _ => {}
    }
    let mut patterns = Vec::new();
    for value in values.iter().chain(values).take(1 + random.below(8)) {
        let text = pattern(random, &String::from_utf8_lossy(value));
        if is_valid(&text) {
            patterns.push(text);
        }
    }
    Some(patterns)
}

fn name_pattern(random: &mut Random, value: &str) -> String {
    match random.below(10) {
        0..5 => value.to_owned(),
        5..8 => cut(random, value) + "*",
        8 => value.to_owned() + "*",
        _ => respell::nearly(random, value),
    }
}

/// Some characters from the beginning, often nearly all.
fn cut(random: &mut Random, value: &str) -> String {
    let length = value.chars().count();
    let kept = if random.one_in(2) { length.saturating_sub(1) } else { random.below(length + 1) };
    value.chars().take(kept).collect()
}

fn endpoint_pattern(random: &mut Random, value: &str, methods: &[&[u8]]) -> String {
    let path = normalise(value.as_bytes()).unwrap_or_else(|| "/v1".to_owned());
    let path = match random.below(10) {
        0..5 => path,
        5..8 => cut(random, &path) + "*",
        8 => path + "*",
        _ => {
            let respelled = respell::path(random, &path);
            respell::nearly(random, &String::from_utf8_lossy(&respelled))
        }
    };
    if !random.one_in(3) || methods.is_empty() {
        return path;
    }
    let mut named = vec![String::from_utf8_lossy(random.pick(methods)).into_owned()];
    while random.one_in(2) {
        named.push(random.pick(METHODS).to_owned());
    }
    format!("{} {path}", named.join(","))
}

/// A network around the address, or the one beside it.
fn ip_pattern(random: &mut Random, value: &str) -> String {
    let Some(bits) = address_bits(value) else { return "10.0.0.0/8".to_owned() };
    let length = match random.below(6) {
        0..2 => bits.len(),
        2 => bits.len() - 1,
        _ => random.below(bits.len() + 1),
    };
    let prefix = if length > 0 && random.one_in(4) {
        neighbour(random, &bits[..length])
    } else {
        bits[..length].to_owned()
    };
    let network = prefix + &"0".repeat(bits.len() - length);
    let text = respell::address(random, &network);
    let is_mapped = bits.len() == 32 && text.contains(':');
    if length == bits.len() && random.one_in(2) {
        return text;
    }
    format!("{text}/{}", if is_mapped { length + 96 } else { length })
}

fn granted_scopes(random: &mut Random, requests: &[SourceRequest]) -> Vec<String> {
    let mut granted = Vec::new();
    for asked in requests.iter().flat_map(|request| &request.scopes) {
        let above = asked.rsplit_once('.').map_or(asked.as_str(), |(above, _)| above);
        granted.push(match random.below(10) {
            0..6 => asked.clone(),
            6..8 => format!("{above}.*"),
            8 => format!("{asked}.*"),
            _ => respell::nearly(random, asked),
        });
    }
    if random.one_in(6) {
        granted.push("*".to_owned());
    }
    granted.retain(|grant| scope_is_valid(grant));
    granted
}

fn granted_permissions(random: &mut Random) -> Vec<String> {
    PERMISSIONS.iter().filter(|_| !random.one_in(8)).map(|permission| (*permission).to_owned()).collect()
}

/// A text that may be a pattern of some kind, changed a little, for the question what may be written.
pub fn any_pattern(random: &mut Random) -> String {
    let mut text = match random.below(6) {
        0 => random.pick(MODELS).to_owned(),
        1 => random.pick(PATHS).to_owned(),
        2 => format!("{},{} {}", random.pick(METHODS), random.pick(METHODS), random.pick(PATHS)),
        3 => {
            let address = random.pick(ADDRESSES);
            let text = respell::address(random, &address_bits(address).unwrap());
            if random.one_in(3) { text } else { format!("{text}/{}", random.below(132)) }
        }
        4 => random.pick(SCOPES).to_owned() + random.pick(&["", ".*", "*"]),
        _ => random.pick(PATHS).to_owned() + "*",
    };
    while random.one_in(2) {
        text = respell::nearly(random, &text);
    }
    if random.one_in(20) {
        text = text.repeat(1 + (100 + random.below(200)) / text.len().max(1));
    }
    text
}

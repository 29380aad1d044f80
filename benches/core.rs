//! The work of one decision without network and store: how long does the core take?
//!
//! Goals: a decision for a key with 20 patterns in under 300 ns (and without allocation, which
//! `tests/differential/no_allocation.rs` shows); a token sorted and digested in under 1 µs; an
//! authorization id signed in about 200 ns. Compiling a key's
//! snapshot has no goal: it is done once a load, not once a request.

#![allow(missing_docs, reason = "criterion's macros make undocumented public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may fail by panicking")]

use std::collections::BTreeSet;
use std::hint::black_box;

use chrono::{DateTime, TimeDelta};
use criterion::{Criterion, criterion_group, criterion_main};
use keystile::policy::{
    AccessRequest, AccessRule, AddressPattern, CheckSet, EndpointPattern, KeyPolicy, KeySnapshot,
    NamePattern, Permission, Scope, evaluate,
};
use keystile::token::{
    Authorization, AuthorizationIds, Brand, Charge, Charges, OwnerCharge, Pepper, PepperId, Peppers,
    Presented, Token, fresh_id, os_rng,
};

const MODELS: [&str; 6] = ["gpt-4o*", "claude-*", "o3", "o3-mini", "text-embedding-3-large", "mistral-*"];
const ENDPOINTS: [&str; 6] = [
    "POST /v1/chat/completions",
    "POST /v1/embeddings",
    "/v1/models",
    "GET,DELETE /v1/files/*",
    "POST /v1/files",
    "/api/v1/chatbot/external/4f2a/*",
];
const IPS: [&str; 4] = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "198.51.100.0/24"];
const CHATBOTS: [&str; 4] = ["support", "support-*", "sales", "4f2a"];
const SCOPES: [&str; 3] = ["chat.*", "embeddings.create", "models.list"];
const PERMISSIONS: [&str; 4] = ["read", "write", "chat", "embeddings"];

/// A key with 20 patterns over its four rules.
fn key() -> KeyPolicy {
    fn names<const N: usize>(texts: [&str; N]) -> AccessRule<NamePattern> {
        AccessRule::only(texts.map(|text| NamePattern::parse(text).unwrap())).unwrap()
    }
    KeyPolicy {
        revoked: false,
        deleted: false,
        owner_disabled: false,
        expire_time: Some(DateTime::UNIX_EPOCH + TimeDelta::days(1)),
        ips: AccessRule::only(IPS.map(|text| AddressPattern::parse(text).unwrap())).unwrap(),
        endpoints: AccessRule::only(ENDPOINTS.map(|text| EndpointPattern::parse(text).unwrap())).unwrap(),
        models: names(MODELS),
        chatbots: names(CHATBOTS),
        scopes: SCOPES.map(|text| Scope::parse(text).unwrap()).into_iter().collect::<BTreeSet<_>>(),
        permissions: PERMISSIONS.map(|text| Permission::parse(text).unwrap()).into_iter().collect(),
        observe: CheckSet::EMPTY,
    }
}

fn evaluation(criterion: &mut Criterion) {
    let key = KeySnapshot::compile(&key());
    let (scopes, permissions) = (["chat.completions".to_owned()], ["chat".to_owned()]);
    let everything = AccessRequest {
        model: Some(b"gpt-4o-mini"),
        endpoint: Some(b"/v1/chat/completions"),
        method: Some(b"POST"),
        chatbot_id: Some(b"support-2"),
        client_ip: Some(b"10.20.30.40"),
        scopes: &scopes,
        permissions: &permissions,
        ..AccessRequest::default()
    };
    let mut group = criterion.benchmark_group("evaluate");
    for (name, request, allowed) in [
        ("allow_20_patterns_all_dimensions", everything, true),
        (
            "allow_ipv6_long_path",
            AccessRequest {
                client_ip: Some(b"2001:db8:85a3::8a2e:370:7334"),
                endpoint: Some(b"/api/v1/chatbot/external/4f2a/conversations/0190c2a4/messages?after=17"),
                ..everything
            },
            true,
        ),
        (
            "allow_respelled_path",
            AccessRequest { endpoint: Some(b"//v1/chat/%63ompletions"), ..everything },
            true,
        ),
        ("deny_model", AccessRequest { model: Some(b"gpt-4-turbo"), ..everything }, false),
        ("deny_ip", AccessRequest { client_ip: Some(b"203.0.113.9"), ..everything }, false),
    ] {
        assert_eq!(evaluate(&key, &request, DateTime::UNIX_EPOCH).is_allowed(), allowed, "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| evaluate(black_box(&key), black_box(&request), black_box(DateTime::UNIX_EPOCH)));
        });
    }
    group.finish();
}

fn compilation(criterion: &mut Criterion) {
    let key = key();
    let mut group = criterion.benchmark_group("snapshot");
    group.bench_function("compile_20_patterns", |bencher| {
        bencher.iter(|| KeySnapshot::compile(black_box(&key)));
    });
    group.finish();
}

fn recognition(criterion: &mut Criterion) {
    let brand = Brand::default();
    let pepper = Pepper::generate(PepperId::parse("bench").unwrap(), &mut os_rng());
    let peppers = Peppers::new(pepper, Vec::new()).unwrap();
    let own = Token::generate(&brand, &mut os_rng()).expose().to_owned();
    // As long as our own, so that the two compare.
    let foreign: String = own.chars().map(|letter| if letter == '_' { '-' } else { letter }).collect();
    assert!(Presented::classify(own.as_bytes(), &brand).unwrap().is_own());
    assert!(!Presented::classify(foreign.as_bytes(), &brand).unwrap().is_own());
    let mut group = criterion.benchmark_group("token");
    group.bench_function("classify_own", |bencher| {
        bencher.iter(|| Presented::classify(black_box(own.as_bytes()), black_box(&brand)).is_ok());
    });
    for (name, token) in [("classify_and_digest_own", &own), ("classify_and_digest_foreign", &foreign)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let presented = Presented::classify(black_box(token.as_bytes()), black_box(&brand)).unwrap();
                let (_, digest) = black_box(&peppers).digest_current(presented.bytes());
                digest
            });
        });
    }
    group.finish();
}

fn authorization_ids(criterion: &mut Criterion) {
    let pepper = |id| Pepper::generate(PepperId::parse(id).unwrap(), &mut os_rng());
    let ids = AuthorizationIds::new(&Peppers::new(pepper("bench"), vec![pepper("accepted")]).unwrap());
    let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let charge = Charge { generation: 3, at_micros: now.timestamp_micros() - 250_000, tokens: 1200 };
    let both = Charges { key: Some(charge), owner: Some(OwnerCharge { user_id: 42, charge }) };
    let nothing = Authorization {
        id: fresh_id(now),
        key_id: 1_000_001,
        is_reserved: false,
        charges: Charges::default(),
    };
    let charged = Authorization { is_reserved: true, charges: both, ..nothing };
    let mut group = criterion.benchmark_group("authorization_id");
    group.bench_function("fresh", |bencher| bencher.iter(|| fresh_id(black_box(now))));
    for (name, authorization, request_id) in [
        ("nothing_charged", nothing, ""),
        ("both_charged_uuid", charged, "4f0c6f0e-8a5e-4d1c-9b7a-2f1b6f0e8a5e"),
        ("both_charged_text", charged, "chatcmpl-9f3a51c2d74b4bd0a1b2c3d4e5f60718"),
    ] {
        let text = ids.sign(&authorization, request_id);
        assert_eq!(ids.verify(&text).unwrap().authorization, authorization);
        group.bench_function(format!("sign_{name}"), |bencher| {
            bencher.iter(|| black_box(&ids).sign(black_box(&authorization), black_box(request_id)));
        });
        group.bench_function(format!("verify_{name}"), |bencher| {
            bencher.iter(|| black_box(&ids).verify(black_box(&text)));
        });
    }
    group.finish();
}

criterion_group!(core, evaluation, compilation, recognition, authorization_ids);
criterion_main!(core);

//! What a warm Authorize takes from the heap, from the decoded request to the encoded answer.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use chrono::DateTime;
use keystile::authorize::{Authorizer, Question, Settings};
use keystile::cache::{Bounds, KeyCache, Loader, LoaderSettings, Lookup, QueueBounds, ReadAt};
use keystile::clock::{BootTime, Clock};
use keystile::grpc::convert::authorize::{access, check_authorize, describe, response};
use keystile::grpc::hot::ShortAnswer;
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::Decision;
use keystile::policy::{
    AccessRule, AddressPattern, CheckSet, Description, DisplayName, EndpointPattern, Key, KeyId, KeyPolicy,
    Metadata, NamePattern, Permission, RateLimits, Revision, Scope, Tag, UserId,
};
use keystile::storage::secrets::ProvenKey;
use keystile::storage::{Epoch, Store};
use keystile::token::{BcryptPool, Brand, Pepper, PepperId, Peppers, Token, os_rng};
use prost::Message as _;

/// More would be a step back: the bound of the design.
const ALLOCATIONS_MAX: u64 = 12;

fn proven() -> ProvenKey {
    let names = |texts: [&str; 2]| AccessRule::only(texts.map(|it| NamePattern::parse(it).unwrap())).unwrap();
    let endpoints = ["/v1/models", "POST /v1/chat/completions"].map(|it| EndpointPattern::parse(it).unwrap());
    let ips = ["10.0.0.0/8"].map(|it| AddressPattern::parse(it).unwrap());
    let now = DateTime::UNIX_EPOCH;
    let key = Key {
        key_id: KeyId::new(7).unwrap(),
        user_id: UserId::new(4).unwrap(),
        display_name: DisplayName::parse("chat application").unwrap(),
        description: Description::default(),
        tags: BTreeSet::from([Tag::parse("production").unwrap()]),
        metadata: Metadata::parse(BTreeMap::from([("team".to_owned(), "7".to_owned())])).unwrap(),
        key_prefix: "ks_0123456789ab".to_owned(),
        policy: KeyPolicy {
            revoked: false,
            deleted: false,
            owner_disabled: false,
            expire_time: None,
            ips: AccessRule::only(ips).unwrap(),
            endpoints: AccessRule::only(endpoints).unwrap(),
            models: names(["gpt-4o*", "o3"]),
            chatbots: AccessRule::Any,
            scopes: BTreeSet::from([Scope::parse("chat.*").unwrap()]),
            permissions: BTreeSet::from([Permission::parse("chat").unwrap()]),
            observe: CheckSet::EMPTY,
        },
        rate_limits: RateLimits::default(),
        revoke_time: None,
        revoke_reason: Description::default(),
        delete_time: None,
        purge_time: None,
        create_time: now,
        update_time: now,
        revision: Revision::ZERO,
    };
    ProvenKey { key, owner_rate_limits: RateLimits::default(), grace_end: None, budgets: Vec::new() }
}

/// An authorizer that knows the key of `token`, on a store that is never reached.
fn authorizer(token: &Token, proven: &ProvenKey) -> Authorizer {
    let store = Store::new(&"postgres://nobody@127.0.0.1:1/none".to_owned().into(), 1).unwrap();
    let pepper = Pepper::generate(PepperId::parse("one").unwrap(), &mut os_rng());
    let peppers = Arc::new(Peppers::new(pepper, Vec::new()).unwrap());
    let (_, digest) = peppers.digest_current(token.expose().as_bytes());
    let cache = KeyCache::new(keystile::cache::Settings {
        bounds: Bounds { entries: 10, bytes: 1 << 20, unknown: 10 },
        observe: CheckSet::EMPTY,
        describe,
        refresh: Duration::from_secs(600),
        leases: keystile::leases::Leases::new(keystile::leases::WithoutStore::Refuse, Arc::default()),
        metrics: Arc::default(),
    });
    let here = ReadAt { epoch: Epoch::new(1, 1), revision: Revision::ZERO };
    cache.restart(here);
    cache.trust_until(BootTime::now().plus(Duration::from_secs(600)));
    cache.admit(Lookup::Token(digest), here, Some(proven)).unwrap();
    let loader = LoaderSettings {
        bounds: QueueBounds { each: 1, all: 1 },
        unknown_each: 1_000,
        peppers: Arc::clone(&peppers),
        runtime: tokio::runtime::Handle::current(),
        metrics: Arc::default(),
    };
    let settings = Settings {
        brand: Brand::default(),
        loader: Loader::new(store.clone(), Arc::clone(&cache), loader),
        cache,
        peppers,
        bcrypt: BcryptPool::new(NonZeroUsize::MIN, 1),
        clock: Clock::System,
        metrics: Arc::default(),
        lookups: Arc::default(),
    };
    Authorizer::new(store, settings)
}

#[tokio::test]
async fn a_warm_decision_takes_little_from_the_heap() {
    let token = Token::generate(&Brand::default(), &mut os_rng());
    let authorizer = authorizer(&token, &proven());
    let request = pb::AuthorizeRequest {
        token: token.expose().to_owned().into(),
        model: "gpt-4o-mini".into(),
        endpoint: "/v1/chat/completions".into(),
        method: "POST".into(),
        client_ip: "10.20.30.40".into(),
        scopes: vec!["chat.completions".to_owned()],
        permissions: vec!["chat".to_owned()],
        request_id: "0190c2a4-7d1f-7000-8000-6f5b1c2d3e4f".to_owned(),
        ..pb::AuthorizeRequest::default()
    };
    let decide = || {
        let asked = check_authorize(&request, Duration::ZERO).unwrap();
        let question = Question {
            token: &request.token,
            access: access(&request, &asked),
            tokens: 0,
            dry_run: false,
            freshness: asked.freshness,
        };
        let outcome = {
            let view = authorizer.view().expect("memory is trusted");
            authorizer.authorize_now(view, &question).expect("memory knows the key")
        };
        let id = authorizer.authorization_id(&outcome, &request.request_id);
        ShortAnswer::of(&response(outcome, id)).unwrap()
    };
    // The first use of a thread makes what it keeps.
    let first = decide();
    let answer = pb::AuthorizeResponse::decode(first.message.as_ref().unwrap().body.slice(5..)).unwrap();
    assert_eq!(answer.decision(), Decision::Allow);
    let allocations = measure(|| drop(decide())).count_total;
    println!("{allocations} heap allocations");
    assert!(allocations <= ALLOCATIONS_MAX, "{allocations}");
    assert!(allocations > 0, "the answer at least is made anew: nothing was measured");
}

//! Deciding allocates nothing, whatever the outcome, for a request in its normal form; signing what was allowed, its
//! text alone.

use std::collections::BTreeSet;

use allocation_counter::measure;
use chrono::DateTime;
use keystile::policy::{
    AccessRequest, AccessRule, AddressPattern, CheckSet, EndpointPattern, KeyPolicy, KeySnapshot,
    NamePattern, Permission, Reason, Scope, evaluate,
};
use keystile::token::{
    Authorization, AuthorizationIds, Charge, Charges, OwnerCharge, Pepper, PepperId, Peppers, fresh_id,
    os_rng,
};

fn key() -> KeySnapshot {
    let names =
        |texts: [&str; 3]| AccessRule::only(texts.map(|text| NamePattern::parse(text).unwrap())).unwrap();
    KeySnapshot::compile(&KeyPolicy {
        revoked: false,
        deleted: false,
        owner_disabled: false,
        expire_time: Some(DateTime::from_timestamp_nanos(1)),
        ips: AccessRule::only(
            ["10.0.0.0/8", "2001:db8::/32"].map(|text| AddressPattern::parse(text).unwrap()),
        )
        .unwrap(),
        endpoints: AccessRule::only(
            ["/v1/models", "GET,POST /v1/files/*"].map(|text| EndpointPattern::parse(text).unwrap()),
        )
        .unwrap(),
        models: names(["gpt-4o*", "o3", "claude"]),
        chatbots: names(["support", "sales-*", "x"]),
        scopes: BTreeSet::from(["chat.*", "models.list"].map(|text| Scope::parse(text).unwrap())),
        permissions: BTreeSet::from(["read", "write"].map(|text| Permission::parse(text).unwrap())),
        observe: CheckSet::EMPTY,
    })
}

#[test]
fn no_outcome_of_a_decision_allocates() {
    let key = key();
    let (granted, asked) = (["chat.a".to_owned(), "models.list".to_owned()], ["files.read".to_owned()]);
    let (read, admin) = (["read".to_owned()], ["admin".to_owned()]);
    let long = vec![b'a'; 1 << 20];
    let allowed = AccessRequest {
        model: Some(b"gpt-4o-mini"),
        endpoint: Some(b"/v1/files/caf%C3%A9?limit=10"),
        method: Some(b"GET"),
        chatbot_id: Some(b"sales-2"),
        client_ip: Some(b"::ffff:10.1.2.3"),
        scopes: &granted,
        permissions: &read,
        ..AccessRequest::default()
    };
    let cases = [
        (allowed, None),
        (AccessRequest { client_ip: Some(b"11.0.0.1"), ..allowed }, Some(Reason::IpNotAllowed)),
        (AccessRequest { client_ip: Some(&long), ..allowed }, Some(Reason::IpNotAllowed)),
        (AccessRequest { endpoint: Some(b"/v1/../x"), ..allowed }, Some(Reason::EndpointMalformed)),
        (AccessRequest { endpoint: Some(&long), ..allowed }, Some(Reason::EndpointMalformed)),
        (AccessRequest { endpoint: Some(b"/v1/x"), ..allowed }, Some(Reason::EndpointNotAllowed)),
        (AccessRequest { scopes: &asked, ..allowed }, Some(Reason::ScopeMissing)),
        (AccessRequest { permissions: &admin, ..allowed }, Some(Reason::PermissionMissing)),
        (AccessRequest { model: Some(b"gpt-4"), ..allowed }, Some(Reason::ModelNotAllowed)),
        (AccessRequest { model: Some(&long), ..allowed }, Some(Reason::ModelNotAllowed)),
        (AccessRequest { chatbot_id: Some(b"sales"), ..allowed }, Some(Reason::ChatbotNotAllowed)),
    ];
    for (request, expected) in &cases {
        let mut denied = Some(Reason::KeyInvalid);
        let info = measure(|| denied = evaluate(&key, request, DateTime::UNIX_EPOCH).denied);
        assert_eq!(denied, *expected);
        assert_eq!(info.count_total, 0, "{expected:?} allocated {} bytes", info.bytes_total);
    }
    let expired =
        measure(|| assert!(!evaluate(&key, &allowed, DateTime::from_timestamp_nanos(1)).is_allowed()));
    assert_eq!(expired.count_total, 0);
    let filtered = measure(|| assert!(key.allows_model(b"o3") && !key.allows_model(b"o4")));
    assert_eq!(filtered.count_total, 0);
}

/// The one case that costs an allocation, and that the counter counts at all.
#[test]
fn a_path_in_another_spelling_costs_an_allocation() {
    let key = key();
    let request =
        AccessRequest { endpoint: Some(b"//v1/models"), client_ip: Some(b"10.0.0.1"), ..Default::default() };
    let info = measure(|| {
        assert_eq!(evaluate(&key, &request, DateTime::UNIX_EPOCH).denied, Some(Reason::ModelNotAllowed))
    });
    assert!(info.count_total > 0);
}

#[test]
fn an_authorization_id_costs_one_allocation() {
    let pepper = Pepper::generate(PepperId::parse("a").unwrap(), &mut os_rng());
    let ids = AuthorizationIds::new(&Peppers::new(pepper, Vec::new()).unwrap());
    let charge = Charge { generation: 1, at_micros: 0, tokens: 1000 };
    let charges = Charges { key: Some(charge), owner: Some(OwnerCharge { user_id: 1, charge }) };
    // A thread's first seeds its generator.
    let mut id = fresh_id(DateTime::UNIX_EPOCH);
    let made = measure(|| id = fresh_id(DateTime::UNIX_EPOCH));
    assert_eq!(made.count_total, 0);
    let authorization = Authorization { id, key_id: 7, is_reserved: true, charges };
    for request_id in ["", "4f0c6f0e-8a5e-4d1c-9b7a-2f1b6f0e8a5e", &"x".repeat(128)] {
        let mut text = String::new();
        let info = measure(|| text = ids.sign(&authorization, request_id));
        assert_eq!(info.count_total, 1, "{request_id:?}");
        assert!(ids.verify(&text).is_ok());
    }
}

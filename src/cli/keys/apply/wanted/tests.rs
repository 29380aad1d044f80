//! Files are read strictly, and all that is wrong with them is told at once.

use proptest::prelude::*;

use super::*;

fn source(text: &str) -> Source {
    Source { name: "keys.yaml".into(), text: text.into() }
}

fn good(text: &str) -> Vec<Wanted> {
    read(&[source(text)]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// `line:column: what` of every fault.
fn faults(text: &str) -> Vec<String> {
    let told = |fault: Fault| fault.to_string().strip_prefix("keys.yaml:").unwrap().to_owned();
    read(&[source(text)]).unwrap_err().into_iter().map(told).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const FULL: &str = r#"
keys:
  - user_id: 4
    name: ci
    description: "for CI"
    tags: [managed, ci]
    metadata: {team: search}
    permissions: [read, chat]
    scopes: [chat.completions, embeddings.*]
    models: ['gpt-4o*', o3]
    endpoints: ['POST,GET /v1/files/*']
    ips: [10.0.0.0/8, '::ffff:192.0.2.1', 2001:db8::/32]
    chatbots: []
    rate_limits: {requests: {per_minute: 60}, tokens: {per_day: 0}}
    observe: [ips, rate_limits]
    expire_time: 2030-01-31T00:00:00.1234567Z
    template: {chatbot: {id: "7", name: Help}}
    state: active
"#;

#[test]
fn every_field_is_read_into_the_contracts_spelling() {
    let entries = good(FULL);
    let entry = &entries[0];
    assert_eq!(entry.place.to_string(), "keys.yaml:3:5");
    assert_eq!((entry.key_id, entry.user_id, entry.name()), (None, Some(4), "ci"));
    assert_eq!(entry.fields.keys().copied().collect::<Vec<_>>(), Field::ALL);
    let value = |field: Field| entry.fields[&field].clone();
    assert_eq!(value(Field::Tags), Value::Set(set(&["ci", "managed"])));
    assert_eq!(value(Field::Endpoints), Value::Rule(Some(set(&["GET,POST /v1/files/*"]))));
    assert_eq!(value(Field::Ips), Value::Rule(Some(set(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]))));
    assert_eq!(value(Field::Chatbots), Value::Rule(Some(set(&[]))));
    let limits = RateLimits {
        requests: RateWindows { per_minute: Some(60), ..Default::default() },
        tokens: RateWindows { per_day: Some(0), ..Default::default() },
    };
    assert_eq!(value(Field::RateLimits), Value::Limits(limits));
    let expiry = DateTime::parse_from_rfc3339("2030-01-31T00:00:00.123456Z").unwrap().to_utc();
    assert_eq!(value(Field::ExpireTime), Value::Expiry(Some(expiry)));
    assert_eq!(entry.template, Some(Template::Chatbot { id: "7".into(), name: "Help".into() }));
    assert_eq!(entry.state, Some(State::Active));
}

#[test]
fn any_never_and_none_are_words_of_their_own() {
    let entries = good(
        "keys: [{key_id: 17, models: any, expire_time: never, rate_limits: none, state: revoked, \
                        revoke_reason: leaked}]",
    );
    assert_eq!((entries[0].key_id, entries[0].user_id), (Some(17), None));
    let expected = [
        (Field::Models, Value::Rule(None)),
        (Field::RateLimits, Value::Limits(RateLimits::default())),
        (Field::ExpireTime, Value::Expiry(None)),
    ];
    assert_eq!(entries[0].fields, expected.into());
    assert_eq!((entries[0].state, entries[0].revoke_reason.as_str()), (Some(State::Revoked), "leaked"));
}

#[test]
fn all_faults_of_all_keys_are_told_at_once_with_their_places() {
    let text = r#"keys:
  - user_id: -1
    name: 123
    modles: any
    tags: [ok, 7, ""]
    models: gpt-4o
    ips: [10.0.0.1/8]
    metadata: {team: null}
  - name: b
    expire_time: 90d
    rate_limits: {requests: {per_second: 1, per_hour: 1.5}}
    state: paused
    observe: [all]
  - key_id: 17
    template: default
    revoke_reason: leaked
  - just text
"#;
    let places: Vec<String> =
        faults(text).iter().map(|fault| fault.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        places,
        [
            "2:14", "3:11", "4:5", "5:16", "5:19", "6:13", "7:11", "8:22", "9:5", "10:18", "11:30", "11:55",
            "12:12", "13:15", "14:5", "14:5", "17:5"
        ],
        "{:#?}",
        faults(text)
    );
    let told = faults(text).join("\n");
    for words in [
        "a key has no field modles; it has key_id, user_id, name,",
        "name must be text: put it in quotes",
        "user_id must be a whole number, from 0 on",
        "models must be a list of patterns, or any",
        "a value in metadata is empty: leave it out, or write ''",
        "expire_time must be an instant as in 2030-01-31T00:00:00Z, or never",
        "requests has no field per_second; it has per_minute, per_hour, per_day",
        "a member of observe must be one of ips, endpoints,",
        "a key without key_id needs user_id, its owner",
        "template is for new keys",
        "revoke_reason belongs to state: revoked",
        "a key must be a mapping of key_id,",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn one_entry_a_key() {
    let text = "keys:\n- {user_id: 1, name: a}\n- {user_id: 2, name: a}\n- {user_id: 1, name: a}\n\
                - {key_id: 5}\n- {key_id: 5, name: x}";
    assert_eq!(
        faults(text),
        [
            "4:3: this key stands at keys.yaml:2:3 already: one entry a key",
            "6:3: this key stands at keys.yaml:5:3 already: one entry a key"
        ]
    );
}

#[test]
fn reserved_scopes_are_the_operators() {
    good("keys: [{user_id: 0, name: gate, scopes: [keystile.authorize]}]");
    assert_eq!(
        faults("keys: [{user_id: 4, name: gate, scopes: [chat.*, keystile.admin]}]"),
        ["1:50: a scope keystile.* is reserved for keys of user 0"]
    );
}

#[test]
fn what_is_no_yaml_or_no_list_of_keys_is_refused() {
    for (text, words) in [
        ("keys: [", "1:"),
        ("keys:\n- {user_id: 1, user_id: 2, name: a}", "2:16: this is no YAML: duplicated key"),
        ("[]", "1:1: the file must be a mapping of keys"),
        ("key: []", "1:1: the file has no field key; it has keys"),
        ("keys: {}", "1:7: keys must be a list"),
        ("keys:", "keys must be a list"),
        ("keys: [!secret {user_id: 1, name: a}]", "a key must be a mapping of"),
        ("? [a]\n: b", "the file has no such field"),
    ] {
        let told = faults(text).join("\n");
        assert!(told.contains(words), "{text}: {told}");
    }
    assert!(good("").is_empty());
    assert!(good("keys: []").is_empty());
}

#[test]
fn anchors_and_documents_may_be_used_and_cannot_grow_without_bound() {
    let text = "keys:\n- &base {user_id: 1, name: a, models: &m [x]}\n---\nkeys: [{user_id: 1, name: b, models: [y]}]";
    assert_eq!(good(text).len(), 2);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let last = format!("*a{}, ", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", last.trim_end_matches(", ")));
    }
    assert!(faults(&bomb)[0].contains("this is no YAML"), "{:?}", faults(&bomb));
    let deep = format!("keys: {}", "[".repeat(10_000));
    assert!(faults(&deep)[0].contains("this is no YAML"), "{:?}", &faults(&deep)[0]);
}

#[test]
fn documentation_and_json_schema_have_every_field() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../../../docs/apply.schema.json")).unwrap();
    let fields = schema["$defs"]["key"]["properties"].as_object().unwrap();
    assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(ENTRY));
    let document = include_str!("../../../../../docs/apply.md");
    let (_, fields) = document.split_once("| Field | Value |").unwrap();
    let (fields, _) = fields.split_once("\n\n").unwrap();
    let names = fields
        .lines()
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from(ENTRY));
    let (_, example) = document.split_once("```yaml\n").unwrap();
    assert_eq!(good(example.split_once("```").unwrap().0).len(), 4);
}

proptest! {
    #[test]
    fn whatever_stands_in_a_file_is_read_or_refused(text in "\\PC{0,80}|[-\\[\\]{}:,&*!'\" a-c\n]{0,60}") {
        let _either = read(&[source(&text)]);
    }
}

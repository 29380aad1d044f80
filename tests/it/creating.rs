//! Creating keys: templates, validation alone, reserved scopes; and what is changed only as it was seen.

use keystile::grpc::pb;
use keystile::grpc::pb::access_rule::Mode;
use keystile::grpc::pb::create_key_request::Template;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{App, denial, status_reason, violated_fields};

fn only(patterns: &[&str]) -> Option<pb::AccessRule> {
    let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

fn any() -> Option<pb::AccessRule> {
    Some(pb::AccessRule { mode: Mode::Any.into(), patterns: Vec::new() })
}

fn requests(per_minute: i64, per_hour: i64, per_day: i64) -> Option<pb::RateLimits> {
    let windows = pb::RateLimitWindows {
        per_minute: Some(per_minute),
        per_hour: Some(per_hour),
        per_day: Some(per_day),
    };
    Some(pb::RateLimits { requests: Some(windows), tokens: Some(pb::RateLimitWindows::default()) })
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn named() -> pb::Key {
    pb::Key { user_id: 3, display_name: "made".into(), ..Default::default() }
}

async fn made(app: &App, key: pb::Key, template: Template) -> (pb::Key, String) {
    let request = pb::CreateKeyRequest { key: Some(key), template: Some(template), ..Default::default() };
    let created = app.keys().create_key(request).await.unwrap().into_inner();
    let key = created.key.unwrap();
    let get = pb::GetKeyRequest { key_id: key.key_id, ..Default::default() };
    assert_eq!(
        app.keys().get_key(get).await.unwrap().into_inner().key.as_ref(),
        Some(&key),
        "as it is stored"
    );
    (key, created.token)
}

/// What a template decides of a key.
#[derive(Debug, PartialEq)]
struct Decided {
    permissions: Vec<String>,
    scopes: Vec<String>,
    rate_limits: Option<pb::RateLimits>,
    rules: [Option<pb::AccessRule>; 4],
    tags: Vec<String>,
    description: String,
}

fn decided(key: pb::Key) -> Decided {
    Decided {
        permissions: key.permissions,
        scopes: key.scopes,
        rate_limits: key.rate_limits,
        rules: [key.models, key.endpoints, key.ips, key.chatbots],
        tags: key.tags,
        description: key.description,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_fill_in_what_is_not_given() {
    let app = App::start().await;
    let (default, _) = made(&app, named(), Template::DefaultKey(pb::DefaultKeyTemplate {})).await;
    let expected = Decided {
        permissions: texts(&["chat", "embeddings", "read", "write"]),
        scopes: texts(&["chat.completions", "embeddings.create", "models.list"]),
        rate_limits: requests(60, 3_600, 86_400),
        rules: [any(), any(), any(), any()],
        tags: texts(&["default"]),
        description: "Default API key with standard permissions".into(),
    };
    assert_eq!(decided(default), expected);

    let narrow =
        pb::RestrictedKeyTemplate { models: texts(&["o3", "gpt-4o*"]), endpoints: texts(&["/v1/chat"]) };
    let (restricted, token) = made(&app, named(), Template::RestrictedKey(narrow)).await;
    let expected = Decided {
        permissions: texts(&["chat", "read"]),
        scopes: texts(&["chat.completions"]),
        rate_limits: requests(30, 1_800, 43_200),
        rules: [only(&["gpt-4o*", "o3"]), only(&["/v1/chat"]), any(), any()],
        tags: texts(&["restricted"]),
        description: "Restricted API key with limited permissions".into(),
    };
    assert_eq!(decided(restricted), expected);
    assert_eq!(
        app.reason(&token).await.as_deref(),
        Some("ENDPOINT_NOT_ALLOWED"),
        "what is left out is denied"
    );
    let empty = Template::RestrictedKey(pb::RestrictedKeyTemplate::default());
    let (restricted, token) = made(&app, named(), empty).await;
    assert_eq!((restricted.models, restricted.endpoints), (any(), any()), "an empty list means ANY");
    assert_eq!(app.reason(&token).await, None);

    let chatbot = pb::ChatbotKeyTemplate { chatbot_id: "Bot.7_x-1".into(), chatbot_name: "Büro".into() };
    let (chatbot, token) = made(&app, named(), Template::ChatbotKey(chatbot)).await;
    let endpoint = "/api/v1/chatbot/external/Bot.7_x-1/*";
    let expected = Decided {
        permissions: texts(&["chatbot"]),
        scopes: texts(&["chatbot.chat"]),
        rate_limits: requests(100, 6_000, 144_000),
        rules: [any(), only(&[endpoint]), any(), only(&["Bot.7_x-1"])],
        tags: texts(&["chatbot", "chatbot-Bot.7_x-1"]),
        description: "API key for chatbot: Büro".into(),
    };
    assert_eq!(decided(chatbot), expected);
    let ask = async |chatbot_id: &str, endpoint: &str| {
        let asked = pb::AuthorizeRequest {
            chatbot_id: chatbot_id.to_owned().into(),
            endpoint: endpoint.to_owned().into(),
            ..Default::default()
        };
        denial(&app.ask(&token, asked).await)
    };
    let path = "/api/v1/chatbot/external/Bot.7_x-1/chat";
    assert_eq!(ask("Bot.7_x-1", path).await, None);
    assert_eq!(ask("bot.7_x-1", path).await.as_deref(), Some("CHATBOT_NOT_ALLOWED"));
    let other = "/api/v1/chatbot/external/Bot.7_x-2/chat";
    assert_eq!(ask("Bot.7_x-1", other).await.as_deref(), Some("ENDPOINT_NOT_ALLOWED"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_replaces_the_templates_whole() {
    let app = App::start().await;
    let limits = pb::RateLimitWindows { per_hour: Some(5), ..Default::default() };
    let given = pb::Key {
        description: "mine".into(),
        tags: texts(&["a"]),
        permissions: texts(&["read"]),
        scopes: texts(&["chat.*"]),
        models: only(&[]),
        endpoints: any(),
        rate_limits: Some(pb::RateLimits { tokens: Some(limits), ..Default::default() }),
        ..named()
    };
    let narrow = pb::RestrictedKeyTemplate { models: texts(&["o3"]), endpoints: texts(&["/v1/chat"]) };
    let (key, _) = made(&app, given, Template::RestrictedKey(narrow)).await;
    let limits = pb::RateLimits { requests: Some(pb::RateLimitWindows::default()), tokens: Some(limits) };
    let expected = Decided {
        permissions: texts(&["read"]),
        scopes: texts(&["chat.*"]),
        rate_limits: Some(limits),
        rules: [only(&[]), any(), any(), any()],
        tags: texts(&["a"]),
        description: "mine".into(),
    };
    assert_eq!(decided(key), expected, "limits that are given leave none of the template's");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_alone_creates_nothing_and_finds_the_same_faults() {
    let app = App::start().await;
    let before = app.database.dump_all().await;
    let budget =
        pb::Budget { limit_micros: Some(7), period: pb::budget::Period::Daily.into(), ..Default::default() };
    let request = pb::CreateKeyRequest {
        key: Some(named()),
        template: Some(Template::DefaultKey(pb::DefaultKeyTemplate {})),
        budgets: vec![budget],
        validate_only: true,
        ..Default::default()
    };
    let answer = app.keys().create_key(request.clone()).await.unwrap().into_inner();
    let key = answer.key.unwrap();
    assert_eq!((key.key_id, key.key_prefix, key.etag), (0, String::new(), String::new()));
    assert_eq!((answer.token, answer.revision, answer.propagation), (String::new(), 0, None));
    assert_eq!((key.permissions.len(), key.budgets.len()), (4, 1), "as it would be");

    let reserved = pb::Key { scopes: texts(&["chat.completions", "keystile.read"]), ..named() };
    for validate_only in [true, false] {
        let request = pb::CreateKeyRequest { key: Some(reserved.clone()), validate_only, ..request.clone() };
        let refused = app.keys().create_key(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(violated_fields(&refused), ["key.scopes[1]"]);
    }
    assert_eq!(app.database.dump_all().await, before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_was_not_seen_is_aborted() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    let key_id = key.key_id;
    let aborted = |status: tonic::Status| {
        assert_eq!((status.code(), status_reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(resource.description, "", "the message says it, once");
        resource.resource_name
    };
    let add = |tag: &str, etag: &str| pb::AddGrantsRequest {
        key_id,
        grants: Some(pb::Grants { tags: texts(&[tag]), ..Default::default() }),
        etag: etag.to_owned(),
    };
    let mut keys = app.keys();
    let added = keys.add_grants(add("a", &key.etag)).await.unwrap().into_inner().key.unwrap();
    assert_ne!(added.etag, key.etag);
    let told = aborted(keys.add_grants(add("b", &key.etag)).await.unwrap_err());
    assert_eq!(told, format!("keys/{key_id}"));
    aborted(keys.add_grants(add("a", &key.etag)).await.unwrap_err());
    let grants = Some(pb::Grants { tags: texts(&["a"]), ..Default::default() });
    let remove = pb::RemoveGrantsRequest { key_id, grants, etag: key.etag.clone() };
    aborted(keys.remove_grants(remove.clone()).await.unwrap_err());
    let revoke = pb::RevokeKeyRequest { key_id, reason: String::new(), etag: key.etag };
    aborted(keys.revoke_key(revoke.clone()).await.unwrap_err());
    let removed = pb::RemoveGrantsRequest { etag: added.etag, ..remove };
    let removed = keys.remove_grants(removed).await.unwrap().into_inner().key.unwrap();
    keys.revoke_key(pb::RevokeKeyRequest { etag: removed.etag, ..revoke }).await.unwrap();

    let owner = pb::DisableOwnerRequest { user_id: 1, etag: String::new() };
    let disabled = keys.disable_owner(owner).await.unwrap().into_inner().owner.unwrap();
    let enable = pb::EnableOwnerRequest { user_id: 1, etag: disabled.etag.clone() };
    let enabled = keys.enable_owner(enable.clone()).await.unwrap().into_inner().owner.unwrap();
    assert_eq!(aborted(keys.enable_owner(enable).await.unwrap_err()), "owners/1");
    let stale = pb::DisableOwnerRequest { user_id: 1, etag: disabled.etag };
    aborted(keys.disable_owner(stale).await.unwrap_err());
    keys.disable_owner(pb::DisableOwnerRequest { user_id: 1, etag: enabled.etag }).await.unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hash_is_shown_to_administrators_only_and_every_look_is_audited() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let reader = app.service_token("keystile.read").await;
    let before = app.database.dump_all().await;
    let get = |view: pb::key::View| pb::GetKeyRequest { key_id: key.key_id, view: view.into() };
    let refused = app.keys_as(Some(&reader)).get_key(get(pb::key::View::Full)).await.unwrap_err();
    assert_eq!(
        (refused.code(), status_reason(&refused).as_str()),
        (Code::PermissionDenied, "CALLER_SCOPE_MISSING")
    );
    for view in [pb::key::View::Unspecified, pb::key::View::Basic] {
        let basic = app.keys_as(Some(&reader)).get_key(get(view)).await.unwrap().into_inner().key.unwrap();
        assert_eq!((basic.key_hash.as_str(), basic.etag.as_str()), ("", key.etag.as_str()));
    }
    assert_eq!(app.database.dump_all().await, before);

    let full = app.keys().get_key(get(pb::key::View::Full)).await.unwrap().into_inner().key.unwrap();
    assert!(bcrypt::verify(&token, &full.key_hash).unwrap());
    let head = app.database.number("SELECT revision FROM revision_counter").await;
    assert_eq!(head, app.database.number("SELECT count(*) FROM change_log").await, "a look is no change");
    let audit = app.database.json("SELECT * FROM audit_events ORDER BY event_id DESC LIMIT 1").await;
    assert_eq!(audit[0]["action"], "keys.get_hash");
    assert_eq!((&audit[0]["actor"], &audit[0]["revision"]), (&"key/1".into(), &0.into()), "nothing changed");
    assert_eq!(audit[0]["resource"], format!("keys/{}", key.key_id));
    assert!(!audit[0].to_string().contains("$2b$"));
    let missing = pb::GetKeyRequest { key_id: 4711, view: pb::key::View::Full.into() };
    assert_eq!(app.keys().get_key(missing).await.unwrap_err().code(), Code::NotFound);
    app.stop().await;
}

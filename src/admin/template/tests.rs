//! Templates fill what is left out, and give way to what is given.

use super::*;

fn draft() -> KeyDraft {
    KeyDraft {
        user_id: UserId::new(7).unwrap(),
        display_name: DisplayName::parse("k").unwrap(),
        description: None,
        tags: BTreeSet::new(),
        metadata: Metadata::default(),
        permissions: BTreeSet::new(),
        scopes: BTreeSet::new(),
        models: None,
        endpoints: None,
        ips: None,
        chatbots: None,
        rate_limits: None,
        observe: CheckSet::EMPTY,
        expire_time: None,
    }
}

fn words<T>(set: &BTreeSet<T>, text: impl Fn(&T) -> &str) -> Vec<String> {
    set.iter().map(|word| text(word).to_owned()).collect()
}

#[test]
fn the_default_template_grants_the_standard_permissions() {
    let key = Template::default_key().unwrap().apply(draft());
    assert_eq!(words(&key.permissions, Permission::as_str), ["chat", "embeddings", "read", "write"]);
    assert_eq!(words(&key.scopes, Scope::as_str), ["chat.completions", "embeddings.create", "models.list"]);
    assert_eq!(key.rate_limits, RateLimits::requests(60, 3_600, 86_400));
    assert_eq!(words(&key.tags, Tag::as_str), ["default"]);
    assert_eq!(key.description.as_str(), "Default API key with standard permissions");
    assert_eq!((key.models, key.endpoints), (AccessRule::Any, AccessRule::Any));
    assert_eq!((key.ips, key.chatbots), (AccessRule::Any, AccessRule::Any));
}

#[test]
fn the_restricted_template_is_only_what_is_given_and_any_where_nothing_is() {
    let model = NamePattern::parse("gpt-4o*").unwrap();
    let key =
        Template::restricted_key(BTreeSet::from([model.clone()]), BTreeSet::new()).unwrap().apply(draft());
    assert_eq!(key.models, AccessRule::Only(BTreeSet::from([model])));
    assert_eq!(key.endpoints, AccessRule::Any);
    assert_eq!(words(&key.permissions, Permission::as_str), ["chat", "read"]);
    assert_eq!(words(&key.scopes, Scope::as_str), ["chat.completions"]);
    assert_eq!(key.rate_limits, RateLimits::requests(30, 1_800, 43_200));
}

#[test]
fn the_chatbot_template_opens_one_chatbot_and_its_endpoints() {
    let key = Template::chatbot_key("bot-1", "Shop bot").unwrap().apply(draft());
    let endpoint = EndpointPattern::parse("/api/v1/chatbot/external/bot-1/*").unwrap();
    assert_eq!(key.endpoints, AccessRule::Only(BTreeSet::from([endpoint])));
    assert_eq!(key.chatbots, AccessRule::Only(BTreeSet::from([NamePattern::parse("bot-1").unwrap()])));
    assert_eq!(words(&key.tags, Tag::as_str), ["chatbot", "chatbot-bot-1"]);
    assert_eq!(key.description.as_str(), "API key for chatbot: Shop bot");
    assert_eq!(words(&key.scopes, Scope::as_str), ["chatbot.chat"]);
}

#[test]
fn a_chatbot_id_that_could_not_stand_in_a_path_is_refused() {
    for id in ["", ".", "..", "a/b", "a*", "a b", "é", &"x".repeat(65)] {
        assert!(Template::chatbot_key(id, "n").is_err(), "{id:?}");
    }
    assert!(Template::chatbot_key(&"x".repeat(64), "n").is_ok());
}

#[test]
fn what_is_given_replaces_the_templates_whole() {
    let given = KeyDraft {
        scopes: BTreeSet::from([Scope::parse("a.b").unwrap()]),
        models: Some(AccessRule::Only(BTreeSet::new())),
        rate_limits: Some(RateLimits::default()),
        description: Some(Description::parse("mine").unwrap()),
        ..draft()
    };
    let key = Template::default_key().unwrap().apply(given);
    assert_eq!(words(&key.scopes, Scope::as_str), ["a.b"]);
    assert_eq!(key.models, AccessRule::Only(BTreeSet::new()));
    assert_eq!(key.rate_limits, RateLimits::default());
    assert_eq!(key.description.as_str(), "mine");
    assert_eq!(words(&key.permissions, Permission::as_str).len(), 4, "what is not given is the template's");
}

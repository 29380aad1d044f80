//! CreateKey: every field, one fault at a time, and many at once.

use std::collections::BTreeMap;

use keystile::grpc::pb;
use prost_types::Timestamp;

use super::{Row, any, many, only, texts};
use pb::create_key_request::Template;

const METHOD: &str = "KeyService/CreateKey";

fn request(change: impl FnOnce(&mut pb::Key)) -> pb::CreateKeyRequest {
    let mut key = pb::Key { user_id: 7, display_name: "k".into(), ..Default::default() };
    change(&mut key);
    pb::CreateKeyRequest { key: Some(key), ..Default::default() }
}

fn row(what: &str, fields: &[&'static str], change: impl FnOnce(&mut pb::Key)) -> Row {
    Row::invalid(what, METHOD, &request(change), fields)
}

pub fn rows() -> Vec<Row> {
    let mut rows = texts_rows();
    rows.extend(set_rows());
    rows.extend(name_rule_rows());
    rows.extend(endpoint_rows());
    rows.extend(address_rows());
    rows.extend(number_rows());
    rows.extend(template_rows());
    rows.extend(whole_rows());
    rows
}

fn texts_rows() -> Vec<Row> {
    let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let named = |what: &str, name: String| row(what, &["key.display_name"], |key| key.display_name = name);
    let described = |what: &str, text: String| row(what, &["key.description"], |key| key.description = text);
    let meta = |what: &str, pairs| row(what, &["key.metadata"], |key| key.metadata = pairs);
    vec![
        row("user_id below 0", &["key.user_id"], |key| key.user_id = -1),
        row("the least user_id", &["key.user_id"], |key| key.user_id = i64::MIN),
        named("no display_name", String::new()),
        named("display_name of 101 characters", "é".repeat(101)),
        named("display_name of a megabyte", "x".repeat(1 << 20)),
        named("display_name with a newline", "a\nb".into()),
        named("display_name with NUL", "a\0b".into()),
        named("display_name with a C1 control", "a\u{9b}b".into()),
        described("description of 501 characters", "x".repeat(501)),
        described("description with an escape", "\u{1b}[31m".into()),
        meta("metadata of 4097 bytes", pair("k", &"x".repeat(4096))),
        meta("metadata without a name", pair("", "x")),
        meta("metadata name of 65 characters", pair(&"é".repeat(65), "")),
        meta("metadata value with NUL", pair("k", "\0")),
        meta("metadata name with a newline", pair("k\n", "")),
    ]
}

fn set_rows() -> Vec<Row> {
    let tags = |what: &str, fields: &[&'static str], tags| row(what, fields, |key| key.tags = tags);
    let may = |what: &str, fields: &[&'static str], names| row(what, fields, |key| key.permissions = names);
    let scopes = |what: &str, fields: &[&'static str], scopes| row(what, fields, |key| key.scopes = scopes);
    vec![
        tags("51 tags", &["key.tags"], many(51, |n| n.to_string())),
        tags("an empty tag", &["key.tags[0]"], texts([""])),
        tags(
            "bad tags among good ones",
            &["key.tags[0]", "key.tags[2]"],
            vec!["x".repeat(65), "a".into(), "\t".into()],
        ),
        may("1001 permissions", &["key.permissions"], many(1001, |n| n.to_string())),
        may("permission with a wildcard", &["key.permissions[1]"], texts(["read", "read*"])),
        may("permission with a space", &["key.permissions[0]"], texts(["a b"])),
        may("permission of 65 bytes", &["key.permissions[0]"], vec!["x".repeat(65)]),
        may(
            "empty and accented permissions",
            &["key.permissions[0]", "key.permissions[1]"],
            texts(["", "lé"]),
        ),
        scopes("1001 scopes", &["key.scopes"], many(1001, |n| n.to_string())),
        scopes("scope of 129 bytes", &["key.scopes[0]"], vec!["x".repeat(129)]),
        scopes("wildcard inside a segment", &["key.scopes[0]"], texts(["chat*"])),
        scopes("wildcard in front", &["key.scopes[0]"], texts(["*.chat"])),
        scopes(
            "empty segments",
            &["key.scopes[0]", "key.scopes[2]", "key.scopes[3]"],
            texts(["a..b", "a.b", ".a", ""]),
        ),
        scopes("a reserved scope for a user", &["key.scopes[1]"], texts(["chat", "keystile.read"])),
        scopes("all reserved scopes for a user", &["key.scopes[0]"], texts(["keystile.*"])),
        scopes("a reserved scope of nobody", &["key.scopes[0]"], texts(["keystile.some.day"])),
        row("a scope that Keystile lacks for the operator", &["key.scopes[0]"], |key| {
            (key.user_id, key.scopes) = (0, texts(["keystile.auth"]));
        }),
    ]
}

fn name_rule_rows() -> Vec<Row> {
    let models = |what: &str, fields: &[&'static str], rule| row(what, fields, |key| key.models = rule);
    let chatbots = |what: &str, fields: &[&'static str], rule| row(what, fields, |key| key.chatbots = rule);
    let mode = |mode: i32| Some(pb::AccessRule { mode, patterns: texts(["gpt-4o"]) });
    vec![
        models("a rule without a mode", &["key.models.mode"], mode(0)),
        models("a rule of an unknown mode", &["key.models.mode"], mode(3)),
        models("a rule of a negative mode", &["key.models.mode"], mode(-1)),
        models("ANY with patterns", &["key.models.patterns"], any(texts(["gpt-4o"]))),
        models("1001 patterns", &["key.models.patterns"], only(many(1001, |n| n.to_string()))),
        models("an empty pattern", &["key.models.patterns[0]"], only(texts([""]))),
        models("a star inside", &["key.models.patterns[1]"], only(texts(["gpt*", "g*t"]))),
        models("two stars", &["key.models.patterns[0]"], only(texts(["gpt**"]))),
        models("a pattern of 257 bytes", &["key.models.patterns[0]"], only(vec!["x".repeat(257)])),
        models("a pattern with NUL", &["key.models.patterns[0]"], only(texts(["gpt\0"]))),
        chatbots("a star in front", &["key.chatbots.patterns[0]"], only(texts(["*bot"]))),
        chatbots("a pattern with CRLF", &["key.chatbots.patterns[0]"], only(texts(["bot\r\n"]))),
        chatbots("ANY with patterns", &["key.chatbots.patterns"], any(texts(["bot"]))),
    ]
}

fn endpoint_rows() -> Vec<Row> {
    let bad = [
        ("no pattern", ""),
        ("not from the root", "v1/models"),
        ("a URL", "https://host/v1"),
        ("lower-case method", "get /v1"),
        ("a space between methods", "GET, POST /v1"),
        ("method alone", "GET"),
        ("a star inside", "/v1/*/files"),
        ("a query", "/v1?x=1"),
        ("a fragment", "/v1#a"),
        ("dot segments", "/v1/../admin"),
        ("encoded dot segments", "/v1/%2e%2E/admin"),
        ("encoded slash", "/v1%2Fmodels"),
        ("double encoding", "/v1/%252e"),
        ("half an escape", "/v1/%4"),
        ("no escape", "/v1/%zz"),
        ("backslash", "/v1\\models"),
        ("a control character", "/v1\u{7f}"),
        ("overlong UTF-8", "/v1/%C0%AF"),
    ];
    let endpoints = |what: &str, fields: &[&'static str], rule| row(what, fields, |key| key.endpoints = rule);
    let mut rows: Vec<Row> = bad
        .map(|(what, pattern)| {
            let what = format!("endpoint: {what}");
            endpoints(&what, &["key.endpoints.patterns[0]"], only(texts([pattern])))
        })
        .into();
    rows.push(endpoints("a path of 257 bytes", &["key.endpoints.patterns[0]"], only(vec!["/".repeat(257)])));
    rows.push(endpoints(
        "1001 endpoints",
        &["key.endpoints.patterns"],
        only(many(1001, |n| format!("/{n}"))),
    ));
    rows
}

fn address_rows() -> Vec<Row> {
    let bad = [
        ("a name", "localhost"),
        ("no pattern", ""),
        ("out of range", "192.0.2.256"),
        ("a leading zero", "192.0.2.01"),
        ("three numbers", "192.0.2"),
        ("one number", "3221225985"),
        ("hexadecimal", "0xC0.0.2.1"),
        ("a port", "192.0.2.1:443"),
        ("brackets", "[2001:db8::1]"),
        ("a zone", "fe80::1%eth0"),
        ("host bits", "10.0.0.1/8"),
        ("host bits, v6", "2001:db8::1/32"),
        ("host bits, mapped", "::ffff:10.0.0.1/104"),
        ("33 bits", "10.0.0.0/33"),
        ("129 bits", "2001:db8::/129"),
        ("a signed length", "10.0.0.0/+8"),
        ("a padded length", "10.0.0.0/08"),
        ("no length", "10.0.0.0/"),
        ("a range", "10.0.0.1-10.0.0.9"),
        ("spaces", " 10.0.0.1 "),
    ];
    let ips = |what: &str, rule| row(what, &["key.ips.patterns[0]"], |key| key.ips = rule);
    bad.map(|(what, pattern)| ips(&format!("address: {what}"), only(texts([pattern])))).into()
}

fn number_rows() -> Vec<Row> {
    let windows = |n| Some(pb::RateLimitWindows { per_minute: Some(n), per_hour: Some(n), per_day: Some(n) });
    let limits = |requests, tokens| Some(pb::RateLimits { requests, tokens });
    let expire = |what: &str, seconds, nanos| {
        row(what, &["key.expire_time"], |key| key.expire_time = Some(Timestamp { seconds, nanos }))
    };
    let all = [
        "key.rate_limits.requests.per_minute",
        "key.rate_limits.requests.per_hour",
        "key.rate_limits.requests.per_day",
        "key.rate_limits.tokens.per_minute",
        "key.rate_limits.tokens.per_hour",
        "key.rate_limits.tokens.per_day",
    ];
    vec![
        row("negative limits", &all, |key| key.rate_limits = limits(windows(-1), windows(i64::MIN))),
        row("limits above 10^12", &all, |key| {
            key.rate_limits = limits(windows(1_000_000_000_001), windows(i64::MAX));
        }),
        row("unknown checks", &["key.observe[0]", "key.observe[2]", "key.observe[3]"], |key| {
            key.observe = vec![0, 1, 99, -1];
        }),
        expire("expires in the past", 1, 0),
        expire("expires before the year 1", -62_135_596_801, 0),
        expire("expires after the year 9999", 253_402_300_800, 0),
        expire("the greatest number of seconds", i64::MAX, 0),
        expire("negative nanoseconds", 4_000_000_000, -1),
        expire("a billion nanoseconds", 4_000_000_000, 1_000_000_000),
    ]
}

fn template_rows() -> Vec<Row> {
    let of = |what: &str, fields: &[&'static str], template| {
        let request = pb::CreateKeyRequest { template: Some(template), ..request(|_| {}) };
        Row::invalid(what, METHOD, &request, fields)
    };
    let restricted =
        |models, endpoints| Template::RestrictedKey(pb::RestrictedKeyTemplate { models, endpoints });
    let chatbot = |id: &str, name: &str| {
        Template::ChatbotKey(pb::ChatbotKeyTemplate { chatbot_id: id.into(), chatbot_name: name.into() })
    };
    let id = ["chatbot_key.chatbot_id"];
    let name = ["chatbot_key.chatbot_name"];
    vec![
        of(
            "restricted, bad lists",
            &["restricted_key.models[1]", "restricted_key.endpoints[0]"],
            restricted(texts(["a", "*a"]), texts(["a"])),
        ),
        of(
            "restricted, long lists",
            &["restricted_key.models", "restricted_key.endpoints"],
            restricted(many(1001, |n| n.to_string()), many(1001, |n| format!("/{n}"))),
        ),
        of("chatbot without an id", &id, chatbot("", "Bot")),
        of("chatbot id with a slash", &id, chatbot("a/b", "Bot")),
        of("chatbot id of dots", &id, chatbot("..", "Bot")),
        of("chatbot id with a star", &id, chatbot("*", "Bot")),
        of("chatbot id of 65 bytes", &id, chatbot(&"x".repeat(65), "Bot")),
        of("chatbot without a name", &name, chatbot("b", "")),
        of("chatbot name of 101 characters", &name, chatbot("b", &"x".repeat(101))),
        of("chatbot name with a newline", &name, chatbot("b", "a\nb")),
        of("chatbot without anything", &[name[0], id[0]], chatbot("", "")),
    ]
}

fn whole_rows() -> Vec<Row> {
    let with_id = |id: &str| pb::CreateKeyRequest { request_id: id.into(), ..request(|_| {}) };
    let bad = |key: &mut pb::Key| {
        key.user_id = -7;
        key.display_name = String::new();
        key.description = "\n".into();
        key.tags = texts(["ok", ""]);
        key.permissions = texts(["*"]);
        key.scopes = texts([""]);
        key.models = any(texts(["m"]));
        key.endpoints = only(texts(["x"]));
        key.ips = only(texts(["10.0.0.0/8", "10.0.0.1/8"]));
        key.chatbots = Some(pb::AccessRule::default());
        key.observe = vec![9];
        key.expire_time = Some(Timestamp { seconds: 0, nanos: 0 });
    };
    let fields = [
        "key.user_id",
        "key.display_name",
        "key.description",
        "key.tags[1]",
        "key.permissions[0]",
        "key.scopes[0]",
        "key.models.patterns",
        "key.endpoints.patterns[0]",
        "key.ips.patterns[1]",
        "key.chatbots.mode",
        "key.observe[0]",
        "key.expire_time",
    ];
    let budget = pb::Budget { limit_micros: Some(1), ..Default::default() };
    let template =
        Template::RestrictedKey(pb::RestrictedKeyTemplate { models: texts([""]), ..Default::default() });
    let without_key = pb::CreateKeyRequest {
        template: Some(template),
        budgets: vec![budget],
        validate_only: true,
        ..Default::default()
    };
    let twenty: Vec<&'static str> = (0..20).map(|n| &*format!("key.tags[{n}]").leak()).collect();
    vec![
        Row::invalid("nothing", METHOD, &pb::CreateKeyRequest::default(), &["key"]),
        Row::invalid(
            "faults everywhere but in the key",
            METHOD,
            &without_key,
            &["key", "restricted_key.models[0]", "budgets[0].period"],
        ),
        row("every field at once", &fields, bad),
        row("50 faults: the first 20 are named", &twenty, |key| key.tags = many(50, |_| String::new())),
        Row::invalid("request_id", METHOD, &with_id("first try"), &["request_id"]),
        Row::invalid(
            "request_id in braces",
            METHOD,
            &with_id("{2f1b6f0e-8a5e-4b52-9d5c-1f7a1a1f0c11}"),
            &["request_id"],
        ),
        Row::invalid(
            "nil request_id",
            METHOD,
            &with_id("00000000-0000-0000-0000-000000000000"),
            &["request_id"],
        ),
    ]
}

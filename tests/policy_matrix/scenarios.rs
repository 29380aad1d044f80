//! The rows: state, each rule in each condition, each grant, the spellings of values, precedence, observing.

use keystile::policy::Check;

/// One key and one request, in the notation of `notation.rs`.
#[derive(Debug)]
pub struct Row {
    pub key: String,
    pub request: String,
}

/// Rows about one subject.
pub struct Section {
    pub title: String,
    pub rows: Vec<Row>,
}

fn row(key: &str, request: &str) -> Row {
    Row { key: key.to_owned(), request: request.to_owned() }
}

fn section(title: &str, rows: impl IntoIterator<Item = Row>) -> Section {
    Section { title: title.to_owned(), rows: rows.into_iter().collect() }
}

/// Every key with every request.
fn cross(title: &str, keys: &[&str], requests: &[&str]) -> Section {
    section(title, keys.iter().flat_map(|key| requests.iter().map(|request| row(key, request))))
}

/// Joins the statements that are not `-`.
fn join<'a>(statements: impl IntoIterator<Item = &'a str>) -> String {
    let joined = statements.into_iter().filter(|text| *text != "-").collect::<Vec<_>>().join("; ");
    if joined.is_empty() { "-".to_owned() } else { joined }
}

pub fn sections() -> Vec<Section> {
    let mut sections = vec![state()];
    sections.extend(rules());
    sections.extend(grants());
    sections.extend(spellings());
    sections.push(precedence());
    sections.extend(observing());
    sections
}

fn state() -> Section {
    let keys = [
        "-",
        "deleted",
        "revoked",
        "owner disabled",
        "expires 1ns before now",
        "expires at now",
        "expires 1ns after now",
    ];
    cross("1 to 4: the state of the key", &keys, &["-"])
}

/// Each rule: ANY, matching, not matching, empty; each value: given, absent, not applicable, malformed.
fn rules() -> [Section; 4] {
    let names = |rule: &str, word: &str, number: u8| {
        let keys = ["ANY", "ONLY [m] [n*]", "ONLY [n]", "ONLY [*]", "ONLY nothing"]
            .map(|kind| format!("{rule} {kind}"));
        let keys = keys.each_ref().map(String::as_str);
        let requests = [
            format!("{word} m"),
            "-".to_owned(),
            format!("not applicable {word}"),
            format!("{word} m; not applicable {word}"),
            format!("{word} m\\x00"),
        ];
        let requests = requests.each_ref().map(String::as_str);
        cross(&format!("{number}: {rule}"), &keys, &requests)
    };
    [
        cross(
            "5: ips. An address cannot be declared not applicable",
            &["ips ANY", "ips ONLY [192.0.2.0/24]", "ips ONLY [198.51.100.7]", "ips ONLY nothing"],
            &["ip 192.0.2.1", "-", "not applicable model,endpoint,chatbot", "ip 192.0.2.1x"],
        ),
        cross(
            "6: endpoints",
            &[
                "endpoints ANY",
                "endpoints ONLY [/v1/models]",
                "endpoints ONLY [GET,POST /v1/models]",
                "endpoints ONLY [/v1/files]",
                "endpoints ONLY [/*]",
                "endpoints ONLY nothing",
            ],
            &[
                "endpoint /v1/models; method GET",
                "endpoint /v1/models; method PUT",
                "endpoint /v1/models",
                "-",
                "method GET",
                "not applicable endpoint",
                "method GET; not applicable endpoint",
                "endpoint /v1/models; not applicable endpoint",
                "endpoint /v1/../models",
                "endpoint /v1/../models; not applicable endpoint",
                "endpoint /v1/models; method G T",
                "method G T; not applicable endpoint",
            ],
        ),
        names("models", "model", 9),
        names("chatbots", "chatbot", 10),
    ]
}

fn grants() -> [Section; 2] {
    [
        cross(
            "7: scopes",
            &[
                "-",
                "scopes [chat.completions]",
                "scopes [chat.*]",
                "scopes [*]",
                "scopes [keystile.*]",
                "scopes [chat.*] [models.list]",
            ],
            &[
                "scopes [chat.completions]",
                "scopes [chat]",
                "scopes [chat.a.b]",
                "scopes [chat.completions] [models.list]",
                "scopes [models.list] [files.read]",
                "scopes [keystile.admin]",
                "scopes [chat.*]",
                "scopes [*]",
                "scopes []",
            ],
        ),
        cross(
            "8: permissions",
            &["-", "permissions [read]", "permissions [read] [write]"],
            &[
                "permissions [read]",
                "permissions [read] [write]",
                "permissions [write] [admin]",
                "permissions [READ]",
                "permissions [*]",
                "permissions []",
            ],
        ),
    ]
}

/// One value in many spellings, against the rule that it should or should not match.
fn spellings() -> Vec<Section> {
    [spelled_paths(), spelled_addresses(), spelled_names()].into_iter().flatten().collect()
}

/// A section with a row for each value.
fn each(title: &str, key: &str, word: &str, values: &[&str]) -> Section {
    section(title, values.iter().map(|value| row(key, &format!("{word} {value}"))))
}

/// Paths that some server might read in two ways.
const AMBIGUOUS_PATHS: [&str; 25] = [
    "\"\"",
    "v1",
    "*",
    "/..",
    "/a/./b",
    "/a/%2e%2E",
    "/a%2Fb",
    "/a%2fb",
    "/a%25b",
    "/a\\b",
    "/a%5C",
    "/a\\x00",
    "/a%00",
    "/a\\x7f",
    "/a%0a",
    "/a%C2%85",
    "/a%",
    "/a%4",
    "/a%zz",
    "/a\\xff",
    "/a%FF",
    "/a%C3",
    "/%C0%AF",
    "/{a*8192}",
    "/{a*1048576}",
];

/// Names as long as they may be, longer, and broken.
const NAMES: [&str; 8] =
    ["\"\"", "{m*256}", "{m*257}", "m\\x00", "m\\x0a", "m\\xc2\\x85", "m\\xff", "{m*1048576}"];

fn spelled_paths() -> Vec<Section> {
    vec![
        each(
            "6: spellings of a path against an exact pattern",
            "endpoints ONLY [/v1/café]",
            "endpoint",
            &[
                "/v1/café",
                "/v1/caf%C3%A9",
                "/v1/caf%c3%a9",
                "//v1///caf%c3\\xa9",
                "/%76%31/caf%C3%A9?x=/..",
                "/v1/café#top",
                "/v1/café/",
                "/V1/café",
                "/v1/CAFÉ",
                "/v1/cafe\\xcc\\x81",
                "/v1/caf%2563",
            ],
        ),
        each(
            "6: a prefix below a slash",
            "endpoints ONLY [/v1/files/*]",
            "endpoint",
            &[
                "/v1/files",
                "/v1/files/",
                "/v1/files/a",
                "/v1//files//a/b",
                "/v1/filesystem",
                "/v1/files/*",
                "/v1/files/%2A",
            ],
        ),
        each(
            "6: a prefix anywhere",
            "endpoints ONLY [/v1/files*]",
            "endpoint",
            &["/v1/files", "/v1/files/", "/v1/files/a", "/v1/filesystem", "/v1/file"],
        ),
        each(
            "6: a method is compared as it is",
            "endpoints ONLY [GET /a] [POST /b]",
            "endpoint /a; method",
            &["GET", "get", "POST", "G{E*40}T", "\"\"", "GET,POST", "M-SEARCH"],
        ),
        each("6: ambiguous for every key", "-", "endpoint", &AMBIGUOUS_PATHS),
        each("6: well-formed, as long as it may be", "-", "endpoint", &["/{a*8191}", "/{a*8191}?{b*9999}"]),
    ]
}

fn spelled_addresses() -> Vec<Section> {
    vec![
        each(
            "5: spellings of an address",
            "ips ONLY [10.0.0.0/8] [2001:db8::/32]",
            "ip",
            &[
                "10.0.0.0",
                "10.255.255.255",
                "9.255.255.255",
                "11.0.0.0",
                "::ffff:10.1.2.3",
                "::ffff:a01:203",
                "::10.1.2.3",
                "2001:db8::",
                "2001:DB8:FFFF:ffff:ffff:ffff:ffff:ffff",
                "2001:db9::",
                "010.0.0.1",
                "10.1",
                "167838211",
                "10.0.0.1:80",
                "[2001:db8::1]",
                "2001:db8::1%eth0",
                " 10.0.0.1",
                "10.0.0.1, 10.0.0.2",
                "10.0.0.0/8",
                "\"\"",
                "\\xff",
                "{1*1048576}",
            ],
        ),
        each(
            "5: no address, so not for any key",
            "-",
            "ip",
            &["\"\"", "10.0.0.1:80", "::1%lo", "localhost", "{1*1048576}"],
        ),
    ]
}

fn spelled_names() -> Vec<Section> {
    vec![
        each(
            "9: spellings of a model",
            "models ONLY [gpt-4o*] [o3]",
            "model",
            &[
                "gpt-4o",
                "gpt-4o-mini",
                "gpt-4",
                "GPT-4o",
                " gpt-4o",
                "o3",
                "o3-mini",
                "gpt-4o*",
                "*",
                "gpt-4o\\xff",
            ],
        ),
        each("9: what is a model at all", "-", "model", &NAMES),
        each("10: what is a chatbot at all", "-", "chatbot", &NAMES),
    ]
}

/// One way to fail each check: what the key says, and what the request says.
const FAILURES: [(&str, &str, Option<Check>); 11] = [
    ("deleted", "-", None),
    ("revoked", "-", None),
    ("owner disabled", "-", None),
    ("expires at now", "-", None),
    ("ips ONLY nothing", "-", Some(Check::Ips)),
    ("-", "endpoint /..", Some(Check::Endpoints)),
    ("endpoints ONLY nothing", "-", Some(Check::Endpoints)),
    ("-", "scopes [s]", Some(Check::Scopes)),
    ("-", "permissions [p]", Some(Check::Permissions)),
    ("models ONLY nothing", "-", Some(Check::Models)),
    ("chatbots ONLY nothing", "-", Some(Check::Chatbots)),
];

/// Every pair of failures: the lower check is reported. At the end all of them at once.
fn precedence() -> Section {
    let mut rows = Vec::new();
    for (index, lower) in FAILURES.iter().enumerate() {
        for higher in &FAILURES[index + 1..] {
            rows.push(row(&join([lower.0, higher.0]), &join([lower.1, higher.1])));
        }
    }
    let all =
        |of: fn(&(&'static str, &'static str, Option<Check>)) -> &'static str| join(FAILURES.iter().map(of));
    rows.push(row(&all(|failure| failure.0), &all(|failure| failure.1)));
    section("Precedence: two failures each, the lower check is reported", rows)
}

fn observing() -> [Section; 3] {
    let observable: Vec<_> =
        FAILURES.iter().filter_map(|(key, request, check)| Some((*key, *request, (*check)?))).collect();
    let mut alone = Vec::new();
    let mut pairs = Vec::new();
    for (key, request, check) in &observable {
        let observe = format!("observe {check}");
        alone.push(row(&join([*key, &observe]), request));
        for (other_key, other_request, other) in observable.iter().filter(|(_, _, other)| other != check) {
            let observe_both = format!("observe {check},{other}");
            pairs.push(row(&join([*key, *other_key, &observe]), &join([*request, *other_request])));
            if check < other {
                pairs.push(row(&join([*key, *other_key, &observe_both]), &join([*request, *other_request])));
            }
        }
    }
    let every = "observe everything";
    let mut all: Vec<Row> =
        FAILURES.iter().map(|(key, request, _)| row(&join([*key, every]), request)).collect();
    all.push(row("models ONLY nothing; observe rate_limits,budgets", "-"));
    all.push(row(every, "model m"));
    let keys = observable.iter().map(|(key, _, _)| *key).chain([every]);
    all.push(row(&join(keys), &join(observable.iter().map(|(_, request, _)| *request))));
    [
        section("Observing: the check that fails is observed", alone),
        section("Observing: two failures, one or both observed", pairs),
        section("Observing everything: the state of the key still denies", all),
    ]
}

//! Every metric, label and value that an alert or the dashboard asks for is exported by the running service: a query
//! with a name that is wrong shows nothing, and says so to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use serde_json::Value;

use crate::harness::{Process, TestDatabase, connect, new_token};

const ALERTS: &str = "deploy/helm/keystile/files/alerts.yaml";
const DASHBOARD: &str = "deploy/helm/keystile/files/dashboard.json";

/// What Prometheus puts on every series, and the bucket of a histogram.
const OF_PROMETHEUS: [&str; 4] = ["job", "instance", "namespace", "le"];

/// Series with these labels appear only with their first call, so their values cannot be asked for here.
const LATE: [&str; 2] = ["method", "call"];

/// A metric that a query asks for, with its matchers: label, operator, value.
#[derive(Debug)]
struct Asked {
    name: String,
    matchers: Vec<(String, String, String)>,
}

/// The text of every query: from the dashboard all that Prometheus is asked, and the expressions of the alerts.
fn queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if ["expr", "definition"].contains(&name.as_str()) => {
                            found.push(text.clone());
                        }
                        other => collect(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&super::file(DASHBOARD)).expect("the dashboard is JSON"), &mut found);
    let alerts = super::file(ALERTS);
    let rules = alerts.split("expr: ").skip(1);
    // What follows an expression: how long, or which labels.
    found.extend(rules.map(|rule| {
        let end = ["\n        for:", "\n        labels:"].iter().filter_map(|mark| rule.find(mark)).min();
        rule[..end.expect("the rule goes on")].to_owned()
    }));
    found
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Every metric of ours in a query.
fn asked(query: &str) -> Vec<Asked> {
    let starts = ["keystile_", "process_"].into_iter().flat_map(|prefix| query.match_indices(prefix));
    let is_start = |at: usize| !query[..at].ends_with(is_name_part);
    let found = starts.filter(|(at, _)| is_start(*at)).map(|(at, _)| {
        let rest = &query[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()));
        let inside =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        Asked { name: name.to_owned(), matchers: matchers(inside) }
    });
    found.collect()
}

/// `a="b", c=~"d|e"`, taken apart. Values hold no quotes.
fn matchers(inside: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut parts = inside.split('"');
    while let (Some(before), Some(value)) = (parts.next(), parts.next()) {
        let before = before.trim_start_matches([',', ' ']);
        let at = before.find(|c| !is_name_part(c)).expect("a matcher has an operator");
        found.push((before[..at].to_owned(), before[at..].to_owned(), value.to_owned()));
    }
    found
}

/// The labels that a query groups or joins by.
fn grouped_by(query: &str) -> Vec<String> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| query.split(word).skip(1));
    let names = lists.flat_map(|list| list.split(')').next().unwrap_or_default().split(','));
    names.map(|name| name.trim().to_owned()).collect()
}

/// What is exported: by the name of a series its labels, with the values of each.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn exported(page: &str) -> Exported {
    let mut found = Exported::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a sample has a value"));
        let labels = found.entry(name.to_owned()).or_default();
        let inside =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        for (label, _, value) in matchers(inside) {
            labels.entry(label).or_default().insert(value);
        }
    }
    found
}

/// What is wrong with a query.
fn faults(query: &str, exported: &Exported) -> Vec<String> {
    let mut found = Vec::new();
    for Asked { name, matchers } in asked(query) {
        let Some(labels) = exported.get(&name) else {
            found.push(format!("{name} is not exported"));
            continue;
        };
        for (label, operator, value) in
            matchers.into_iter().filter(|it| !OF_PROMETHEUS.contains(&it.0.as_str()))
        {
            let Some(values) = labels.get(&label) else {
                found.push(format!("{name} has no label {label}"));
                continue;
            };
            let is_late = LATE.iter().any(|late| labels.contains_key(*late));
            // Of expressions only plain alternatives are looked at.
            let is_plain = value.chars().all(|c| is_name_part(c) || c == '|');
            if is_late || !is_plain || operator.starts_with('!') {
                continue;
            }
            let missing = value.split('|').filter(|value| !values.contains(*value));
            found.extend(missing.map(|value| format!("{name} has no {label} {value}")));
        }
    }
    let of_any: BTreeSet<&String> = exported.values().flat_map(BTreeMap::keys).collect();
    let unknown = grouped_by(query).into_iter();
    let unknown = unknown.filter(|label| !OF_PROMETHEUS.contains(&label.as_str()) && !of_any.contains(label));
    found.extend(unknown.map(|label| format!("no metric has the label {label}")));
    found
}

/// `keystile serve`, killed when dropped.
struct Service {
    child: Child,
    address: String,
    ops: String,
}

impl Service {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut command = Process::command();
        command.arg("serve").envs([
            ("KEYSTILE_LISTEN", "127.0.0.1:0"),
            ("KEYSTILE_OPS_LISTEN", "127.0.0.1:0"),
            ("KEYSTILE_DRAIN_DELAY", "0s"),
            ("KEYSTILE_LOG_FORMAT", "json"),
        ]);
        command.envs(settings.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        // Before anything can fail: it ends the process.
        let mut service = Self { child, address: String::new(), ops: String::new() };
        let mut lines = BufReader::new(service.child.stderr.take().unwrap()).lines().map_while(Result::ok);
        while service.address.is_empty() {
            let line: Value = serde_json::from_str(&lines.next().expect("it serves")).unwrap();
            let told = || line["address"].as_str().unwrap().to_owned();
            match line["message"].as_str() {
                Some("operations port") => service.ops = told(),
                Some("serving") => service.address = told(),
                _ => {}
            }
        }
        assert!(!service.ops.is_empty(), "it said where its operations port is");
        // Or the service would wait for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        service
    }

    /// The page of metrics.
    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.ops).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.ops);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        // The lines of chunks, if there are any, begin like no sample.
        let samples = body
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(' '));
        samples.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_and_panel_asks_for_what_the_service_exports() {
    let database = TestDatabase::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (token, token_file) = (new_token(), folder.path().join("token"));
    fs::write(&token_file, &token).unwrap();
    let url = database.url();
    let settings = [
        ("KEYSTILE_DATABASE_URL", url.as_str()),
        ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", token_file.to_str().unwrap()),
        ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
    ];
    let service = Service::start(&settings);
    // Series of methods appear with their first call.
    let ask = pb::AuthorizeRequest { token: new_token().into(), ..Default::default() };
    AuthorizeServiceClient::new(connect(&service.address, &token)).authorize(ask).await.unwrap();

    // Some are there with a certificate only.
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = [("KEYSTILE_TLS_CERT_FILE", &cert), ("KEYSTILE_TLS_KEY_FILE", &key)];
    let files = files.map(|(variable, file)| (variable, file.to_str().unwrap()));
    let by_tls = Service::start(&[&settings[..], &files].concat());

    let exported = exported(&format!("{}\n{}", service.metrics(), by_tls.metrics()));
    let queries = queries();
    assert!(queries.len() > 60, "{}", queries.len());
    let wrong: BTreeSet<String> = queries
        .iter()
        .flat_map(|query| faults(query, &exported).into_iter().map(move |fault| format!("{fault}: {query}")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn wrong_names_labels_and_values_are_found() {
    let exported = exported(
        "keystile_a_total{reason=\"X\"} 1\nkeystile_a_total{reason=\"Y\"} 1\nkeystile_b_bucket{method=\"m\",le=\"1.0\"} 2\n",
    );
    let told = |query: &str| faults(query, &exported).join("; ");
    for right in [
        "sum by (job, reason) (rate(keystile_a_total{job=~\"$job\", reason=~\"X|Y\"}[5m])) > 0",
        "histogram_quantile(0.9, sum by (le) (rate(keystile_b_bucket{method=~\"keystile.v1.*\", method!=\"x\"}[5m])))",
        "up{job=\"other_keystile_a_totals\"}",
    ] {
        assert_eq!(told(right), "", "{right}");
    }
    assert_eq!(told("keystile_a"), "keystile_a is not exported");
    assert_eq!(told("1 - process_x{a=\"b\"}"), "process_x is not exported");
    assert_eq!(told("keystile_a_total{cause=\"X\"}"), "keystile_a_total has no label cause");
    assert_eq!(told("keystile_a_total{reason=~\"X|Z\"}"), "keystile_a_total has no reason Z");
    assert_eq!(told("sum by (reson) (keystile_a_total)"), "no metric has the label reson");
}

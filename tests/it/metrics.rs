//! What the service exports: as docs/metrics.md says, right in number, and without a label that a caller can make.

use std::collections::{BTreeMap, BTreeSet};

use keystile::grpc::pb;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{App, eventually, get};
use crate::raw::{Call, Connection};

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

/// A page of metrics.
#[derive(Debug)]
pub struct Page(String);

impl Page {
    pub async fn of(app: &App) -> Self {
        let answer = get(&app.ops(), "/metrics").await;
        assert_eq!(answer.status, 200);
        Self(answer.body)
    }

    /// Names, types and labels of all metrics.
    fn metrics(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let mut metrics = BTreeMap::new();
        let mut name = String::new();
        for line in self.0.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (family, kind) = rest.split_once(' ').unwrap();
                name = family.to_owned();
                metrics.insert(name.clone(), (kind.to_owned(), BTreeSet::new()));
            } else if !line.starts_with('#') {
                let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
                let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
                metrics.get_mut(&name).unwrap().1.extend(names.filter(|it| *it != "le").map(str::to_owned));
            }
        }
        metrics
    }

    /// The value of a series; `None` where it is not there.
    pub fn value(&self, series: &str) -> Option<f64> {
        let of_series = |line: &&str| line.rsplit_once(' ').is_some_and(|(name, _)| name == series);
        self.0.lines().find(of_series).and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
    }

    fn expect(&self, series: &str, value: f64) {
        assert_eq!(self.value(series), Some(value), "{series} in\n{}", self.0);
    }
}

/// The rows of docs/metrics.md.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
            let labels = labels.filter(|label| label != "–").collect();
            assert!(cells.len() == 5 && !cells[3].is_empty() && !cells[4].is_empty(), "{cells:?}");
            (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels))
        })
        .collect()
}

async fn health(app: &App, service: &str) {
    let request = HealthCheckRequest { service: service.to_owned() };
    // Unknown names are errors, which is what some tests want.
    let _answer = HealthClient::new(app.channel()).check(request).await;
}

fn duration(method: &str, code: &str) -> String {
    format!("keystile_rpc_duration_seconds_count{{method=\"{method}\",code=\"{code}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_what_a_running_service_exports() {
    let app = App::start().await;
    health(&app, "").await;
    assert_eq!(Page::of(&app).await.metrics(), documented());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_counted_by_what_was_decided_and_why() {
    let app = App::builder().flags(["--observe=scopes"]).start().await;
    let (_, token) = app.create_any().await;
    let before = Page::of(&app).await;
    for _ in 0..3 {
        assert_eq!(app.reason(&token).await, None);
    }
    assert_eq!(app.reason("malformed").await.as_deref(), Some("KEY_INVALID"));
    assert_eq!(app.reason(&crate::harness::new_token()).await.as_deref(), Some("KEY_INVALID"));
    let scoped = pb::AuthorizeRequest { scopes: vec!["a".into()], ..Default::default() };
    app.ask(&token, scoped).await;
    let request = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    let batch = pb::BatchAuthorizeRequest { requests: vec![request; 7] };
    app.authorize().batch_authorize(batch).await.unwrap();

    let page = Page::of(&app).await;
    page.expect("keystile_decisions_total{decision=\"ALLOW\",reason=\"NONE\"}", 11.0);
    page.expect("keystile_decisions_total{decision=\"DENY\",reason=\"KEY_INVALID\"}", 2.0);
    page.expect("keystile_decisions_total{decision=\"DENY\",reason=\"SCOPE_MISSING\"}", 0.0);
    page.expect("keystile_decisions_observed_total{reason=\"SCOPE_MISSING\"}", 1.0);
    page.expect("keystile_decision_duration_seconds_count{decision=\"ALLOW\"}", 11.0);
    page.expect("keystile_decision_duration_seconds_count{decision=\"DENY\"}", 2.0);
    page.expect("keystile_token_proofs_total{token=\"judged\",outcome=\"digest\"}", 11.0);
    page.expect("keystile_token_proofs_total{token=\"judged\",outcome=\"malformed\"}", 1.0);
    page.expect("keystile_token_proofs_total{token=\"judged\",outcome=\"unknown\"}", 1.0);
    page.expect("keystile_batch_requests_sum", 7.0);
    page.expect(&duration("keystile.v1.AuthorizeService/Authorize", "OK"), 6.0);
    page.expect(&duration("keystile.v1.AuthorizeService/BatchAuthorize", "OK"), 1.0);
    assert_eq!(before.value(&duration("keystile.v1.AuthorizeService/Authorize", "OK")), None);
    let revision = page.value("keystile_change_revision").unwrap();
    assert!(revision > 0.0);
    eventually("the uses are written", async || {
        let page = Page::of(&app).await;
        page.value("keystile_uses_pending_keys") == Some(0.0)
            && page.value("keystile_uses_flushes_total{outcome=\"ok\"}") > Some(0.0)
    })
    .await;
    app.stop().await;
}

/// Whatever callers send, the number of series stays what it was.
#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_make_series() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let call = async |method: String| {
        connection.call(Call::to(&method).bearer(&app.admin_token)).await;
    };
    call("keystile.v1.KeyService/Made".into()).await;
    health(&app, "made-up").await;
    let series = |page: &Page| page.0.lines().filter(|line| !line.starts_with("keystile_store_call")).count();
    let before = Page::of(&app).await;
    for n in 0..50 {
        call(format!("keystile.v1.KeyService/Made{n}")).await;
        call(format!("made.up.Service{n}/Get")).await;
        health(&app, &format!("made-up-{n}")).await;
    }
    let after = Page::of(&app).await;
    assert_eq!(series(&before), series(&after));
    assert!(!after.0.to_lowercase().contains("made"), "{}", after.0);
    after.expect(&duration("unknown", "UNIMPLEMENTED"), 101.0);
    after.expect("keystile_rpc_errors_total{reason=\"METHOD_UNKNOWN\"}", 101.0);
    after.expect("keystile_rpc_errors_total{reason=\"SERVICE_UNKNOWN\"}", 51.0);
    after.expect("keystile_rpc_errors_total{reason=\"OTHER\"}", 0.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_in_the_stores_errors() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    app.database.allow_connections(false).await;
    let request = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    app.authorize().authorize(request).await.unwrap_err();
    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap_err();
    app.database.allow_connections(true).await;
    let page = Page::of(&app).await;
    assert!(page.value("keystile_store_errors_total{kind=\"unavailable\"}") >= Some(2.0), "{}", page.0);
    page.expect("keystile_rpc_errors_total{reason=\"STORE_UNAVAILABLE\"}", 2.0);
    page.expect("keystile_store_connections_max", 16.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_connections_are_counted_while_they_last() {
    let app = App::start().await;
    let watch = HealthCheckRequest { service: String::new() };
    let mut watching = HealthClient::new(app.channel()).watch(watch).await.unwrap().into_inner();
    watching.message().await.unwrap();
    let in_flight = "keystile_rpc_in_flight{method=\"grpc.health.v1.Health/Watch\"}";
    let page = Page::of(&app).await;
    page.expect(in_flight, 1.0);
    page.expect("keystile_connections", 1.0);
    drop(watching);
    eventually("the watcher is gone", async || {
        let page = Page::of(&app).await;
        page.value(in_flight) == Some(0.0)
            && page.value(&duration("grpc.health.v1.Health/Watch", "CANCELLED")) == Some(1.0)
            && page.value("keystile_connections") == Some(0.0)
    })
    .await;
    app.stop().await;
}

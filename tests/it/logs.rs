//! What the log says of a call: its id everywhere, its trace, slow ones, changes.

use std::collections::BTreeSet;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use serde_json::Value;
use tempfile::TempDir;
use tonic::{Request, Response};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{App, Client, Process, TestDatabase, connect, new_token};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN_ID: &str = "00f067aa0ba902b7";

/// The program on a database of its own.
pub struct Service {
    pub process: Process,
    pub database: TestDatabase,
    pub admin_token: String,
    _dir: TempDir,
}

impl Service {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::on(TestDatabase::new().await, settings)
    }

    pub fn on(database: TestDatabase, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, admin_token) = (dir.path().join("admin.token"), new_token());
        std::fs::write(&file, &admin_token).unwrap();
        let url = database.url();
        let fixed = [
            ("KEYSTILE_DATABASE_URL", url.as_str()),
            ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", file.to_str().unwrap()),
            ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
            ("KEYSTILE_BCRYPT_COST", "4"),
        ];
        let process = Process::serve(&[&fixed[..], settings].concat());
        Self { process, database, admin_token, _dir: dir }
    }

    pub fn client(&self) -> Client {
        connect(&self.process.address, &self.admin_token)
    }

    pub fn keys(&self) -> KeyServiceClient<Client> {
        KeyServiceClient::new(self.client())
    }

    pub fn authorize(&self) -> AuthorizeServiceClient<Client> {
        AuthorizeServiceClient::new(self.client())
    }

    pub async fn create(&self, name: &str) -> (i64, String) {
        let key = pb::Key { user_id: 1, display_name: name.into(), ..Default::default() };
        let request = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
        let created = self.keys().create_key(request).await.unwrap().into_inner();
        (created.key.unwrap().key_id, created.token)
    }

    /// Stops it in order, and returns the lines of its log.
    pub fn log(self) -> Vec<Value> {
        let lines = self.process.terminate_for_log();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

fn with_header<T>(message: T, name: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

fn id_of<T>(answer: &Response<T>) -> String {
    answer.metadata().get("x-request-id").expect("every answer has an id").to_str().unwrap().to_owned()
}

fn lines<'l>(log: &'l [Value], message: &str) -> Vec<&'l Value> {
    log.iter().filter(|line| line["message"] == message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_callers_id_or_one_of_ours() {
    let app = App::start().await;
    let list = pb::ListKeysRequest::default;
    let given = app.keys().list_keys(with_header(list(), "x-request-id", "given-1")).await.unwrap();
    assert_eq!(id_of(&given), "given-1");
    let long = "x".repeat(129);
    let made = [
        app.keys().list_keys(list()).await.unwrap(),
        app.keys().list_keys(list()).await.unwrap(),
        app.keys().list_keys(with_header(list(), "x-request-id", &long)).await.unwrap(),
    ];
    let made: BTreeSet<String> = made.iter().map(id_of).collect();
    assert_eq!(made.len(), 3);
    assert!(made.iter().all(|id| id.len() < 40), "{made:?}");

    let get = pb::GetKeyRequest { key_id: 999_999_999, ..Default::default() };
    let refused = app.keys().get_key(with_header(get, "x-request-id", "given-2")).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "given-2");
    let refused = app.keys_as(None).list_keys(list()).await.unwrap_err();
    assert!(refused.metadata().get("x-request-id").is_some(), "also before the caller is let in");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_has_the_id_that_the_answer_has() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, ..Default::default() };
    let id = id_of(&app.keys().revoke_key(revoke).await.unwrap());
    let audited = app.database.lines("SELECT request_id AS line FROM audit_events ORDER BY 1").await;
    assert!(audited.contains(&id), "{id} in {audited:?}");
    app.stop().await;
}

/// Also lines that are written deep in the store, by a task of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_one_line_with_the_ids_of_its_call() {
    let service = Service::start(&[]).await;
    let (key_id, _) = service.create("changed").await;
    let mut revoke =
        with_header(pb::RevokeKeyRequest { key_id, ..Default::default() }, "x-request-id", "a \"quoted\" id");
    let traceparent = format!("00-{TRACE_ID}-{SPAN_ID}-01");
    revoke.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    service.keys().revoke_key(revoke).await.unwrap();
    let unknown = pb::RevokeKeyRequest { key_id: 999_999_999, ..Default::default() };
    service.keys().revoke_key(unknown).await.unwrap_err();
    let mut again =
        with_header(pb::RevokeKeyRequest { key_id, ..Default::default() }, "x-request-id", "again");
    again.metadata_mut().insert("traceparent", "00-0-0-00".parse().unwrap());
    service.keys().revoke_key(again).await.unwrap();

    let log = service.log();
    let changes = lines(&log, "changed");
    let revoked: Vec<_> = changes.iter().filter(|line| line["action"] == "keys.revoke").collect();
    let [line] = revoked.as_slice() else { panic!("one line for one change: {revoked:#?}") };
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["resource"], format!("keys/{key_id}"));
    assert!(line["actor"].as_str().unwrap().starts_with("key/"), "{line}");
    assert!(line["revision"].as_i64() > Some(0) && line["took_us"].as_u64().is_some(), "{line}");
    assert_eq!(line["request.id"], "a \"quoted\" id");
    assert_eq!((&line["trace.id"], &line["span.id"]), (&Value::from(TRACE_ID), &Value::from(SPAN_ID)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_call_is_a_warning_with_the_key_that_it_was_about() {
    let service =
        Service::start(&[("KEYSTILE_SLOW_CALL", "1ms"), ("KEYSTILE_LOG", "warn,keystile=info")]).await;
    let (key_id, token) = service.create("slow").await;
    // Lasts all the while, and is nobody's slow call.
    let mut health = HealthClient::new(service.client());
    let mut watching = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watching.message().await.unwrap();
    let lock = service.database.hold("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await;
    let request = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    let mut client = service.authorize();
    let request = with_header(request, "x-request-id", "held-up");
    let asked = tokio::spawn(async move { client.authorize(request).await });
    service.database.until_blocked().await;
    drop(watching);
    lock.let_go().await;
    asked.await.unwrap().unwrap();

    let log = service.log();
    let slow = lines(&log, "a slow call");
    let line = slow.iter().find(|line| line["request.id"] == "held-up").expect("the call is told of");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["rpc.method"], "keystile.v1.AuthorizeService/Authorize");
    assert_eq!((&line["rpc.code"], &line["key.id"]), (&Value::from("OK"), &Value::from(key_id)));
    assert!(line["took_us"].as_u64() > Some(1_000) && line["caller.key_id"].as_i64().is_some(), "{line}");
    let of_health = slow.iter().filter(|line| line["rpc.method"].as_str().unwrap().starts_with("grpc."));
    assert_eq!(of_health.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bound_no_call_is_slow() {
    let service = Service::start(&[("KEYSTILE_SLOW_CALL", "off"), ("KEYSTILE_BCRYPT_COST", "10")]).await;
    service.create("any").await;
    assert_eq!(lines(&service.log(), "a slow call"), Vec::<&Value>::new());
}

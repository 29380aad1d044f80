//! Client certificates that stand for a key.

use keystile::grpc::pb;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::authority::Leaf;
use super::{Stage, grpc_once};
use crate::harness::{App, Process, status_reason};

const GATEWAY: &str = "spiffe://cluster.local/ns/chat/sa/gateway";

/// A caller with a certificate, and perhaps something to say in `authorization`.
struct Caller<'a> {
    stage: &'a Stage,
    address: String,
}

type Keys = KeyServiceClient<
    InterceptedService<Channel, Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send>>,
>;

impl Caller<'_> {
    async fn keys(&self, shown: &Leaf, authorization: Option<&str>) -> Keys {
        let channel = grpc_once(&self.address, self.stage.client(Some(shown))).await.unwrap();
        let value = authorization.map(|value| value.parse().unwrap());
        KeyServiceClient::with_interceptor(
            channel,
            Box::new(move |mut request: Request<()>| {
                if let Some(value) = &value {
                    request
                        .metadata_mut()
                        .insert("authorization", tonic::metadata::MetadataValue::clone(value));
                }
                Ok(request)
            }),
        )
    }

    /// Reads a key, and returns the reason of the refusal.
    async fn refusal(&self, shown: &Leaf, authorization: Option<&str>) -> Option<String> {
        let mut keys = self.keys(shown, authorization).await;
        let answer = keys.get_key(pb::GetKeyRequest { key_id: 1, ..Default::default() }).await;
        answer.err().map(|status| format!("{:?} {}", status.code(), status_reason(&status)))
    }
}

/// Service keys on the stage's database, as `(id, token)`: read only, and one that is bound to another address.
async fn service_keys(stage: &Stage) -> [(i64, String); 2] {
    let app = App::builder().database(&stage.database).admin_token(&stage.admin_token).start().await;
    let read =
        pb::Key { display_name: "reader".into(), scopes: vec!["keystile.read".into()], ..Default::default() };
    let mode = pb::access_rule::Mode::Only.into();
    let ips = Some(pb::AccessRule { mode, patterns: vec!["192.0.2.1".into()] });
    let mut made = Vec::new();
    for key in [read.clone(), pb::Key { ips, ..read }] {
        let (key, token) = app.create(key).await;
        made.push((key.key_id, token));
    }
    app.stop().await;
    made.try_into().unwrap()
}

const MISSING: &str = "Unauthenticated CALLER_TOKEN_MISSING";
const INVALID: &str = "Unauthenticated CALLER_TOKEN_INVALID";

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_for_the_key_that_its_name_is_set_to() {
    let stage = Stage::set().await;
    let [(reader, _), (bound, _)] = service_keys(&stage).await;
    let callers = format!("{GATEWAY}={reader},bound.internal={bound},nobody.internal=999999");
    let mut server = stage.serve_mutual(&[("KEYSTILE_TLS_CLIENT_CALLER", &callers)]);
    let caller = Caller { stage: &stage, address: server.address.clone() };
    let gateway = stage.clients.leaf(&["other.internal", GATEWAY]);

    assert_eq!(caller.refusal(&gateway, None).await, None, "its key may read");
    let create = pb::CreateKeyRequest {
        key: Some(pb::Key { user_id: 1, display_name: "x".into(), ..Default::default() }),
        ..Default::default()
    };
    let status = caller.keys(&gateway, None).await.create_key(create.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), status_reason(&status)),
        (Code::PermissionDenied, "CALLER_SCOPE_MISSING".into())
    );

    let bound = stage.clients.leaf(&["Bound.internal"]);
    let refusal = caller.refusal(&bound, None).await;
    assert_eq!(refusal.as_deref(), Some("PermissionDenied CALLER_ADDRESS_NOT_ALLOWED"));
    let nobody = stage.clients.leaf(&["nobody.internal"]);
    assert_eq!(caller.refusal(&nobody, None).await.as_deref(), Some(INVALID), "there is no such key");
    // Two callers in one: which of them it is must not depend on an order.
    let both = stage.clients.leaf(&[GATEWAY, "bound.internal"]);
    assert_eq!(caller.refusal(&both, None).await.as_deref(), Some(MISSING));
    let line = server.wait_for_log(|line| line.contains("stands for no key"));
    assert!(line.contains(GATEWAY) && !line.contains("127.0.0.1"), "{line}");
    for names in [["spiffe://cluster.local/ns/chat/sa/gateway2"], ["gateway"], ["x.bound.internal"]] {
        let unknown = stage.clients.leaf(&names);
        assert_eq!(caller.refusal(&unknown, None).await.as_deref(), Some(MISSING), "{names:?}");
        let admin = format!("Bearer {}", stage.admin_token);
        assert_eq!(caller.refusal(&unknown, Some(&admin)).await, None, "{names:?}: by token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_wins_over_the_certificate_even_where_it_is_wrong() {
    let stage = Stage::set().await;
    let [(reader, _), _] = service_keys(&stage).await;
    let server = stage.serve_mutual(&[("KEYSTILE_TLS_CLIENT_CALLER", &format!("{GATEWAY}={reader}"))]);
    let caller = Caller { stage: &stage, address: server.address.clone() };
    let gateway = stage.clients.leaf(&[GATEWAY]);
    let admin = format!("Bearer {}", stage.admin_token);
    let key = pb::Key { user_id: 1, display_name: "by token".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    caller.keys(&gateway, Some(&admin)).await.create_key(create).await.unwrap();
    assert_eq!(caller.refusal(&gateway, Some("Bearer nobodys")).await.as_deref(), Some(INVALID));
    for malformed in ["Bearer ", "Basic eDp5", &stage.admin_token] {
        assert_eq!(caller.refusal(&gateway, Some(malformed)).await.as_deref(), Some(MISSING), "{malformed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_key_stops_its_certificate_at_the_next_call() {
    let stage = Stage::set().await;
    let [(reader, _), _] = service_keys(&stage).await;
    let admin = stage.clients.leaf(&["admin.internal"]);
    let callers = format!("{GATEWAY}={reader},admin.internal=1");
    let server = stage.serve_mutual(&[("KEYSTILE_TLS_CLIENT_CALLER", &callers)]);
    let caller = Caller { stage: &stage, address: server.address.clone() };
    let mut gateway = caller.keys(&stage.clients.leaf(&[GATEWAY]), None).await;
    let get = pb::GetKeyRequest { key_id: reader, ..Default::default() };
    gateway.get_key(get).await.unwrap();

    let revoke = pb::RevokeKeyRequest { key_id: reader, reason: "over".into(), ..Default::default() };
    caller.keys(&admin, None).await.revoke_key(revoke).await.unwrap();
    let status = gateway.get_key(get).await.unwrap_err();
    assert_eq!(
        (status.code(), status_reason(&status)),
        (Code::Unauthenticated, "CALLER_TOKEN_INVALID".into())
    );
    let actor = "SELECT actor AS line FROM audit_events ORDER BY event_id DESC LIMIT 1";
    assert_eq!(stage.database.lines(actor).await, ["key/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_alone_is_no_caller_where_none_is_set() {
    let stage = Stage::set().await;
    let server = stage.serve_mutual(&[]);
    let caller = Caller { stage: &stage, address: server.address.clone() };
    let gateway = stage.clients.leaf(&[GATEWAY]);
    assert_eq!(caller.refusal(&gateway, None).await.as_deref(), Some(MISSING));
}

#[test]
fn faults_of_the_settings_are_told_at_once() {
    let mut command = Process::command();
    command.args(["check-config", "--tls-cert-file=/nowhere/crt", "--tls-key-file=/nowhere/key"]);
    command.env("KEYSTILE_TLS_CLIENT_CALLER", "gateway").env("KEYSTILE_TLS_CLIENT_AUTH", "optional");
    let output = Process::run(command);
    assert_eq!(output.status.code(), Some(78));
    let words = super::told(&output);
    for told in [
        "--tls-cert-file: cannot read /nowhere/crt",
        "KEYSTILE_TLS_CLIENT_CALLER: gateway must be SAN=KEY_ID",
        "KEYSTILE_TLS_CLIENT_AUTH: means nothing without KEYSTILE_TLS_CLIENT_CA_FILE",
    ] {
        assert!(words.contains(told), "{told}: {words}");
    }
}

//! The service in this process, on a database of its own and a real socket.

use std::net::SocketAddr;

use clap::Parser;
use keystile::clock::Clock;
use keystile::config::Serve;
use keystile::grpc::pb;
use keystile::grpc::pb::audit_service_client::AuditServiceClient;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::budget_service_client::BudgetServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use keystile::server::Running;
use keystile::token::{Brand, Token, os_rng};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::TestDatabase;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    serve: Serve,
}

/// How to start an [`App`].
#[derive(Debug, Default)]
pub struct AppBuilder {
    database: Option<TestDatabase>,
    url: Option<String>,
    clock: Clock,
    admin_token: Option<String>,
    flags: Vec<String>,
}

impl AppBuilder {
    /// On this database, rather than a new one.
    pub fn database(mut self, database: &TestDatabase) -> Self {
        self.database = Some(database.clone());
        self
    }

    /// Reaches its database by this URL (through a proxy, say).
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// By this clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Whose first administrator, made by an earlier service on the same database, has this token.
    pub fn admin_token(mut self, token: &str) -> Self {
        self.admin_token = Some(token.to_owned());
        self
    }

    /// With further flags of `keystile serve`.
    pub fn flags<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.flags.extend(flags.map(str::to_owned));
        self
    }

    /// Starts it.
    pub async fn start(self) -> App {
        let database = match self.database {
            Some(database) => database,
            None => TestDatabase::new().await,
        };
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("bootstrap.token");
        let admin_token = self.admin_token.unwrap_or_else(new_token);
        std::fs::write(&token_file, &admin_token).unwrap();
        let url = self.url.unwrap_or_else(|| database.url());
        let fixed = [
            "test",
            "--listen=127.0.0.1:0",
            &format!("--database-url={url}"),
            &format!("--bootstrap-token-file={}", token_file.display()),
            "--allow-data-loss",
            "--drain-delay=0s",
            "--bcrypt-cost=4",
        ];
        let has_ops = self.flags.iter().any(|flag| flag.starts_with("--ops-listen"));
        let ops = (!has_ops).then(|| "--ops-listen=127.0.0.1:0".to_owned());
        let arguments = fixed.into_iter().map(str::to_owned).chain(ops).chain(self.flags);
        let config = Arguments::parse_from(arguments).serve;
        let running = Running::start(&config, self.clock).await.expect("the service starts");
        App { database, running, admin_token, _dir: dir }
    }
}

/// A running service.
#[derive(Debug)]
pub struct App {
    pub database: TestDatabase,
    pub running: Running,
    /// The first administrator's.
    pub admin_token: String,
    _dir: TempDir,
}

/// A client that sends a service token, or none.
pub type Client = InterceptedService<Channel, Bearer>;

impl App {
    /// On a new database, by the machine's clock.
    pub async fn start() -> Self {
        AppBuilder::default().start().await
    }

    /// For something else.
    pub fn builder() -> AppBuilder {
        AppBuilder::default()
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// The operations port.
    pub fn ops(&self) -> String {
        self.running.ops_address().expect("it has one").to_string()
    }

    pub fn channel(&self) -> Channel {
        channel(&self.address().to_string())
    }

    /// A transport that sends `token`, for any generated client.
    pub fn client(&self, token: Option<&str>) -> Client {
        InterceptedService::new(self.channel(), Bearer::new(token))
    }

    /// KeyService as the first administrator.
    pub fn keys(&self) -> KeyServiceClient<Client> {
        self.keys_as(Some(&self.admin_token))
    }

    pub fn keys_as(&self, token: Option<&str>) -> KeyServiceClient<Client> {
        KeyServiceClient::new(self.client(token))
    }

    /// AuditService as the first administrator.
    pub fn audit(&self) -> AuditServiceClient<Client> {
        AuditServiceClient::new(self.client(Some(&self.admin_token)))
    }

    /// BudgetService as the first administrator.
    pub fn budgets(&self) -> BudgetServiceClient<Client> {
        BudgetServiceClient::new(self.client(Some(&self.admin_token)))
    }

    /// AuthorizeService as the first administrator.
    pub fn authorize(&self) -> AuthorizeServiceClient<Client> {
        self.authorize_as(Some(&self.admin_token))
    }

    pub fn authorize_as(&self, token: Option<&str>) -> AuthorizeServiceClient<Client> {
        AuthorizeServiceClient::new(self.client(token)).max_encoding_message_size(64 << 20)
    }

    /// Creates a key and returns it with its token.
    pub async fn create(&self, key: pb::Key) -> (pb::Key, String) {
        let request = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
        let created = self.keys().create_key(request).await.unwrap().into_inner();
        (created.key.unwrap(), created.token)
    }

    /// Creates a key of user 1 that may do anything.
    pub async fn create_any(&self) -> (pb::Key, String) {
        self.create(pb::Key { user_id: 1, display_name: "any".into(), ..Default::default() }).await
    }

    /// Creates a service token with one reserved scope.
    pub async fn service_token(&self, scope: &str) -> String {
        let key = pb::Key {
            display_name: format!("service {scope}"),
            scopes: vec![scope.to_owned()],
            ..Default::default()
        };
        self.create(key).await.1
    }

    /// Asks whether `token` may do what `request` says.
    pub async fn ask(&self, token: &str, request: pb::AuthorizeRequest) -> pb::AuthorizeResponse {
        let request = pb::AuthorizeRequest { token: token.to_owned().into(), ..request };
        self.authorize().authorize(request).await.unwrap().into_inner()
    }

    /// Asks whether `token` may do anything at all; `None` means yes.
    pub async fn reason(&self, token: &str) -> Option<String> {
        let answer = self.ask(token, pb::AuthorizeRequest::default()).await;
        denial(&answer)
    }

    /// Stops it.
    pub async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// A transport to the service at `127.0.0.1:port` that sends `token`, for any generated client.
pub fn connect(address: &str, token: &str) -> Client {
    InterceptedService::new(channel(address), Bearer::new(Some(token)))
}

/// A token that is nobody's yet.
pub fn new_token() -> String {
    Token::generate(&Brand::default(), &mut os_rng()).expose().to_owned()
}

/// The name of the reason of a denial; `None` for ALLOW. Fails on an answer that contradicts itself.
pub fn denial(answer: &pb::AuthorizeResponse) -> Option<String> {
    use pb::authorize_response::{Decision, Reason};
    match answer.decision() {
        Decision::Allow => {
            assert_eq!(answer.reason(), Reason::Unspecified);
            assert_eq!(answer.http_status, 200);
            None
        }
        Decision::Deny => {
            assert_ne!(answer.reason(), Reason::Unspecified);
            assert!([401, 402, 403, 429].contains(&answer.http_status));
            assert!(!answer.message.is_empty());
            Some(answer.reason().as_str_name().to_owned())
        }
        Decision::Unspecified => panic!("no decision: {answer:?}"),
    }
}

/// The key that an answer tells of; fails where there is none.
pub fn judged_key(answer: &pb::AuthorizeResponse) -> pb::AuthorizedKey {
    keystile::grpc::convert::authorize::judged_key(answer).unwrap_or_else(|| panic!("no key: {answer:?}"))
}

/// `ErrorInfo.reason`; fails where there is none of ours.
pub fn status_reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "keystile");
    info.reason
}

/// The paths of `BadRequest`.
pub fn violated_fields(status: &Status) -> Vec<String> {
    let bad_request = status.get_details_bad_request();
    bad_request.into_iter().flat_map(|bad| bad.field_violations).map(|violation| violation.field).collect()
}

/// Sends a service token.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| format!("Bearer {token}").parse().unwrap()))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

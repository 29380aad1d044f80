//! The admin client: where the server is, and who is calling.
//!
//! - The caller's token comes from a file or from the environment, never from a flag: other users of the
//!   machine can see flags.
//! - Where no token is given and the server is the private one of this machine, at its own address and without TLS,
//!   the administrator's token that it leaves in the data directory is used, if this user may read it; anybody may
//!   listen at another port. At its first start a server makes it before it serves: where there is none yet, it is
//!   looked for once the server does.

mod connect;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Uri;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use tokio::time;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use self::connect::TlsArgs;
pub use self::token::{Private, reachable};

use self::token::{Embedded, Given, TOKEN, TOKEN_FILE};
use super::failure::Failure;
use super::output::Output;
use super::time::{format_seconds, parse_duration};
use crate::grpc::pb::audit_service_client::AuditServiceClient;
use crate::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use crate::grpc::pb::budget_service_client::BudgetServiceClient;
use crate::grpc::pb::key_service_client::KeyServiceClient;

/// Where `keystile serve` listens by default.
const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";
/// Between two looks whether a server serves.
const SERVING_PAUSE: Duration = Duration::from_millis(100);
/// The variables of those who call a server that no flag names.
pub(super) const VARIABLES: [&str; 2] = [TOKEN, TOKEN_FILE];
/// After so long without a word the server is asked whether it is there, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// A page of keys with all their patterns may be large.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where the server is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The server's address; https:// where it speaks TLS [default: http://127.0.0.1:50051; `doctor`: where the
    /// configuration listens]
    #[arg(long, value_name = "URL", env = "KEYSTILE_SERVER", global = true, value_parser = server_uri)]
    pub server: Option<Uri>,

    /// How long to wait for an answer: 500ms, 10s, 2m
    #[arg(long, value_name = "LENGTH", default_value = "10s", global = true, value_parser = parse_duration)]
    pub timeout: Duration,

    /// TLS.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// Where the server is, and who is calling.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerArgs,

    /// File with the caller's token; or give the token itself in KEYSTILE_TOKEN
    ///
    /// Without either, the administrator's token in the data directory is used, if you may read it; only at the
    /// address of the server with a private PostgreSQL (KEYSTILE_LISTEN, else http://127.0.0.1:50051), and never by
    /// https:// or beside a client certificate.
    #[arg(long, value_name = "FILE", env = TOKEN_FILE, global = true, help_heading = "Server")]
    pub token_file: Option<PathBuf>,

    /// Call without a token, wherever one might come from: by a client certificate alone
    #[arg(long, global = true, help_heading = "Server")]
    pub no_token: bool,

    /// The private server that the configuration describes, where a command has one; else the environment's.
    #[arg(skip)]
    pub private: Option<Private>,

    /// Say more about what is done, on stderr
    #[arg(long, short, global = true, help_heading = "Output")]
    pub verbose: bool,
}

/// A connected server.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    caller: Caller,
    /// The administrator's token of this machine, where there is one that this user may not read.
    closed_token: Option<PathBuf>,
    /// Where the token was, where nobody gave one and the administrator's was taken.
    taken_from: Option<PathBuf>,
}

impl ServerArgs {
    /// Where the server is.
    #[must_use]
    pub fn uri(&self) -> Uri {
        self.server.clone().unwrap_or_else(|| Uri::from_static(DEFAULT_SERVER))
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Failure`], when nothing answers there, or nobody that is trusted.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let patience = self.timeout.min(CONNECT_TIMEOUT_MAX);
        let server = self.uri();
        let endpoint = Endpoint::from(server.clone())
            .user_agent(concat!("keystile/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(patience)
            // A watch says nothing for hours: this finds out that nobody is there any more.
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .timeout(self.timeout);
        self.tls.connect(&server, endpoint, patience).await
    }
}

impl ServerArgs {
    /// Waits until the server serves, for as long as an answer may take.
    async fn until_serving(&self, channel: &Channel) {
        let mut health = HealthClient::new(channel.clone());
        let serving = async {
            while health.check(HealthCheckRequest::default()).await.is_ok_and(|answer| {
                // Any other status, and an error too, is for the command itself to find out about.
                answer.get_ref().status() == ServingStatus::NotServing
            }) {
                time::sleep(SERVING_PAUSE).await;
            }
        };
        let _late = time::timeout(self.timeout, serving).await;
    }
}

impl ClientArgs {
    /// Finds the caller's token and connects.
    ///
    /// # Errors
    /// [`Failure`], when the token cannot be read or nothing answers.
    pub async fn connect(&self, output: &mut Output) -> anyhow::Result<Client> {
        let given = Given::by_environment(self.private.as_ref());
        let token = if self.no_token { None } else { given.token(self.token_file.as_deref())? };
        let channel = self.server.connect().await?;
        // A certificate says who is calling; a token would win over it.
        let has_certificate = self.server.tls.client_cert_file.is_some();
        let (token, closed_token, taken_from) = match token {
            Some(token) => (Some(token), None, None),
            None if self.no_token || has_certificate => (None, None, None),
            None => {
                if given.may_come(&self.server.uri()) {
                    self.server.until_serving(&channel).await;
                }
                self.embedded_token(&given, output)
            }
        };
        let caller = Caller::new(token.as_ref(), self.server.timeout)?;
        if self.verbose {
            output.note(&format!(
                "connected to {}, waiting up to {} for an answer",
                self.server.uri(),
                format_seconds(self.server.timeout)
            ));
        }
        Ok(Client { channel, caller, closed_token, taken_from })
    }

    /// The token that an embedded server has left on this machine; the file that keeps it from this user; the file
    /// that it was taken from.
    fn embedded_token(
        &self,
        given: &Given,
        output: &mut Output,
    ) -> (Option<SecretString>, Option<PathBuf>, Option<PathBuf>) {
        match given.embedded(&self.server.uri()) {
            Embedded::Found(token, path) => {
                if self.verbose {
                    output.note(&format!("using the administrator's token in {}", path.display()));
                }
                (Some(token), None, Some(path))
            }
            Embedded::Closed(path) => (None, Some(path), None),
            Embedded::Absent => (None, None, None),
        }
    }
}

impl Client {
    /// The service that keeps keys.
    #[must_use]
    pub fn keys(&self) -> KeyServiceClient<InterceptedService<Channel, Caller>> {
        KeyServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The same for a watch, which has no end of its own.
    #[must_use]
    pub fn watching(&self) -> KeyServiceClient<InterceptedService<Channel, Caller>> {
        let caller = Caller { timeout: None, ..self.caller.clone() };
        KeyServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    /// The service that keeps budgets.
    #[must_use]
    pub fn budgets(&self) -> BudgetServiceClient<InterceptedService<Channel, Caller>> {
        BudgetServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The service that decides.
    #[must_use]
    pub fn authorize(&self) -> AuthorizeServiceClient<InterceptedService<Channel, Caller>> {
        AuthorizeServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
    }

    /// The service that keeps the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<InterceptedService<Channel, Caller>> {
        AuditServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Tells what a refusal of this server means.
    #[must_use]
    pub fn failure(&self, status: &Status) -> Failure {
        let failure = Failure::of_status(status, self.caller.authorization.is_some());
        if status.code() != Code::Unauthenticated {
            return failure;
        }
        match (&self.closed_token, &self.taken_from) {
            (_, Some(path)) => failure.next(format!(
                "The token was taken from {}; give --token-file, {TOKEN_FILE} or {TOKEN}, or --no-token to call \
                 without one.",
                path.display()
            )),
            (Some(path), None) => failure.next(format!(
                "The administrator's token of this machine is in {}, which you may not read: run the command as its \
                 owner, or give the token of another key by {TOKEN}, {TOKEN_FILE} or --token-file.",
                path.display()
            )),
            (None, None) => failure,
        }
    }
}

/// Puts the caller's token on every call, and until when it wants its answer: a change is answered then, complete or not.
#[derive(Clone, Debug)]
pub struct Caller {
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Option<Duration>,
}

impl Caller {
    fn new(token: Option<&SecretString>, timeout: Duration) -> anyhow::Result<Self> {
        let timeout = Some(timeout);
        let Some(token) = token else { return Ok(Self { authorization: None, timeout }) };
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let authorization = MetadataValue::try_from(bearer.as_str());
        let mut authorization =
            authorization.map_err(|_| Failure::new("The caller's token holds what no token can hold."))?;
        authorization.set_sensitive(true);
        Ok(Self { authorization: Some(authorization), timeout })
    }
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

/// Takes `http://host:port`, `https://host:port`, or `host:port`, which is the first.
fn server_uri(text: &str) -> Result<Uri, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = url.parse().map_err(|_| refused_uri())?;
    let complete =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some() && uri.path() == "/";
    if complete { Ok(uri) } else { Err(refused_uri()) }
}

fn refused_uri() -> String {
    format!(
        "a server is written like {DEFAULT_SERVER}, or https://keystile.internal:50051 where it speaks TLS"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, uri) in [
            ("http://127.0.0.1:50051", "http://127.0.0.1:50051/"),
            ("http://keys.internal:80/", "http://keys.internal:80/"),
            ("localhost:50051", "http://localhost:50051/"),
            ("[::1]:50051", "http://[::1]:50051/"),
            ("https://keys.internal:443", "https://keys.internal:443/"),
        ] {
            assert_eq!(server_uri(text).map(|uri| uri.to_string()), Ok(uri.to_owned()));
        }
        for text in
            ["", "http://", "localhost", "http://localhost", "http://h:1/path", "ftp://h:1", "http://h:port"]
        {
            assert_eq!(server_uri(text), Err(refused_uri()), "{text}");
        }
    }

    #[test]
    fn the_token_goes_on_every_call_and_is_never_shown() {
        let mut caller = Caller::new(Some(&SecretString::from("ks_sesame")), TIMEOUT).unwrap();
        assert!(!format!("{caller:?}").contains("sesame"));
        let request = caller.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer ks_sesame");
        assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "3000000u");
        assert!(Caller::new(Some(&SecretString::from("a\nb")), TIMEOUT).is_err());
        let request = Caller::new(None, TIMEOUT).unwrap().call(Request::new(())).unwrap();
        assert!(request.metadata().get("authorization").is_none());
    }
}

//! The admin client: where the server is, and who is calling.
//!
//! - The caller's token comes from a file or from the environment, never from a flag: other users of the
//!   machine can see flags.
//! - Where no token is given and the server is the default one, the administrator's token that an embedded
//!   server leaves in the default data directory is used, if this user may read it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::Uri;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::failure::Failure;
use super::output::Output;
use super::time::{format_seconds, parse_duration};
use crate::config::database::DATA_DIR;
use crate::config::environment::value_of;
use crate::embedded;
use crate::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use crate::grpc::pb::key_service_client::KeyServiceClient;

/// Where `keystile serve` listens by default.
const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";
const TOKEN: &str = "KEYSTILE_TOKEN";
const TOKEN_FILE: &str = "KEYSTILE_TOKEN_FILE";
/// The variables of those who call a server that no flag names.
pub(super) const VARIABLES: [&str; 2] = [TOKEN, TOKEN_FILE];
/// What an embedded server calls the file with the administrator's token.
const ADMIN_TOKEN_FILE: &str = "admin.token";
/// More than any token has (72 bytes); keeps a wrong path from filling the memory.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// A page of keys with all their patterns may be large.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where the server is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The server's address
    #[arg(long, value_name = "URL", env = "KEYSTILE_SERVER", default_value = DEFAULT_SERVER, global = true,
          value_parser = server_uri)]
    pub server: Uri,

    /// How long to wait for an answer: 500ms, 10s, 2m
    #[arg(long, value_name = "LENGTH", default_value = "10s", global = true, value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Where the server is, and who is calling.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerArgs,

    /// File with the caller's token; or give the token itself in KEYSTILE_TOKEN
    ///
    /// Without either, on the machine of an embedded server, the administrator's token in its data directory
    /// is used, if you may read it.
    #[arg(long, value_name = "FILE", env = TOKEN_FILE, global = true, help_heading = "Server")]
    pub token_file: Option<PathBuf>,

    /// Say more about what is done, on stderr
    #[arg(long, short, global = true, help_heading = "Output")]
    pub verbose: bool,
}

/// A connected server.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    caller: Caller,
}

impl ServerArgs {
    /// Connects.
    ///
    /// # Errors
    /// [`Failure`], when nothing answers there.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from(self.server.clone())
            .user_agent(concat!("keystile/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(self.timeout.min(CONNECT_TIMEOUT_MAX))
            .timeout(self.timeout);
        endpoint.connect().await.map_err(|error| unreachable_server(&self.server, &error).into())
    }
}

impl ClientArgs {
    /// Finds the caller's token and connects.
    ///
    /// # Errors
    /// [`Failure`], when the token cannot be read or nothing answers.
    pub async fn connect(&self, output: &mut Output) -> anyhow::Result<Client> {
        let token = self.token(Given::by_environment(), output)?;
        let caller = Caller::new(token.as_ref())?;
        let channel = self.server.connect().await?;
        if self.verbose {
            output.note(&format!(
                "connected to {}, waiting up to {} for an answer",
                self.server.server,
                format_seconds(self.server.timeout)
            ));
        }
        Ok(Client { channel, caller })
    }

    fn token(&self, given: Given, output: &mut Output) -> anyhow::Result<Option<SecretString>> {
        if let Some(path) = &self.token_file {
            let by_variable = given.token_file.is_some_and(|file| file == path.as_os_str());
            if by_variable && given.token.is_some() {
                let failure = Failure::new(format!("{TOKEN} and {TOKEN_FILE} are both set."));
                return Err(failure.next("Keep one of the two.").into());
            }
            return read_token_file(path).map(Some);
        }
        if let Some(token) = given.token {
            let token = token.into_string().ok().map(Zeroizing::new);
            let token = token.with_context(|| format!("{TOKEN} holds something that is no token"))?;
            return Ok(Some(SecretString::from(token.trim())));
        }
        if self.server.server != DEFAULT_SERVER {
            return Ok(None);
        }
        // Not there, or not for this user: then there is no token, and the server says what it thinks of it.
        let embedded = given.admin_token_file.and_then(|path| Some((read_token_file(&path).ok()?, path)));
        Ok(embedded.map(|(token, path)| {
            if self.verbose {
                output.note(&format!("using the administrator's token in {}", path.display()));
            }
            token
        }))
    }
}

/// What the environment says about the caller's token.
#[derive(Default)]
struct Given {
    token: Option<OsString>,
    token_file: Option<OsString>,
    admin_token_file: Option<PathBuf>,
}

impl Given {
    fn by_environment() -> Self {
        let data_dir = value_of(DATA_DIR).map(PathBuf::from).or_else(|| embedded::default_data_dir().ok());
        Self {
            token: value_of(TOKEN),
            token_file: value_of(TOKEN_FILE),
            admin_token_file: data_dir.map(|data_dir| data_dir.join(ADMIN_TOKEN_FILE)),
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

    /// The service that decides.
    #[must_use]
    pub fn authorize(&self) -> AuthorizeServiceClient<InterceptedService<Channel, Caller>> {
        AuthorizeServiceClient::with_interceptor(self.channel.clone(), self.caller.clone())
    }

    /// Tells what a refusal of this server means.
    #[must_use]
    pub fn failure(&self, status: &Status) -> Failure {
        Failure::of_status(status, self.caller.authorization.is_some())
    }
}

/// Puts the caller's token on every call.
#[derive(Clone, Debug)]
pub struct Caller {
    authorization: Option<MetadataValue<Ascii>>,
}

impl Caller {
    fn new(token: Option<&SecretString>) -> anyhow::Result<Self> {
        let Some(token) = token else { return Ok(Self { authorization: None }) };
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let authorization = MetadataValue::try_from(bearer.as_str());
        let mut authorization =
            authorization.map_err(|_| Failure::new("The caller's token holds what no token can hold."))?;
        authorization.set_sensitive(true);
        Ok(Self { authorization: Some(authorization) })
    }
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// Takes `http://host:port`, or `host:port`.
fn server_uri(text: &str) -> Result<Uri, String> {
    if text.starts_with("https://") {
        return Err("this client does not speak TLS; put a proxy that does next to it".to_owned());
    }
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = url.parse().map_err(|_| refused_uri())?;
    let complete = uri.scheme_str() == Some("http") && uri.port().is_some() && uri.path() == "/";
    if complete { Ok(uri) } else { Err(refused_uri()) }
}

fn refused_uri() -> String {
    format!("a server is written like {DEFAULT_SERVER}")
}

fn unreachable_server(server: &Uri, error: &tonic::transport::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let server = server.to_string();
    Failure::new(format!("No server answers at {}: {cause}.", server.trim_end_matches('/')))
        .next("Start one with `keystile serve`, or name another by --server or KEYSTILE_SERVER.")
}

fn read_token_file(path: &Path) -> anyhow::Result<SecretString> {
    let refused = |why: String| Failure::new(format!("Cannot read a token from {}: {why}.", path.display()));
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let read = file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| refused(error.to_string()))?;
    match text.trim() {
        "" => Err(refused("it is empty".to_owned()).into()),
        token => Ok(SecretString::from(token)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::builder::Resettable;
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;
    use crate::cli::output::{Format, Written};

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, uri) in [
            ("http://127.0.0.1:50051", "http://127.0.0.1:50051/"),
            ("http://keys.internal:80/", "http://keys.internal:80/"),
            ("localhost:50051", "http://localhost:50051/"),
            ("[::1]:50051", "http://[::1]:50051/"),
        ] {
            assert_eq!(server_uri(text).map(|uri| uri.to_string()), Ok(uri.to_owned()));
        }
        for text in
            ["", "http://", "localhost", "http://localhost", "http://h:1/path", "ftp://h:1", "http://h:port"]
        {
            assert_eq!(server_uri(text), Err(refused_uri()), "{text}");
        }
        assert!(server_uri("https://h:443").unwrap_err().contains("TLS"));
    }

    #[test]
    fn the_default_server_is_recognised() {
        assert_eq!(server_uri(DEFAULT_SERVER).unwrap(), DEFAULT_SERVER);
        assert_ne!(server_uri("127.0.0.1:50052").unwrap(), DEFAULT_SERVER);
        assert_ne!(server_uri("localhost:50051").unwrap(), DEFAULT_SERVER);
    }

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        client: ClientArgs,
    }

    /// The token that is chosen, and what is noted about it.
    fn chosen(args: &[&str], given: Given) -> (Option<String>, String) {
        let command = Program::command().mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.try_get_matches_from(["keystile"].iter().chain(args)).unwrap();
        let notes = Written::default();
        let mut output = Output::to(Format::Table, Written::default(), notes.clone());
        let client = ClientArgs::from_arg_matches(&matches).unwrap();
        let token = client.token(given, &mut output).unwrap();
        (token.map(|token| token.expose_secret().to_owned()), notes.text())
    }

    fn file(token: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(token.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_file_wins_over_the_variable_and_both_over_the_embedded_servers_token() {
        let (flag, admin) = (file("flag"), file("admin"));
        let flag = flag.path().to_str().unwrap();
        let given = |token: Option<&str>| Given {
            token: token.map(OsString::from),
            token_file: None,
            admin_token_file: Some(admin.path().to_owned()),
        };
        let is = |token: &str| (Some(token.to_owned()), String::new());
        assert_eq!(chosen(&["--token-file", flag], given(Some("variable"))), is("flag"));
        assert_eq!(chosen(&[], given(Some(" variable\n"))), is("variable"));
        assert_eq!(chosen(&[], given(None)), is("admin"));
        let noted = format!("using the administrator's token in {}\n", admin.path().display());
        assert_eq!(chosen(&["-v"], given(None)), (Some("admin".into()), noted));
        assert_eq!(chosen(&[], Given::default()), (None, String::new()));
    }

    #[test]
    fn the_embedded_servers_token_goes_to_the_default_server_only() {
        let admin = file("admin");
        let given = || Given { admin_token_file: Some(admin.path().to_owned()), ..Default::default() };
        assert_eq!(chosen(&["--server=http://10.0.0.7:50051"], given()).0, None);
        assert_eq!(chosen(&["--server=127.0.0.1:50051"], given()).0.as_deref(), Some("admin"));
        let missing = Given { admin_token_file: Some("/nowhere/admin.token".into()), ..Default::default() };
        assert_eq!(chosen(&["-v"], missing), (None, String::new()));
    }

    #[test]
    fn a_token_file_holds_one_token() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let empty = read_token_file(file.path()).unwrap_err().to_string();
        assert!(empty.contains("it is empty"), "{empty}");
        file.write_all(b" ks_abc\r\n").unwrap();
        assert_eq!(read_token_file(file.path()).unwrap().expose_secret(), "ks_abc");
        let missing = read_token_file(Path::new("/nowhere/token")).unwrap_err().to_string();
        assert!(missing.starts_with("Cannot read a token from /nowhere/token: No such file"), "{missing}");
    }

    #[test]
    fn the_token_goes_on_every_call_and_is_never_shown() {
        let mut caller = Caller::new(Some(&SecretString::from("ks_sesame"))).unwrap();
        assert!(!format!("{caller:?}").contains("sesame"));
        let request = caller.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer ks_sesame");
        assert!(Caller::new(Some(&SecretString::from("a\nb"))).is_err());
        let request = Caller::new(None).unwrap().call(Request::new(())).unwrap();
        assert!(request.metadata().get("authorization").is_none());
    }
}

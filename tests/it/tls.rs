//! TLS on real processes: who is let in, who is refused and why, by certificates made here.

mod authority;
mod callers;
mod database;
mod probes;
mod refusals;
mod rotation;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::harness::{Process, TestDatabase, new_token};
use authority::{Authority, Leaf};

/// What the servers' certificates are for.
const SERVER_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A folder with everything that a server by TLS needs, and the authorities that made it.
struct Stage {
    folder: TempDir,
    servers: Authority,
    clients: Authority,
    database: TestDatabase,
    admin_token: String,
}

impl Stage {
    async fn set() -> Self {
        let database = TestDatabase::new().await;
        let folder = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let stage = Self { folder, servers, clients, database, admin_token: new_token() };
        stage.put("servers.pem", &stage.servers.pem);
        stage.put("clients.pem", &stage.clients.pem);
        stage.put("bootstrap.token", &stage.admin_token);
        stage.put_leaf("server", &stage.servers.leaf(&SERVER_NAMES));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, text: &str) {
        // Readers see the old file or the new one.
        let part = self.path(&format!("{name}.part"));
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, self.path(name)).unwrap();
    }

    /// Writes `name.crt` and `name.key`.
    fn put_leaf(&self, name: &str, leaf: &Leaf) {
        self.put(&format!("{name}.crt"), &leaf.pem);
        self.put(&format!("{name}.key"), &leaf.key_pem);
    }

    /// Starts the program with TLS and these settings.
    fn serve(&self, settings: &[(&str, &str)]) -> Process {
        let url = self.database.url();
        let files = ["server.crt", "server.key", "bootstrap.token"].map(|name| self.text(name));
        let mut all = vec![
            ("KEYSTILE_DATABASE_URL", url.as_str()),
            ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
            ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", &files[2]),
            ("KEYSTILE_TLS_CERT_FILE", &files[0]),
            ("KEYSTILE_TLS_KEY_FILE", &files[1]),
        ];
        all.extend(settings);
        Process::serve(&all)
    }

    /// Starts it with mutual TLS.
    fn serve_mutual(&self, settings: &[(&str, &str)]) -> Process {
        let clients = self.text("clients.pem");
        let mut all = vec![("KEYSTILE_TLS_CLIENT_CA_FILE", clients.as_str())];
        all.extend(settings);
        self.serve(&all)
    }

    /// A client that trusts the servers' authority, and shows a certificate if it has one.
    fn client(&self, shown: Option<&Leaf>) -> ClientConfig {
        self.servers.trusted_by_client(shown)
    }

    /// `keystile …` by the administrator's token, trusting the servers' authority.
    fn command(&self, server: &str, arguments: &[&str]) -> Command {
        let mut command = Process::command();
        command.args(arguments).env("KEYSTILE_SERVER", server).env("KEYSTILE_TOKEN", &self.admin_token);
        if server.starts_with("https") {
            command.env("KEYSTILE_CA_FILE", self.path("servers.pem"));
        }
        command
    }
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Shakes hands with the server at `127.0.0.1:port`.
async fn shake_hands(address: &str, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that a server shows.
async fn shown_certificate(address: &str, config: ClientConfig) -> CertificateDer<'static> {
    let stream = shake_hands(address, config).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A gRPC connection by TLS that counts how often it was made.
async fn grpc(
    address: &str,
    config: ClientConfig,
    made: Arc<AtomicUsize>,
) -> Result<Channel, tonic::transport::Error> {
    let (address, config) = (address.to_owned(), Arc::new(config));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    let connector = tower::service_fn(move |_| {
        let (address, config, made) = (address.clone(), Arc::clone(&config), Arc::clone(&made));
        async move {
            made.fetch_add(1, Ordering::Relaxed);
            shake_hands(&address, ClientConfig::clone(&config)).await.map(TokioIo::new)
        }
    });
    endpoint.connect_with_connector(connector).await
}

async fn grpc_once(address: &str, config: ClientConfig) -> Result<Channel, tonic::transport::Error> {
    grpc(address, config, Arc::default()).await
}

/// Where programs of Go's are, beside the `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let go = std::env::var_os("HOME").map(|home| Path::new(&home).join("go/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(go);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()));
    if found.is_none() {
        eprintln!("skipped: there is no {name} on the PATH, nor in ~/go/bin");
    }
    found
}

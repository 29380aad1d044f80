//! The connection to a server, in the clear or by TLS, and why there is none.
//!
//! A server that refuses a client's certificate says so only after the handshake, and one that speaks TLS where the
//! client does not says so only when it has heard something. Both would meet the first call, which knows no cause:
//! so a connection counts as made when the server's first bytes are there.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::cli::failure::Failure;
use crate::tls::{HandshakeFault, Identity, PemFile, fault_in, grpc_client, platform_roots, roots};

/// What a record of TLS starts with that says what is wrong; no first frame of HTTP/2 starts so.
const ALERT_RECORD: u8 = 21;

/// Whom to trust, and who is asking.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsArgs {
    /// File with the authorities to trust, in PEM, for an https:// server [default: those of this machine]
    #[arg(long, value_name = "FILE", env = "KEYSTILE_CA_FILE", global = true)]
    pub ca_file: Option<PathBuf>,

    /// File with a client certificate in PEM, for a server that asks for one
    #[arg(long, value_name = "FILE", env = "KEYSTILE_CLIENT_CERT_FILE", global = true)]
    pub client_cert_file: Option<PathBuf>,

    /// File with the private key of --client-cert-file in PEM
    #[arg(long, value_name = "FILE", env = "KEYSTILE_CLIENT_KEY_FILE", global = true)]
    pub client_key_file: Option<PathBuf>,

    /// Name that the server's certificate is for, where it is not the one in --server
    #[arg(long, value_name = "NAME", env = "KEYSTILE_SERVER_NAME", global = true)]
    pub server_name: Option<String>,
}

impl TlsArgs {
    /// By TLS where the server is https://.
    fn route(&self, server: &Uri) -> anyhow::Result<Route> {
        let identity = match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let failure = Failure::new("A client certificate and its key belong together.");
                return Err(failure
                    .next("Give both --client-cert-file and --client-key-file, or none.")
                    .into());
            }
        };
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if server.scheme_str() != Some("https") {
            let is_told = self.ca_file.is_some() || identity.is_some() || self.server_name.is_some();
            if is_told {
                // Better refused than sent in the clear.
                let failure =
                    Failure::new(format!("{server} is not reached by TLS, but settings of TLS are given."));
                let next = "Write https:// in --server or KEYSTILE_SERVER, or leave --ca-file, --client-cert-file \
                            and --server-name (and their variables) out.";
                return Err(failure.next(next).into());
            }
            return Ok(Route { server: server.clone(), host, tls: None });
        }
        let trusted = match &self.ca_file {
            Some(path) => PemFile::read(path).and_then(|file| roots(&file)),
            None => platform_roots(),
        };
        let trusted = trusted.map_err(|error| {
            Failure::new(format!("No authority to trust: {error}.")).next("--ca-file names the file of one.")
        })?;
        let identity = identity.map(|(certificate, key)| Identity::read(certificate, key)).transpose();
        let identity = identity
            .map_err(|error| Failure::new(format!("The client certificate cannot be used: {error}.")))?;
        let config = grpc_client(trusted, identity.as_ref()).context("TLS cannot be set up")?;
        let name = self.server_name.clone().unwrap_or_else(|| host.clone());
        let name = ServerName::try_from(name.clone())
            .map_err(|_| Failure::new(format!("{name} is no host name.")))?;
        Ok(Route { server: server.clone(), host, tls: Some((Arc::new(config), name)) })
    }

    /// Connects to `server`, and waits up to `patience` for its first bytes.
    ///
    /// # Errors
    /// [`Failure`], when nothing answers there, or nobody that is trusted.
    pub(super) async fn connect(
        &self,
        server: &Uri,
        endpoint: Endpoint,
        patience: Duration,
    ) -> anyhow::Result<Channel> {
        let route = self.route(server)?;
        let (arrival, arrived) = watch::channel(Arrival::Awaited);
        let opened = route.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (route, arrival) = (opened.clone(), arrival.clone());
            async move { route.open(arrival).await.map(TokioIo::new) }
        });
        let connected = endpoint.connect_with_connector(connector).await;
        let mut waiting = arrived.clone();
        if connected.is_ok() {
            let first_bytes = waiting.wait_for(|arrival| *arrival != Arrival::Awaited);
            if timeout(patience, first_bytes).await.is_err() {
                // Whatever answers there is slow: the call has its own time limit.
                return Ok(connected?);
            }
        }
        let trouble = match &*arrived.borrow() {
            Arrival::Trouble(trouble) => Some(route.failure(trouble)),
            Arrival::Awaited | Arrival::FirstBytes => None,
        };
        match (connected, trouble) {
            (_, Some(failure)) => Err(failure.into()),
            (Err(error), None) => Err(unreachable_server(server, &error).into()),
            (Ok(channel), None) => Ok(channel),
        }
    }
}

/// How a server is reached.
#[derive(Clone)]
struct Route {
    server: Uri,
    /// Without the brackets of an IPv6 address.
    host: String,
    /// By TLS, expecting a certificate for this name.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// What has come of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Arrival {
    Awaited,
    /// Or its end, which the call explains.
    FirstBytes,
    Trouble(Trouble),
}

/// Why the transport failed, where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The server speaks TLS, the client does not.
    SpeaksTls,
    /// TLS failed.
    Tls(HandshakeFault),
}

impl Route {
    async fn open(self, arrival: watch::Sender<Arrival>) -> io::Result<Noting> {
        let stream =
            TcpStream::connect((self.host.as_str(), self.server.port_u16().unwrap_or_default())).await?;
        stream.set_nodelay(true)?;
        let transport = match self.tls {
            None => Transport::Clear(stream),
            Some((config, name)) => match TlsConnector::from(config).connect(name, stream).await {
                Ok(stream) => Transport::Tls(Box::new(stream)),
                Err(error) => {
                    arrival.send_replace(Arrival::Trouble(Trouble::Tls(HandshakeFault::of(&error))));
                    return Err(error);
                }
            },
        };
        Ok(Noting { transport, arrival, has_read: false })
    }

    /// A trouble, for a person.
    fn failure(&self, trouble: &Trouble) -> Failure {
        let server = self.server.to_string();
        let server = server.trim_end_matches('/');
        let fault = match trouble {
            Trouble::SpeaksTls => {
                let failure = Failure::new(format!("The server at {server} speaks TLS."));
                return failure.next("Write https:// instead of http:// in --server or KEYSTILE_SERVER.");
            }
            Trouble::Tls(fault) => fault,
        };
        let name = self.tls.as_ref().map(|(_, name)| name.to_str().into_owned()).unwrap_or_default();
        let (sentence, next) = worded(fault, &name);
        Failure::new(format!("No connection with {server}: {sentence}.")).next(next)
    }
}

/// A fault as the client sees it, and what to do.
fn worded(fault: &HandshakeFault, name: &str) -> (String, &'static str) {
    use AlertDescription as Alert;
    let sentence = match fault {
        HandshakeFault::NotTls => "it does not speak TLS".to_owned(),
        HandshakeFault::Left => "it closed the connection before TLS was agreed on".to_owned(),
        HandshakeFault::UnknownIssuer => {
            "its certificate comes from an authority that is not trusted here".to_owned()
        }
        HandshakeFault::Expired => "its certificate has expired".to_owned(),
        HandshakeFault::NotYetValid => "its certificate is not valid yet".to_owned(),
        HandshakeFault::WrongName => format!("its certificate is not for the name {name}"),
        HandshakeFault::Refused(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            "it asks for a client certificate".to_owned()
        }
        HandshakeFault::Refused(Alert::UnknownCA) => {
            "it does not trust the authority of the client certificate".to_owned()
        }
        HandshakeFault::Refused(Alert::CertificateExpired) => {
            "the client certificate has expired, it says".to_owned()
        }
        HandshakeFault::Refused(alert) => format!("it refuses TLS ({alert:?})"),
        other => other.to_string(),
    };
    let next = match fault {
        HandshakeFault::NotTls => {
            "Is that the right port? If the network in between is yours alone, write http:// in --server."
        }
        HandshakeFault::UnknownIssuer => {
            "Name the file of its authority by --ca-file or KEYSTILE_CA_FILE, if you trust it."
        }
        HandshakeFault::Expired | HandshakeFault::NotYetValid => {
            "Renew the server's certificate, or set this machine's clock."
        }
        HandshakeFault::WrongName => {
            "Name the server in --server as its certificate does, or say that name by --server-name."
        }
        HandshakeFault::Refused(
            Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::BadCertificate
            | Alert::DecryptError,
        ) => {
            "Give a certificate that it accepts by --client-cert-file and --client-key-file \
             (KEYSTILE_CLIENT_CERT_FILE, KEYSTILE_CLIENT_KEY_FILE)."
        }
        _ => "The server's log says more.",
    };
    (sentence, next)
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

/// A connection that says what came first.
struct Noting {
    transport: Transport,
    arrival: watch::Sender<Arrival>,
    has_read: bool,
}

enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Noting {
    /// Looks at the first that was read, or why nothing was.
    fn look(&mut self, read: &io::Result<()>, bytes: &[u8]) {
        if std::mem::replace(&mut self.has_read, true) {
            return;
        }
        let trouble = match (&self.transport, read) {
            (Transport::Clear(_), Ok(())) if bytes.first() == Some(&ALERT_RECORD) => Some(Trouble::SpeaksTls),
            (Transport::Tls(_), Err(error)) => fault_in(error).map(Trouble::Tls),
            _ => None,
        };
        self.arrival.send_replace(trouble.map_or(Arrival::FirstBytes, Arrival::Trouble));
    }
}

impl AsyncRead for Noting {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = match &mut this.transport {
            Transport::Clear(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        read.map(|read| {
            this.look(&read, buffer.filled().get(before..).unwrap_or_default());
            read
        })
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

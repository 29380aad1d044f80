//! Connections of a listener, by TLS or in the clear.
//!
//! - Handshakes run beside each other: a slow one keeps nobody waiting, and a failed one ends nothing but itself.
//! - They are bounded in number and time. Beyond that, new connections wait in the kernel's queue.
//! - The end is orderly: what the kernel has taken in by then is still served, a handshake under way may end, and
//!   the port is closed meanwhile. Dropping the stream ends it at once.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::ServerError;
use super::certificates::Certificates;
use super::handshakes::HandshakeLog;
use crate::grpc::peer::Peer;
use crate::policy::KeyId;
use crate::tls::HandshakeFault;

const HANDSHAKES_MAX: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const LET_GO_TIMEOUT: Duration = Duration::from_secs(1);
/// What handshakes under way get when the listener is to end.
const LAST_HANDSHAKES_TIMEOUT: Duration = Duration::from_secs(2);
/// Where the process has no file left for a connection, others have to end first.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Takes the address that `setting` names, and says at once if it cannot be had.
pub(super) async fn bind(
    address: SocketAddr,
    setting: &'static str,
) -> Result<(TcpListener, SocketAddr), ServerError> {
    let attempt = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    attempt.await.map_err(|why| ServerError::Listen { address, setting, why })
}

/// What comes in.
pub(super) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Takes connections in on `listener` until `stop` ends, by TLS where there are certificates.
pub(super) fn incoming(
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Incoming {
    let (connections, incoming) = mpsc::channel(1);
    let entrance = Entrance { certificates, log: Arc::default(), connections };
    tokio::spawn(entrance.serve(listener, stop));
    ReceiverStream::new(incoming)
}

/// Says that everybody on the way can read along, where that is so.
pub(super) fn warn_of_clear(listen: SocketAddr, certificates: Option<&Arc<Certificates>>) {
    if certificates.is_none() && !listen.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "gRPC listens without TLS where other machines can reach it: tokens travel in the clear. Set \
             KEYSTILE_TLS_CERT_FILE and KEYSTILE_TLS_KEY_FILE, or let a proxy or mesh speak TLS"
        );
    }
}

/// Where connections come in.
#[derive(Clone)]
struct Entrance {
    certificates: Option<Arc<Certificates>>,
    log: Arc<HandshakeLog>,
    connections: mpsc::Sender<io::Result<Connection>>,
}

impl Entrance {
    async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        // Those under way are given up with it.
        let mut handshakes = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = self.connections.closed() => return,
                () = &mut stop => break,
                Some(ended) = handshakes.join_next() => {
                    tell_panic(ended);
                    continue;
                }
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => accepted,
            };
            self.take_in(accepted, &mut handshakes).await;
        }
        // Whom the kernel has told that he is connected must not be told the opposite.
        while let Some(accepted) = accepted_already(&listener).await {
            self.take_in(accepted, &mut handshakes).await;
        }
        drop(listener);
        let rest = async {
            while let Some(ended) = handshakes.join_next().await {
                tell_panic(ended);
            }
        };
        if timeout(LAST_HANDSHAKES_TIMEOUT, rest).await.is_err() {
            tracing::debug!("handshakes were still under way; they are given up");
        }
    }

    async fn take_in(&self, accepted: Accepted, handshakes: &mut JoinSet<()>) {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one_connection(&error) {
                    tracing::warn!(error = %error, "a connection could not be taken in");
                    sleep(REST_AFTER_FAILURE).await;
                }
                return;
            }
        };
        // Without it an answer may wait 40 ms for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "a connection was gone before it was taken in");
            return;
        }
        match &self.certificates {
            None => self.hand_on(Transport::Clear(stream), Peer { address, key_id: None }).await,
            Some(certificates) => {
                handshakes.spawn(self.clone().shake_hands(stream, address, Arc::clone(certificates)));
            }
        }
    }

    async fn shake_hands(self, stream: TcpStream, address: SocketAddr, certificates: Arc<Certificates>) {
        let acceptor = TlsAcceptor::from(certificates.config());
        let failed = |fault: HandshakeFault| {
            certificates.count_failure(&fault);
            self.log.failed(&fault, address);
        };
        match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible()).await {
            Ok(Ok(stream)) => {
                let peer = Peer { address, key_id: self.caller(&stream, address, &certificates) };
                self.hand_on(Transport::Tls(Box::new(stream)), peer).await;
            }
            Ok(Err((error, stream))) => {
                failed(HandshakeFault::of(&error));
                let_go(stream).await;
            }
            Err(_) => failed(HandshakeFault::TimedOut),
        }
    }

    fn caller(
        &self,
        stream: &TlsStream<TcpStream>,
        address: SocketAddr,
        certificates: &Certificates,
    ) -> Option<KeyId> {
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates()?.first()?;
        certificates.caller(certificate).unwrap_or_else(|names| {
            self.log.unknown_client(&names, address);
            None
        })
    }

    async fn hand_on(&self, transport: Transport, peer: Peer) {
        if self.connections.send(Ok(Connection { transport, peer })).await.is_err() {
            tracing::debug!("a connection came when the service was stopping");
        }
    }
}

/// Closes a connection so that the client reads why: a socket that is closed with something unread in it takes back
/// what was sent last.
async fn let_go(mut stream: TcpStream) {
    let leaving = async {
        stream.shutdown().await?;
        while stream.read(&mut [0; 1024]).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    if !matches!(timeout(LET_GO_TIMEOUT, leaving).await, Ok(Ok(()))) {
        tracing::debug!("a client that was refused did not leave by itself");
    }
}

type Accepted = io::Result<(TcpStream, SocketAddr)>;

/// The next connection, if the kernel has one already and can hand it over.
async fn accepted_already(listener: &TcpListener) -> Option<Accepted> {
    poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(Ok(accepted)) => Poll::Ready(Some(Ok(accepted))),
        Poll::Ready(Err(error)) if is_of_one_connection(&error) => Poll::Ready(Some(Err(error))),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn tell_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a handshake ended early");
    }
}

/// Whether the failure to accept is one connection's own, and the next may be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset)
}

/// A connection that has been taken in.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    peer: Peer,
}

#[derive(Debug)]
enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

/// Calls the same function of whichever transport there is.
macro_rules! forward {
    ($this:ident, $transport:ident => $call:expr) => {
        match &mut $this.get_mut().transport {
            Transport::Clear(stream) => {
                let $transport = Pin::new(stream);
                $call
            }
            Transport::Tls(stream) => {
                let $transport = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, transport => transport.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, transport => transport.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, transport => transport.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Clear(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, transport => transport.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, transport => transport.poll_shutdown(context))
    }
}

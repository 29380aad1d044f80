//! A connection's way in on its loop: by TLS where there are certificates, then HTTP/2.
//!
//! - Handshakes run beside each other: a slow one keeps nobody waiting, and a failed one ends nothing but itself.
//! - They are bounded in number ([`Newcomers`]) and time.
//! - When the service ends, those under way get a moment.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answers::Answers;
use super::connection::{self, Surroundings};
use super::newcomers::Newcomers;
use crate::grpc::peer::Peer;
use crate::metrics::{CallMetrics, Gauge};
use crate::policy::KeyId;
use crate::server::certificates::Certificates;
use crate::server::handshakes::HandshakeLog;
use crate::server::transport::Transport;
use crate::tls::HandshakeFault;

/// Connections that have not begun to speak HTTP/2.
pub(super) const NEWCOMERS_MAX: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const LET_GO_TIMEOUT: Duration = Duration::from_secs(1);
/// What handshakes under way get when the service ends.
const LAST_HANDSHAKES_TIMEOUT: Duration = Duration::from_secs(2);

/// The way in, the same on all loops.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) newcomers: Arc<Newcomers>,
    pub(super) log: HandshakeLog,
    pub(super) metrics: Arc<CallMetrics>,
}

impl Entrance {
    /// Takes a connection in and serves it to its end.
    pub(super) async fn serve<A: Answers>(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        address: SocketAddr,
        around: Surroundings<A>,
    ) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be taken in");
                return;
            }
        };
        let mut place = self.newcomers.enter(address.ip());
        let mut closing = around.closing.clone();
        let greeting = async {
            let (transport, peer) = self.shake_hands(stream, address).await?;
            self.metrics.accepted.increment();
            let open = Gauge::hold(Arc::clone(&self.metrics.connections));
            let greeted = timeout(HANDSHAKE_TIMEOUT, connection::greet(transport, &around.terms)).await;
            Some((greeted.ok()?, peer, open))
        };
        let last_moment = async {
            closing.come().await;
            sleep(LAST_HANDSHAKES_TIMEOUT).await;
        };
        let greeted = tokio::select! {
            greeted = greeting => greeted,
            () = place.ousted() => {
                around.metrics.ousted.increment();
                tracing::debug!(peer = %address, "a connection that had not begun to speak made room for another");
                return;
            }
            () = last_moment => {
                tracing::debug!("a handshake was still under way; it is given up");
                return;
            }
        };
        drop(place);
        let ended = match greeted {
            None => return,
            Some((Ok(greeted), peer, _open)) => connection::serve(greeted, peer, around).await,
            Some((Err(error), _, _)) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, peer = %address, "a connection ended");
        }
    }

    /// The transport, and who is at its other end; `None` where that failed.
    async fn shake_hands(&self, stream: TcpStream, address: SocketAddr) -> Option<(Transport, Peer)> {
        let Some(certificates) = &self.certificates else {
            return Some((Transport::Clear(stream), Peer { address, key_id: None }));
        };
        let acceptor = TlsAcceptor::from(certificates.config());
        let failed = |fault: HandshakeFault| {
            certificates.count_failure(&fault);
            self.log.failed(&fault, address);
        };
        match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible()).await {
            Ok(Ok(stream)) => {
                let peer = Peer { address, key_id: self.caller(&stream, address, certificates) };
                Some((Transport::Tls(Box::new(stream)), peer))
            }
            Ok(Err((error, stream))) => {
                failed(HandshakeFault::of(&error));
                let_go(stream).await;
                None
            }
            Err(_) => {
                failed(HandshakeFault::TimedOut);
                None
            }
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

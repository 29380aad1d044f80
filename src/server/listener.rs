//! Takes connections in on an address.
//!
//! The end is orderly: what the kernel has taken in by then is still handed on. Dropping it ends it at once.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::ServerError;
use super::certificates::Certificates;

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

/// Says that everybody on the way can read along, where that is so.
pub(super) fn warn_of_clear(listen: SocketAddr, certificates: Option<&Arc<Certificates>>) {
    if certificates.is_none() && !listen.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "gRPC listens without TLS where other machines can reach it: tokens travel in the clear. Set \
             KEYSTILE_TLS_CERT_FILE and KEYSTILE_TLS_KEY_FILE, or let a proxy or mesh speak TLS"
        );
    }
}

/// Gives every connection to `take` until `stop` ends, and those that the kernel has taken in by then.
pub(super) async fn accept(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        take_in(accepted, &mut take).await;
    }
    // Whom the kernel has told that he is connected must not be told the opposite.
    while let Some(accepted) = accepted_already(&listener).await {
        take_in(accepted, &mut take).await;
    }
}

type Accepted = io::Result<(TcpStream, SocketAddr)>;

async fn take_in(accepted: Accepted, take: &mut impl FnMut(TcpStream, SocketAddr)) {
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
    match stream.set_nodelay(true) {
        Ok(()) => take(stream, address),
        Err(error) => tracing::debug!(error = %error, "a connection was gone before it was taken in"),
    }
}

/// The next connection, if the kernel has one already and can hand it over.
async fn accepted_already(listener: &TcpListener) -> Option<Accepted> {
    poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(Ok(accepted)) => Poll::Ready(Some(Ok(accepted))),
        Poll::Ready(Err(error)) if is_of_one_connection(&error) => Poll::Ready(Some(Err(error))),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Whether the failure to accept is one connection's own, and the next may be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset)
}

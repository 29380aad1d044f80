//! Health alone, in the clear, on a port of its own: Kubernetes' probes speak no TLS and have no token.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Error, Server};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::listener;
use crate::grpc::error_layer::ErrorLayer;

/// A prober is asked so often whether it is still there, and given up where it does not answer soon: machines that vanish
/// must neither pile up here nor hold up the end.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Connections that wait to be served; one more is closed at once.
const WAITING_MAX: usize = 64;

/// Answers for health until `stop` ends; any other call is UNIMPLEMENTED.
///
/// # Errors
/// Serving failed.
pub(super) async fn serve(
    listener: TcpListener,
    health: HealthServer<impl Health>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let (connections, incoming) = mpsc::channel::<TcpStream>(WAITING_MAX);
    tokio::spawn(listener::accept(listener, stop, move |stream, _| {
        if connections.try_send(stream).is_err() {
            tracing::debug!("a probe's connection was closed: too many wait, or the service is stopping");
        }
    }));
    let server = Server::builder().http2_keepalive_interval(Some(ASK_EVERY));
    let server = server.http2_keepalive_timeout(Some(ANSWER_MAX));
    let router = server.layer(ErrorLayer).add_service(health);
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, Infallible>);
    // Without a signal the server would cut off the calls under way when the last connection has come.
    router.serve_with_incoming_shutdown(incoming, pending()).await
}

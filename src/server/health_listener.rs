//! Health alone, in the clear, on a port of its own: Kubernetes' probes speak no TLS and have no token.

use tokio::net::TcpListener;
use tonic::transport::{Error, Server};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::listener;
use crate::grpc::error_layer::ErrorLayer;

/// Answers for health until `stop` ends; any other call is UNIMPLEMENTED.
///
/// # Errors
/// Serving failed.
pub(super) async fn serve(
    listener: TcpListener,
    health: HealthServer<impl Health>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let router = Server::builder().layer(ErrorLayer).add_service(health);
    // Without a signal the server would cut off the calls under way when the last connection has come.
    let never = std::future::pending();
    router.serve_with_incoming_shutdown(listener::incoming(listener, None, stop), never).await
}

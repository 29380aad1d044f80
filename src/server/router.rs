//! What is served: the services, in their layers.
//!
//! - [`early`] has what is there before the database is: health and reflection.
//! - [`late`] has the rest, behind the layer that lets callers in.
//! - [`serve`] puts both behind the layers that every call goes through.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::pb::health_server::HealthServer;
use tower::Layer as _;

use super::ServerError;
use super::health::Health;
use super::late::Late;
use super::parts::Parts;
use super::supervise::PartResult;
use crate::clock::Clock;
use crate::grpc::auth_layer::{AuthLayer, Authenticated};
use crate::grpc::error_layer::ErrorLayer;
use crate::grpc::pb::FILE_DESCRIPTOR_SET;
use crate::grpc::pb::audit_service_server::AuditServiceServer;
use crate::grpc::pb::authorize_service_server::AuthorizeServiceServer;
use crate::grpc::pb::budget_service_server::BudgetServiceServer;
use crate::grpc::pb::key_service_server::KeyServiceServer;
use crate::grpc::telemetry_layer::TelemetryLayer;
use crate::grpc::{AuditApi, AuthorizeApi, BudgetApi, KeyApi, Streams};
use crate::metrics::Metrics;

/// Health and reflection, which everybody may call at any time.
pub(super) fn early(health: &Health) -> Result<Routes, ServerError> {
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that clients by reflection can read them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_error = |error: tonic_reflection::server::Error| ServerError::Serving(error.to_string());
    Ok(Routes::new(HealthServer::new(health.clone()))
        .add_service(reflect().build_v1().map_err(reflection_error)?)
        .add_service(reflect().build_v1alpha().map_err(reflection_error)?)
        .prepare())
}

/// Everything that needs the database, for callers that `auth` lets in.
pub(super) fn late(
    parts: Parts,
    auth: AuthLayer,
    metrics: &Metrics,
    clock: Clock,
    streams: Streams,
) -> Authenticated<Routes> {
    let Parts { admin, authorizer } = parts;
    let calls = || Arc::clone(&metrics.calls);
    let authorize = AuthorizeApi::new(authorizer, calls(), streams.clone());
    let routes = Routes::new(AuthorizeServiceServer::new(authorize))
        .add_service(KeyServiceServer::new(KeyApi::new(admin.clone(), clock, calls(), streams)))
        .add_service(BudgetServiceServer::new(BudgetApi))
        .add_service(AuditServiceServer::new(AuditApi::new(admin)))
        .prepare();
    auth.layer(routes)
}

/// A client that says nothing for so long is asked whether it is still there.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Serves until `incoming` ends and the last call is answered. A connection whose client is silent for `silence_max`,
/// and does not answer for as long again, is closed: machines and networks that fail say no goodbye, and such
/// connections would pile up for ever.
pub(super) async fn serve<IO>(
    services: Late,
    telemetry: TelemetryLayer,
    silence_max: Duration,
    incoming: impl Stream<Item = io::Result<IO>> + Send,
) -> PartResult
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    // The signal never comes: `incoming` ends by itself. That there is one makes tonic send GOAWAY then.
    let never = pending();
    Server::builder()
        .http2_keepalive_interval(Some(silence_max))
        .http2_keepalive_timeout(Some(silence_max))
        .layer(telemetry)
        .layer(ErrorLayer)
        .serve_with_incoming_shutdown(services, incoming, never)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::grpc::telemetry_layer;

    /// Only a test that would fail waits so long.
    const FAILS: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_connection_whose_client_is_gone_is_closed() {
        let late = Late::new(early(&Health::starting(Arc::default())).unwrap());
        let telemetry = TelemetryLayer::new(Arc::clone(&telemetry_layer::metrics().calls), None);
        let (mut client, server) = duplex(1 << 16);
        let incoming = tokio_stream::once(Ok(server)).chain(tokio_stream::pending());
        let serving = tokio::spawn(serve(late, telemetry, Duration::from_millis(20), incoming));
        // The preface of HTTP/2 and empty settings, and not a word more: no answer to a PING either.
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut told = Vec::new();
        timeout(FAILS, client.read_to_end(&mut told)).await.expect("it is kept open").unwrap();
        assert!(!told.is_empty(), "the server's own settings, and its question");
        serving.abort();
    }
}

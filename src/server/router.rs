//! What is served: the services, in their layers.
//!
//! - [`early`] has what is there before the database is: health and reflection.
//! - [`late`] has the rest, behind the layer that lets callers in.
//! - [`Service`] puts both behind the layers that every call goes through, and answers what memory knows without them.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts as Head;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tower::{Layer as _, ServiceExt as _};

use super::ServerError;
use super::health::Health;
use super::late::Late;
use super::loops::Answers;
use super::parts::Parts;
use crate::authorize::KnownCaller;
use crate::clock::Clock;
use crate::grpc::auth_layer::{AuthLayer, Authenticated};
use crate::grpc::error_layer::{ErrorLayer, Explained};
use crate::grpc::hot::{self, ShortAnswer, ShortCall};
use crate::grpc::pb::FILE_DESCRIPTOR_SET;
use crate::grpc::pb::audit_service_server::AuditServiceServer;
use crate::grpc::pb::authorize_service_server::AuthorizeServiceServer;
use crate::grpc::pb::budget_service_server::BudgetServiceServer;
use crate::grpc::pb::key_service_server::KeyServiceServer;
use crate::grpc::telemetry_layer::{Measured, TelemetryLayer};
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
    let Parts { admin, authorizer, .. } = parts;
    let calls = || Arc::clone(&metrics.calls);
    let authorize = AuthorizeApi::new(authorizer, calls(), streams.clone());
    let routes = Routes::new(AuthorizeServiceServer::new(authorize))
        .add_service(KeyServiceServer::new(KeyApi::new(admin.clone(), clock, calls(), streams)))
        .add_service(BudgetServiceServer::new(BudgetApi::new(admin.clone())))
        .add_service(AuditServiceServer::new(AuditApi::new(admin)))
        .prepare();
    auth.layer(routes)
}

/// Everything that is served, as the loops want it.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Ways>);

/// The two ways of a call.
#[derive(Debug)]
struct Ways {
    short: Late,
    long: Measured<Explained<Late>>,
}

impl Service {
    /// `late` behind the layers that every call goes through.
    pub(super) fn new(late: Late, telemetry: &TelemetryLayer) -> Self {
        Self(Arc::new(Ways { long: telemetry.layer(ErrorLayer.layer(late.clone())), short: late }))
    }
}

impl Answers for Service {
    fn is_short(&self, head: &Head) -> bool {
        hot::is_short(head)
    }

    fn patience(&self, head: &Head) -> Duration {
        hot::patience(head)
    }

    type Memory = KnownCaller;

    fn answer_now(&self, call: &ShortCall<'_>, memory: &mut KnownCaller) -> Option<ShortAnswer> {
        self.0.short.short()?.answer(call, memory)
    }

    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send + 'static {
        let answer = self.0.long.clone().oneshot(request);
        async { answer.await.unwrap_or_else(|never| match never {}) }
    }
}

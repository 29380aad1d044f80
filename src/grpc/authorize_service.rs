//! AuthorizeService: decode, check, decide, encode.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::pb::Status as RpcStatus;

use super::convert::authorize as convert;
use super::error::{self, invalid_request, method_not_served};
use super::pb::authorize_service_server::AuthorizeService;
use super::pb::{self, batch_authorize_response};
use super::violations::Violations;
use crate::authorize::{Authorizer, FilterQuestion, Question};
use crate::metrics::CallMetrics;
use crate::{call, clock};

/// At most so many requests in a batch.
pub const BATCH_MAX: usize = 1_000;
/// `min_revision` is waited for at most this long.
const REVISION_WAIT_MAX: Duration = Duration::from_secs(2);
/// What is left of the caller's deadline for the answer.
const ANSWER_TIME: Duration = Duration::from_millis(20);
/// So many requests of a batch are decided at once.
const BATCH_WIDTH: usize = 8;

/// The service.
#[derive(Clone, Debug)]
pub struct AuthorizeApi {
    authorizer: Authorizer,
    metrics: Arc<CallMetrics>,
}

impl AuthorizeApi {
    /// The service on an authorizer.
    #[must_use]
    pub fn new(authorizer: Authorizer, metrics: Arc<CallMetrics>) -> Self {
        Self { authorizer, metrics }
    }

    async fn decide(
        &self,
        request: &pb::AuthorizeRequest,
        wait_max: Duration,
    ) -> Result<pb::AuthorizeResponse, Status> {
        let asked = convert::check_authorize(request, wait_max)?;
        let question = Question {
            token: &request.token,
            access: convert::access(request, &asked),
            dry_run: request.dry_run,
            freshness: asked.freshness,
        };
        let outcome = self.authorizer.authorize(question).await.map_err(error::authorize)?;
        tracing::debug!(
            decision.request_id = %request.request_id,
            key.id = outcome.key.as_ref().map(|key| key.key_id().get()),
            decision = outcome.denied.map_or("ALLOW", |reason| reason.as_str()),
            "decided"
        );
        Ok(convert::response(outcome))
    }
}

fn wait_max<T>(request: &Request<T>) -> Duration {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    let deadline = convert::read_timeout(header).unwrap_or(REVISION_WAIT_MAX);
    deadline.saturating_sub(ANSWER_TIME).min(REVISION_WAIT_MAX)
}

fn rpc_status(status: Status) -> RpcStatus {
    use prost::Message as _;
    // tonic keeps the details as an encoded google.rpc.Status.
    RpcStatus::decode(status.details()).unwrap_or_else(|_| RpcStatus {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

#[tonic::async_trait]
impl AuthorizeService for AuthorizeApi {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let wait_max = wait_max(&request);
        self.decide(request.get_ref(), wait_max).await.map(Response::new)
    }

    async fn batch_authorize(
        &self,
        request: Request<pb::BatchAuthorizeRequest>,
    ) -> Result<Response<pb::BatchAuthorizeResponse>, Status> {
        let wait_max = wait_max(&request);
        let requests = request.into_inner().requests;
        if requests.is_empty() || requests.len() > BATCH_MAX {
            let mut violations = Violations::default();
            violations.add("requests", format!("must have 1 to {BATCH_MAX} members"));
            return Err(invalid_request(&violations));
        }
        self.metrics.batches.observe_members(requests.len());
        let wait_end = clock::monotonic_now() + wait_max;
        let mut outage: Option<Status> = None;
        let mut items = vec![batch_authorize_response::Item::default(); requests.len()];
        let mut waiting = requests.into_iter().enumerate();
        let mut running = JoinSet::new();
        loop {
            while running.len() < BATCH_WIDTH
                && let Some((position, request)) = waiting.next()
            {
                let api = self.clone();
                let known = outage.clone();
                running.spawn(call::inherit(async move {
                    // The batch waits once for a store out of reach, and once for its revisions.
                    let decided = match known {
                        Some(status) => Err(status),
                        None => {
                            let wait_max = wait_end.saturating_duration_since(clock::monotonic_now());
                            api.decide(&request, wait_max).await
                        }
                    };
                    (position, decided)
                }));
            }
            let Some(done) = running.join_next().await else { break };
            let (position, decided) = done.map_err(|error| error::defect(&error))?;
            if let Err(status) = &decided
                && error::is_outage(status)
            {
                outage.get_or_insert_with(|| status.clone());
            }
            let result = match decided {
                Ok(response) => batch_authorize_response::item::Result::Response(response),
                Err(status) => batch_authorize_response::item::Result::Error(rpc_status(status)),
            };
            if let Some(item) = items.get_mut(position) {
                item.result = Some(result);
            }
        }
        Ok(Response::new(pb::BatchAuthorizeResponse { items }))
    }

    type AuthorizeStreamStream = tokio_stream::Empty<Result<pb::AuthorizeStreamResponse, Status>>;

    async fn authorize_stream(
        &self,
        _request: Request<Streaming<pb::AuthorizeStreamRequest>>,
    ) -> Result<Response<Self::AuthorizeStreamStream>, Status> {
        Err(method_not_served("AuthorizeStream"))
    }

    async fn filter_models(
        &self,
        request: Request<pb::FilterModelsRequest>,
    ) -> Result<Response<pb::FilterModelsResponse>, Status> {
        let wait_max = wait_max(&request);
        let request = request.into_inner();
        let asked = convert::check_filter(&request, wait_max)?;
        let question = FilterQuestion {
            token: &request.token,
            access: convert::filter_access(&request, &asked),
            models: &request.models,
            freshness: asked.freshness,
        };
        let outcome = self.authorizer.filter_models(question).await.map_err(error::authorize)?;
        Ok(Response::new(convert::filter_response(outcome, request.models)))
    }

    async fn report_usage(
        &self,
        _request: Request<pb::ReportUsageRequest>,
    ) -> Result<Response<pb::ReportUsageResponse>, Status> {
        Err(method_not_served("ReportUsage"))
    }

    async fn cancel_authorization(
        &self,
        _request: Request<pb::CancelAuthorizationRequest>,
    ) -> Result<Response<pb::CancelAuthorizationResponse>, Status> {
        Err(method_not_served("CancelAuthorization"))
    }

    async fn introspect_key(
        &self,
        request: Request<pb::IntrospectKeyRequest>,
    ) -> Result<Response<pb::IntrospectKeyResponse>, Status> {
        let view = self.authorizer.introspect(&request.get_ref().token).await.map_err(error::authorize)?;
        Ok(Response::new(convert::introspection(view)))
    }
}

//! AuthorizeService: decode, check, decide, encode.
//!
//! - `batch`: many requests in one message
//! - `stream`: many requests one after another
//! - `line`: their order

mod batch;
mod line;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status, Streaming};
use tonic_types::pb::Status as RpcStatus;

use super::convert::authorize as convert;
use super::error::{self, invalid_request, method_not_served};
use super::pb;
use super::pb::authorize_service_server::AuthorizeService;
use super::session::Session;
use super::streams::{self, Streams};
use super::violations::Violations;
use crate::authorize::{AtOnce, Authorizer, FilterQuestion, Outcome, Question, Waiting};
use crate::cache::View;
use crate::clock;
use crate::metrics::CallMetrics;
use stream::Deciding;

/// At most so many requests in a batch.
pub const BATCH_MAX: usize = 1_000;
/// `min_revision` is waited for at most this long.
const REVISION_WAIT_MAX: Duration = Duration::from_secs(2);
/// What is left of the caller's deadline for the answer.
const ANSWER_TIME: Duration = Duration::from_millis(20);

/// The service.
#[derive(Clone, Debug)]
pub struct AuthorizeApi {
    authorizer: Authorizer,
    metrics: Arc<CallMetrics>,
    streams: Streams,
}

/// What is decided about a request; an error where nothing is.
type Decided = Result<pb::AuthorizeResponse, Status>;

/// What can be said of a request at once.
enum Now {
    Decided(Decided),
    /// It has to be waited for, from its place in the line if it has one.
    Waits(Option<Waiting>),
}

impl AuthorizeApi {
    /// The service on an authorizer.
    #[must_use]
    pub fn new(authorizer: Authorizer, metrics: Arc<CallMetrics>, streams: Streams) -> Self {
        Self { authorizer, metrics, streams }
    }

    /// What can be decided without waiting; else the request may have its place in a line already.
    fn decide_now(&self, view: View<'_>, request: &pb::AuthorizeRequest) -> Now {
        let asked = match convert::check_authorize(request, Duration::ZERO) {
            Ok(asked) => asked,
            Err(status) => return Now::Decided(Err(status)),
        };
        match self.authorizer.authorize_at_once(view, &question(request, &asked)) {
            AtOnce::Decided(outcome) => Now::Decided(Ok(self.answer(request, outcome))),
            AtOnce::Waits(waiting) => Now::Waits(Some(waiting)),
            AtOnce::Unknown => Now::Waits(None),
        }
    }

    /// Decides what has to be waited for, from its place in the line if it has one.
    async fn decide_late(
        &self,
        waiting: Option<Waiting>,
        request: &pb::AuthorizeRequest,
        wait_max: Duration,
    ) -> Decided {
        let Some(waiting) = waiting else { return self.decide(request, wait_max).await };
        let asked = convert::check_authorize(request, wait_max)?;
        let outcome = self.authorizer.finish(waiting, &question(request, &asked)).await;
        Ok(self.answer(request, outcome.map_err(error::authorize)?))
    }

    async fn decide(&self, request: &pb::AuthorizeRequest, wait_max: Duration) -> Decided {
        let asked = convert::check_authorize(request, wait_max)?;
        let outcome = self.authorizer.authorize(&question(request, &asked)).await;
        Ok(self.answer(request, outcome.map_err(error::authorize)?))
    }

    fn answer(&self, request: &pb::AuthorizeRequest, outcome: Outcome) -> pb::AuthorizeResponse {
        tracing::debug!(
            decision.request_id = %request.request_id,
            key.id = outcome.key.as_ref().map(|key| key.key_id().get()),
            decision = outcome.denied.map_or("ALLOW", |reason| reason.as_str()),
            "decided"
        );
        let id = self.authorizer.authorization_id(&outcome, &request.request_id);
        convert::response(outcome, id)
    }
}

fn question<'r>(request: &'r pb::AuthorizeRequest, asked: &convert::Asked) -> Question<'r> {
    Question {
        token: &request.token,
        access: convert::access(request, asked),
        tokens: request.estimated_tokens.unwrap_or_default(),
        dry_run: request.dry_run,
        freshness: asked.freshness,
    }
}

fn wait_max<T>(request: &Request<T>) -> Duration {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    wait_within(convert::read_timeout(header).unwrap_or(REVISION_WAIT_MAX))
}

/// How long a revision is waited for, where an answer is wanted within this time.
fn wait_within(time: Duration) -> Duration {
    time.saturating_sub(ANSWER_TIME).min(REVISION_WAIT_MAX)
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
        self.decide_all(requests, clock::monotonic_now() + wait_max).await.map(Response::new)
    }

    type AuthorizeStreamStream = Deciding;

    async fn authorize_stream(
        &self,
        mut request: Request<Streaming<pb::AuthorizeStreamRequest>>,
    ) -> Result<Response<Self::AuthorizeStreamStream>, Status> {
        let session = Session::take(&mut request)?;
        let deadline = streams::deadline(&request);
        let closing = streams::closing(&request)?;
        Ok(Response::new(Deciding::new(self.clone(), session, deadline, closing, request.into_inner())))
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

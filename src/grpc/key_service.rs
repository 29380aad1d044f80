//! KeyService: each method finds out who calls and hands the message to the module of its kind.
//!
//! - `keys`: creating, reading, changing, rotating
//! - `states`: revoking, deleting and back; expiry
//! - `listing`: lists of keys
//! - `owners`: owners
//! - `watch`: changes as they come
//!
//! Those decode, check, call the use case and encode; nothing is decided here.

mod keys;
mod listing;
mod owners;
mod states;
mod watch;

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::authorize::read_timeout;
use super::error::method_not_served;
use super::pb;
use super::pb::key_service_server::KeyService;
use super::session::Session;
use super::streams::{self, Streams};
use crate::admin::{Admin, Changes};
use crate::authorize::Caller;
use crate::clock::{self, Clock};
use crate::metrics::CallMetrics;
use crate::storage::changes::Actor;

/// The service.
#[derive(Clone, Debug)]
pub struct KeyApi {
    admin: Admin,
    clock: Clock,
    metrics: Arc<CallMetrics>,
    changes: Arc<Changes>,
    streams: Streams,
}

impl KeyApi {
    /// The service on the use cases of administration.
    #[must_use]
    pub fn new(admin: Admin, clock: Clock, metrics: Arc<CallMetrics>, streams: Streams) -> Self {
        Self { changes: Changes::new(admin.clone()), admin, clock, metrics, streams }
    }
}

/// Who calls, from where, and under which id (metadata `x-request-id`).
pub(super) fn actor<T>(request: &Request<T>) -> Actor {
    let header = |name| request.metadata().get(name).and_then(|value| value.to_str().ok());
    let mut actor = actor_of(request.extensions().get::<Caller>(), header("x-request-id"));
    let deadline = read_timeout(header("grpc-timeout"));
    actor.answer_by = deadline.and_then(|deadline| clock::monotonic_now().checked_add(deadline));
    actor
}

/// The same of a request that is not decoded yet.
pub(super) fn actor_of(caller: Option<&Caller>, request_id: Option<&str>) -> Actor {
    let id = request_id.filter(|id| id.len() <= 128 && !id.chars().any(char::is_control));
    Actor {
        name: caller
            .and_then(|caller| caller.key_id)
            .map_or_else(|| "anonymous".to_owned(), |key| format!("key/{key}")),
        peer_address: caller.and_then(|caller| caller.peer).map_or_else(String::new, |peer| peer.to_string()),
        request_id: id.unwrap_or_default().to_owned(),
        answer_by: None,
    }
}

#[tonic::async_trait]
impl KeyService for KeyApi {
    async fn create_key(
        &self,
        request: Request<pb::CreateKeyRequest>,
    ) -> Result<Response<pb::CreateKeyResponse>, Status> {
        self.create(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn get_key(
        &self,
        request: Request<pb::GetKeyRequest>,
    ) -> Result<Response<pb::GetKeyResponse>, Status> {
        let is_admin = request.extensions().get::<Caller>().is_some_and(|caller| caller.is_admin);
        self.get(actor(&request), is_admin, request.into_inner()).await.map(Response::new)
    }

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<pb::ListKeysResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new)
    }

    async fn update_key(
        &self,
        request: Request<pb::UpdateKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.update(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn rotate_key(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        self.rotate(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn revoke_key(
        &self,
        request: Request<pb::RevokeKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.revoke(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn reactivate_key(
        &self,
        request: Request<pb::ReactivateKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.reactivate(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn delete_key(
        &self,
        request: Request<pb::DeleteKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.delete(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn undelete_key(
        &self,
        request: Request<pb::UndeleteKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.undelete(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn set_expiration(
        &self,
        request: Request<pb::SetExpirationRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.set_expiration(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn extend_expiration(
        &self,
        request: Request<pb::ExtendExpirationRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.extend_expiration(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn clear_expiration(
        &self,
        request: Request<pb::ClearExpirationRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.clear_expiration(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn add_grants(
        &self,
        request: Request<pb::AddGrantsRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.add_grants(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn remove_grants(
        &self,
        request: Request<pb::RemoveGrantsRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        self.remove_grants(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn lookup_key(
        &self,
        request: Request<pb::LookupKeyRequest>,
    ) -> Result<Response<pb::LookupKeyResponse>, Status> {
        self.lookup(request.into_inner()).await.map(Response::new)
    }

    async fn get_owner(
        &self,
        request: Request<pb::GetOwnerRequest>,
    ) -> Result<Response<pb::GetOwnerResponse>, Status> {
        self.get_owner(request.into_inner()).await.map(Response::new)
    }

    async fn list_owners(
        &self,
        request: Request<pb::ListOwnersRequest>,
    ) -> Result<Response<pb::ListOwnersResponse>, Status> {
        self.list_owners(request.into_inner()).await.map(Response::new)
    }

    async fn disable_owner(
        &self,
        request: Request<pb::DisableOwnerRequest>,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        self.disable_owner(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn enable_owner(
        &self,
        request: Request<pb::EnableOwnerRequest>,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        self.enable_owner(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn set_owner_limits(
        &self,
        request: Request<pb::SetOwnerLimitsRequest>,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        self.set_owner_limits(actor(&request), request.into_inner()).await.map(Response::new)
    }

    async fn get_usage(
        &self,
        _request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>, Status> {
        Err(method_not_served("GetUsage"))
    }

    async fn query_usage(
        &self,
        _request: Request<pb::QueryUsageRequest>,
    ) -> Result<Response<pb::QueryUsageResponse>, Status> {
        Err(method_not_served("QueryUsage"))
    }

    async fn list_usage_records(
        &self,
        _request: Request<pb::ListUsageRecordsRequest>,
    ) -> Result<Response<pb::ListUsageRecordsResponse>, Status> {
        Err(method_not_served("ListUsageRecords"))
    }

    type WatchKeysStream = ReceiverStream<Result<pb::WatchKeysResponse, Status>>;

    async fn watch_keys(
        &self,
        mut request: Request<pb::WatchKeysRequest>,
    ) -> Result<Response<Self::WatchKeysStream>, Status> {
        let session = Session::take(&mut request)?;
        let deadline = streams::deadline(&request);
        let closing = streams::closing(&request)?;
        self.watch(session, deadline, closing, request.into_inner()).await.map(Response::new)
    }
}

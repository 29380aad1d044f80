//! Owners.

use tonic::Status;

use super::KeyApi;
use crate::grpc::convert::key_request::{read_etag, read_user_id};
use crate::grpc::convert::keys::owner_mutation;
use crate::grpc::error::{self, method_not_served};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::storage::changes::Actor;

impl KeyApi {
    async fn set_owner_disabled(
        &self,
        actor: Actor,
        user_id: i64,
        etag: String,
        disabled: bool,
    ) -> Result<pb::OwnerMutationResponse, Status> {
        let mut violations = Violations::default();
        let user_id = read_user_id(&mut violations, "user_id", user_id);
        let etag = read_etag(&mut violations, etag);
        let user_id = violations.finish(user_id)?;
        let changed = self.admin.set_owner_disabled(actor, user_id, disabled, etag).await;
        Ok(owner_mutation(&changed.map_err(error::admin)?))
    }

    pub(super) async fn get_owner(
        &self,
        _request: pb::GetOwnerRequest,
    ) -> Result<pb::GetOwnerResponse, Status> {
        Err(method_not_served("GetOwner"))
    }

    pub(super) async fn list_owners(
        &self,
        _request: pb::ListOwnersRequest,
    ) -> Result<pb::ListOwnersResponse, Status> {
        Err(method_not_served("ListOwners"))
    }

    pub(super) async fn disable_owner(
        &self,
        actor: Actor,
        request: pb::DisableOwnerRequest,
    ) -> Result<pb::OwnerMutationResponse, Status> {
        let pb::DisableOwnerRequest { user_id, etag } = request;
        self.set_owner_disabled(actor, user_id, etag, true).await
    }

    pub(super) async fn enable_owner(
        &self,
        actor: Actor,
        request: pb::EnableOwnerRequest,
    ) -> Result<pb::OwnerMutationResponse, Status> {
        let pb::EnableOwnerRequest { user_id, etag } = request;
        self.set_owner_disabled(actor, user_id, etag, false).await
    }

    pub(super) async fn set_owner_limits(
        &self,
        _actor: Actor,
        _request: pb::SetOwnerLimitsRequest,
    ) -> Result<pb::OwnerMutationResponse, Status> {
        Err(method_not_served("SetOwnerLimits"))
    }
}

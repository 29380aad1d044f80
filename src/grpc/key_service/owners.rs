//! Owners.

use tonic::Status;

use super::KeyApi;
use crate::admin::OwnerUnderLimits;
use crate::grpc::convert::key_request::{read_etag, read_user_id};
use crate::grpc::convert::keys::owner_mutation;
use crate::grpc::convert::limits::{read_rate_limits, status};
use crate::grpc::convert::owners::{owner, read_list_owners};
use crate::grpc::error;
use crate::grpc::page_token;
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::UserId;
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
        request: pb::GetOwnerRequest,
    ) -> Result<pb::GetOwnerResponse, Status> {
        let pb::GetOwnerRequest { user_id } = request;
        let mut violations = Violations::default();
        let user_id = read_user_id(&mut violations, "user_id", user_id);
        let user_id = violations.finish(user_id)?;
        let OwnerUnderLimits { view, limits } = self.admin.get_owner(user_id).await.map_err(error::admin)?;
        Ok(pb::GetOwnerResponse {
            owner: Some(owner(&view)),
            rate_limits: limits.iter().map(status).collect(),
        })
    }

    pub(super) async fn list_owners(
        &self,
        request: pb::ListOwnersRequest,
    ) -> Result<pb::ListOwnersResponse, Status> {
        let mut violations = Violations::default();
        let (list, request) = read_list_owners(&mut violations, request);
        let request = violations.finish(request)?;
        let page = self.admin.list_owners(request).await.map_err(error::admin)?;
        let token = page.next_after.map(|after| page_token::write(list, &after.get().to_be_bytes()));
        Ok(pb::ListOwnersResponse {
            owners: page.owners.iter().map(owner).collect(),
            next_page_token: token.unwrap_or_default(),
        })
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
        actor: Actor,
        request: pb::SetOwnerLimitsRequest,
    ) -> Result<pb::OwnerMutationResponse, Status> {
        let pb::SetOwnerLimitsRequest { user_id, rate_limits, etag } = request;
        let mut violations = Violations::default();
        // The operator's keys are those that the service is run with.
        let user_id = UserId::new(user_id).filter(|user_id| *user_id != UserId::OPERATOR);
        let user_id = violations.require("user_id", user_id, "must be at least 1");
        let limits = read_rate_limits(&mut violations, "rate_limits", rate_limits).unwrap_or_default();
        let etag = read_etag(&mut violations, etag);
        let user_id = violations.finish(user_id)?;
        let changed = self.admin.set_owner_limits(actor, user_id, limits, etag).await;
        Ok(owner_mutation(&changed.map_err(error::admin)?))
    }
}

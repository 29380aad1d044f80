//! Where a key stands: revoking, deleting and back; expiry.

use tonic::Status;

use super::KeyApi;
use crate::grpc::convert::key_request::{read_etag, read_key_id};
use crate::grpc::convert::keys::key_mutation;
use crate::grpc::error::{self, method_not_served};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::Description;
use crate::storage::changes::Actor;

impl KeyApi {
    pub(super) async fn revoke(
        &self,
        actor: Actor,
        request: pb::RevokeKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::RevokeKeyRequest { key_id, reason, etag } = request;
        let mut violations = Violations::default();
        let key_id = read_key_id(&mut violations, key_id);
        let reason = violations.take("reason", Description::parse(reason));
        let etag = read_etag(&mut violations, etag);
        let (key_id, reason) = violations.finish(key_id.zip(reason))?;
        let changed = self.admin.revoke_key(actor, key_id, reason, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn reactivate(
        &self,
        _actor: Actor,
        _request: pb::ReactivateKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        Err(method_not_served("ReactivateKey"))
    }

    pub(super) async fn delete(
        &self,
        _actor: Actor,
        _request: pb::DeleteKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        Err(method_not_served("DeleteKey"))
    }

    pub(super) async fn undelete(
        &self,
        _actor: Actor,
        _request: pb::UndeleteKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        Err(method_not_served("UndeleteKey"))
    }

    pub(super) async fn set_expiration(
        &self,
        _actor: Actor,
        _request: pb::SetExpirationRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        Err(method_not_served("SetExpiration"))
    }

    pub(super) async fn extend_expiration(
        &self,
        _actor: Actor,
        _request: pb::ExtendExpirationRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        Err(method_not_served("ExtendExpiration"))
    }

    pub(super) async fn clear_expiration(
        &self,
        _actor: Actor,
        _request: pb::ClearExpirationRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        Err(method_not_served("ClearExpiration"))
    }
}

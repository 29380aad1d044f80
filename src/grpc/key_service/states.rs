//! Where a key stands: revoking, deleting and back; expiry.

use tonic::Status;

use super::KeyApi;
use crate::admin::Etag;
use crate::grpc::convert::key_request::{read_days, read_etag, read_expiration, read_key_id};
use crate::grpc::convert::keys::key_mutation;
use crate::grpc::error;
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{Description, KeyId};
use crate::storage::changes::Actor;

/// A request that says no more than which key, and how it was seen.
fn read_key(key_id: i64, etag: String) -> Result<(KeyId, Option<Etag>), Status> {
    let mut violations = Violations::default();
    let key_id = read_key_id(&mut violations, key_id);
    let etag = read_etag(&mut violations, etag);
    Ok((violations.finish(key_id)?, etag))
}

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
        actor: Actor,
        request: pb::ReactivateKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::ReactivateKeyRequest { key_id, etag } = request;
        let (key_id, etag) = read_key(key_id, etag)?;
        let changed = self.admin.reactivate_key(actor, key_id, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn delete(
        &self,
        actor: Actor,
        request: pb::DeleteKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::DeleteKeyRequest { key_id, etag } = request;
        let (key_id, etag) = read_key(key_id, etag)?;
        let changed = self.admin.delete_key(actor, key_id, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn undelete(
        &self,
        actor: Actor,
        request: pb::UndeleteKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::UndeleteKeyRequest { key_id, etag } = request;
        let (key_id, etag) = read_key(key_id, etag)?;
        let changed = self.admin.undelete_key(actor, key_id, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn set_expiration(
        &self,
        actor: Actor,
        request: pb::SetExpirationRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::SetExpirationRequest { key_id, expiration, etag } = request;
        let mut violations = Violations::default();
        let key_id = read_key_id(&mut violations, key_id);
        let expiration = read_expiration(&mut violations, expiration, self.clock.now());
        let etag = read_etag(&mut violations, etag);
        let (key_id, expiration) = violations.finish(key_id.zip(expiration))?;
        let changed = self.admin.set_expiration(actor, key_id, expiration, etag).await;
        Ok(key_mutation(&changed.map_err(error::admin)?))
    }

    pub(super) async fn extend_expiration(
        &self,
        actor: Actor,
        request: pb::ExtendExpirationRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::ExtendExpirationRequest { key_id, days, etag } = request;
        let mut violations = Violations::default();
        let key_id = read_key_id(&mut violations, key_id);
        let by = read_days(&mut violations, days);
        let etag = read_etag(&mut violations, etag);
        let (key_id, by) = violations.finish(key_id.zip(by))?;
        let changed = self.admin.extend_expiration(actor, key_id, by, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn clear_expiration(
        &self,
        actor: Actor,
        request: pb::ClearExpirationRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::ClearExpirationRequest { key_id, etag } = request;
        let (key_id, etag) = read_key(key_id, etag)?;
        let changed = self.admin.clear_expiration(actor, key_id, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }
}

//! Creating, reading, changing and rotating keys.

use std::fmt::Display;

use tonic::Status;

use super::KeyApi;
use crate::admin::{Etag, Grants, IssuedToken, KeyUnderLimits};
use crate::grpc::convert::grants::read_grants;
use crate::grpc::convert::key_request::{read_create, read_etag, read_key_id, read_rotate};
use crate::grpc::convert::keys::{self as convert, key_mutation};
use crate::grpc::convert::limits::status;
use crate::grpc::convert::scopes::grantable;
use crate::grpc::convert::update_key::read_update;
use crate::grpc::error::{self, ErrorReason};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{KeyId, Scope};
use crate::storage::changes::Actor;

/// A change of a key's sets, read.
fn read_grant_change<E: Display>(
    key_id: i64,
    grants: Option<pb::Grants>,
    etag: String,
    read_scope: impl Fn(&str) -> Result<Scope, E>,
) -> Result<(KeyId, Grants, Option<Etag>), Status> {
    let mut violations = Violations::default();
    let key_id = read_key_id(&mut violations, key_id);
    let grants = read_grants(&mut violations, "grants", grants, read_scope);
    let etag = read_etag(&mut violations, etag);
    let (key_id, grants) = violations.finish(key_id.zip(grants))?;
    Ok((key_id, grants, etag))
}

impl KeyApi {
    pub(super) async fn create(
        &self,
        actor: Actor,
        request: pb::CreateKeyRequest,
    ) -> Result<pb::CreateKeyResponse, Status> {
        let create = read_create(request, self.clock.now())?;
        let validate_only = create.validate_only;
        let created = self.admin.create_key(actor, create).await.map_err(error::admin)?;
        let mut key = convert::key(&created.changed.resource);
        if validate_only {
            // There is no such key.
            (key.key_id, key.key_prefix, key.etag) = (0, String::new(), String::new());
            for budget in &mut key.budgets {
                (budget.budget_id, budget.subject, budget.etag) = (0, None, String::new());
            }
            return Ok(pb::CreateKeyResponse { key: Some(key), ..Default::default() });
        }
        Ok(pb::CreateKeyResponse {
            key: Some(key),
            token: created.token.map(|token| token.expose().to_owned()).unwrap_or_default(),
            revision: created.changed.revision.get(),
            propagation: Some(convert::propagation(created.changed.propagation)),
        })
    }

    pub(super) async fn get(
        &self,
        actor: Actor,
        is_admin: bool,
        request: pb::GetKeyRequest,
    ) -> Result<pb::GetKeyResponse, Status> {
        let pb::GetKeyRequest { key_id, view } = request;
        let full = match pb::key::View::try_from(view) {
            Ok(pb::key::View::Unspecified | pb::key::View::Basic) => Some(false),
            Ok(pb::key::View::Full) => Some(true),
            Err(_) => None,
        };
        // Decided before the request is validated.
        if full == Some(true) && !is_admin {
            return Err(ErrorReason::CallerScopeMissing.status("view FULL needs the scope keystile.admin"));
        }
        let mut violations = Violations::default();
        let full = violations.require("view", full, "must be BASIC or FULL");
        let key_id = read_key_id(&mut violations, key_id);
        let (full, key_id) = violations.finish(full.zip(key_id))?;
        let found = if full {
            self.admin.get_key_with_hash(actor, key_id).await
        } else {
            self.admin.get_key(key_id).await
        };
        let KeyUnderLimits { view, limits } = found.map_err(error::admin)?;
        let rate_limits = limits.iter().map(status).collect();
        Ok(pb::GetKeyResponse { key: Some(convert::key(&view)), rate_limits })
    }

    pub(super) async fn update(
        &self,
        actor: Actor,
        request: pb::UpdateKeyRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let update = read_update(request)?;
        let changed = self.admin.update_key(actor, update).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn rotate(
        &self,
        actor: Actor,
        request: pb::RotateKeyRequest,
    ) -> Result<pb::RotateKeyResponse, Status> {
        let rotate = read_rotate(request)?;
        let IssuedToken { changed, token } =
            self.admin.rotate_key(actor, rotate).await.map_err(error::admin)?;
        Ok(pb::RotateKeyResponse {
            key: Some(convert::key(&changed.resource)),
            token: token.map(|token| token.expose().to_owned()).unwrap_or_default(),
            revision: changed.revision.get(),
            propagation: Some(convert::propagation(changed.propagation)),
        })
    }

    pub(super) async fn lookup(
        &self,
        request: pb::LookupKeyRequest,
    ) -> Result<pb::LookupKeyResponse, Status> {
        let pb::LookupKeyRequest { token } = request;
        let found = self.admin.lookup_key(&token).await.map_err(error::admin)?;
        Ok(pb::LookupKeyResponse { key: Some(convert::key(&found)) })
    }

    pub(super) async fn add_grants(
        &self,
        actor: Actor,
        request: pb::AddGrantsRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::AddGrantsRequest { key_id, grants, etag } = request;
        let (key_id, grants, etag) = read_grant_change(key_id, grants, etag, grantable)?;
        let changed = self.admin.add_grants(actor, key_id, grants, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }

    pub(super) async fn remove_grants(
        &self,
        actor: Actor,
        request: pb::RemoveGrantsRequest,
    ) -> Result<pb::KeyMutationResponse, Status> {
        let pb::RemoveGrantsRequest { key_id, grants, etag } = request;
        let (key_id, grants, etag) = read_grant_change(key_id, grants, etag, Scope::parse)?;
        let changed = self.admin.remove_grants(actor, key_id, grants, etag).await.map_err(error::admin)?;
        Ok(key_mutation(&changed))
    }
}

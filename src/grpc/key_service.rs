//! KeyService: decode, check, do, encode.

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::convert::grants::read_grants;
use super::convert::key_request::{read_create, read_etag, read_filter, read_key_id, read_user_id};
use super::convert::keys::{self as convert, key_mutation, owner_mutation};
use super::error::{self, ErrorReason, field_not_served, method_not_served};
use super::page_token::{self, ListName};
use super::pb;
use super::pb::key_service_server::KeyService;
use super::violations::Violations;
use crate::admin::{Admin, Etag, Grants, ListKeys};
use crate::authorize::Caller;
use crate::clock::Clock;
use crate::policy::{Description, KeyId};
use crate::storage::changes::Actor;

const PAGE_SIZE_DEFAULT: u16 = 50;
const PAGE_SIZE_MAX: u16 = 1_000;
/// A page ends early rather than grow past this, but for a single key.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// The service.
#[derive(Clone, Debug)]
pub struct KeyApi {
    admin: Admin,
    clock: Clock,
}

impl KeyApi {
    /// The service on the use cases of administration.
    #[must_use]
    pub fn new(admin: Admin, clock: Clock) -> Self {
        Self { admin, clock }
    }

    async fn set_owner_disabled(
        &self,
        actor: Actor,
        user_id: i64,
        etag: String,
        disabled: bool,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        let mut violations = Violations::default();
        let user_id = read_user_id(&mut violations, "user_id", user_id);
        let etag = read_etag(&mut violations, etag);
        let user_id = violations.finish(user_id)?;
        let changed = self.admin.set_owner_disabled(actor, user_id, disabled, etag).await;
        Ok(Response::new(owner_mutation(&changed.map_err(error::admin)?)))
    }
}

/// Who calls, from where, and under which id (metadata `x-request-id`).
fn actor<T>(request: &Request<T>) -> Actor {
    let caller = request.extensions().get::<Caller>();
    let id = request.metadata().get("x-request-id").and_then(|value| value.to_str().ok());
    let id = id.filter(|id| id.len() <= 128 && !id.chars().any(char::is_control));
    Actor {
        name: caller
            .and_then(|caller| caller.key_id)
            .map_or_else(|| "anonymous".to_owned(), |key| format!("key/{key}")),
        peer_address: caller.and_then(|caller| caller.peer).map_or_else(String::new, |peer| peer.to_string()),
        request_id: id.unwrap_or_default().to_owned(),
    }
}

/// A change of a key's sets, read.
fn read_grant_change(
    key_id: i64,
    grants: Option<pb::Grants>,
    etag: String,
) -> Result<(KeyId, Grants, Option<Etag>), Status> {
    let mut violations = Violations::default();
    let key_id = read_key_id(&mut violations, key_id);
    let grants = read_grants(&mut violations, "grants", grants);
    let etag = read_etag(&mut violations, etag);
    let (key_id, grants) = violations.finish(key_id.zip(grants))?;
    Ok((key_id, grants, etag))
}

fn read_list(request: pb::ListKeysRequest) -> Result<(ListKeys, ListName), Status> {
    let pb::ListKeysRequest { filter, order_by, page_size, page_token } = request;
    let descending = match order_by.trim() {
        "" | "key_id" | "key_id asc" => Some(false),
        "key_id desc" => Some(true),
        other if is_known_order(other) => return Err(field_not_served(&format!("order_by {other}"))),
        _ => None,
    };
    let filter = filter.unwrap_or_default();
    let order = if descending == Some(true) { "key_id desc" } else { "key_id" };
    let list = ListName::of(&filter, order);
    let mut violations = Violations::default();
    let descending = violations.require(
        "order_by",
        descending,
        "must be a field to order by, and ` desc` for falling order",
    );
    let filter = read_filter(&mut violations, filter)?;
    let after = if page_token.is_empty() {
        None
    } else {
        let after = page_token::read(list, &page_token);
        violations.require(
            "page_token",
            after,
            "must be of the answer before, with the same filter and order",
        )
    };
    let limit = match page_size {
        0 => Some(PAGE_SIZE_DEFAULT),
        size if size < 0 => None,
        size => Some(u16::try_from(size).unwrap_or(PAGE_SIZE_MAX).min(PAGE_SIZE_MAX)),
    };
    let limit = violations.require("page_size", limit, "must be at least 0");
    let (limit, descending) = violations.finish(limit.zip(descending))?;
    Ok((ListKeys { filter, after, descending, limit }, list))
}

/// How many keys fit into a page, at least one: clients take no message above 4 MiB by default.
fn fitting(keys: &[pb::Key]) -> usize {
    let mut bytes = 0;
    let fits = keys.iter().take_while(|key| {
        bytes += key.encoded_len();
        bytes <= PAGE_BYTES_MAX
    });
    fits.count().max(1)
}

fn is_known_order(order: &str) -> bool {
    let field = order.strip_suffix(" desc").or_else(|| order.strip_suffix(" asc")).unwrap_or(order);
    ["create_time", "update_time", "display_name", "expire_time", "last_used_time"].contains(&field)
}

#[tonic::async_trait]
impl KeyService for KeyApi {
    async fn create_key(
        &self,
        request: Request<pb::CreateKeyRequest>,
    ) -> Result<Response<pb::CreateKeyResponse>, Status> {
        let actor = actor(&request);
        let create = read_create(request.into_inner(), self.clock.now())?;
        let created = self.admin.create_key(actor, create).await.map_err(error::admin)?;
        let mut key = convert::key(&created.changed.resource);
        let Some(token) = created.token else {
            // Only validated: there is no such key.
            (key.key_id, key.key_prefix, key.etag) = (0, String::new(), String::new());
            for budget in &mut key.budgets {
                (budget.budget_id, budget.subject, budget.etag) = (0, None, String::new());
            }
            return Ok(Response::new(pb::CreateKeyResponse { key: Some(key), ..Default::default() }));
        };
        Ok(Response::new(pb::CreateKeyResponse {
            key: Some(key),
            token: token.expose().to_owned(),
            revision: created.changed.revision.get(),
            propagation: Some(convert::propagation()),
        }))
    }

    async fn get_key(
        &self,
        request: Request<pb::GetKeyRequest>,
    ) -> Result<Response<pb::GetKeyResponse>, Status> {
        let actor = actor(&request);
        let is_admin = request.extensions().get::<Caller>().is_some_and(|caller| caller.is_admin);
        let pb::GetKeyRequest { key_id, view } = request.into_inner();
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
        let view = if full {
            self.admin.get_key_with_hash(actor, key_id).await
        } else {
            self.admin.get_key(key_id).await
        };
        Ok(Response::new(pb::GetKeyResponse { key: Some(convert::key(&view.map_err(error::admin)?)) }))
    }

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<pb::ListKeysResponse>, Status> {
        let (request, list) = read_list(request.into_inner())?;
        let page = self.admin.list_keys(request).await.map_err(error::admin)?;
        let mut keys: Vec<pb::Key> = page.keys.iter().map(convert::key).collect();
        let fitting = fitting(&keys);
        let mut next_after = page.next_after;
        if fitting < keys.len() {
            keys.truncate(fitting);
            next_after = keys.last().and_then(|key| KeyId::new(key.key_id));
        }
        Ok(Response::new(pb::ListKeysResponse {
            keys,
            next_page_token: next_after.map(|after| page_token::write(list, after)).unwrap_or_default(),
            revision: page.revision.get(),
        }))
    }

    async fn revoke_key(
        &self,
        request: Request<pb::RevokeKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::RevokeKeyRequest { key_id, reason, etag } = request.into_inner();
        let mut violations = Violations::default();
        let key_id = read_key_id(&mut violations, key_id);
        let reason = violations.take("reason", Description::parse(reason));
        let etag = read_etag(&mut violations, etag);
        let (key_id, reason) = violations.finish(key_id.zip(reason))?;
        let changed = self.admin.revoke_key(actor, key_id, reason, etag).await.map_err(error::admin)?;
        Ok(Response::new(key_mutation(&changed)))
    }

    async fn add_grants(
        &self,
        request: Request<pb::AddGrantsRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::AddGrantsRequest { key_id, grants, etag } = request.into_inner();
        let (key_id, grants, etag) = read_grant_change(key_id, grants, etag)?;
        let changed = self.admin.add_grants(actor, key_id, grants, etag).await.map_err(error::admin)?;
        Ok(Response::new(key_mutation(&changed)))
    }

    async fn remove_grants(
        &self,
        request: Request<pb::RemoveGrantsRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::RemoveGrantsRequest { key_id, grants, etag } = request.into_inner();
        let (key_id, grants, etag) = read_grant_change(key_id, grants, etag)?;
        let changed = self.admin.remove_grants(actor, key_id, grants, etag).await.map_err(error::admin)?;
        Ok(Response::new(key_mutation(&changed)))
    }

    async fn disable_owner(
        &self,
        request: Request<pb::DisableOwnerRequest>,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::DisableOwnerRequest { user_id, etag } = request.into_inner();
        self.set_owner_disabled(actor, user_id, etag, true).await
    }

    async fn enable_owner(
        &self,
        request: Request<pb::EnableOwnerRequest>,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::EnableOwnerRequest { user_id, etag } = request.into_inner();
        self.set_owner_disabled(actor, user_id, etag, false).await
    }

    async fn update_key(
        &self,
        _request: Request<pb::UpdateKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("UpdateKey"))
    }

    async fn rotate_key(
        &self,
        _request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        Err(method_not_served("RotateKey"))
    }

    async fn reactivate_key(
        &self,
        _request: Request<pb::ReactivateKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("ReactivateKey"))
    }

    async fn delete_key(
        &self,
        _request: Request<pb::DeleteKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("DeleteKey"))
    }

    async fn undelete_key(
        &self,
        _request: Request<pb::UndeleteKeyRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("UndeleteKey"))
    }

    async fn set_expiration(
        &self,
        _request: Request<pb::SetExpirationRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("SetExpiration"))
    }

    async fn extend_expiration(
        &self,
        _request: Request<pb::ExtendExpirationRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("ExtendExpiration"))
    }

    async fn clear_expiration(
        &self,
        _request: Request<pb::ClearExpirationRequest>,
    ) -> Result<Response<pb::KeyMutationResponse>, Status> {
        Err(method_not_served("ClearExpiration"))
    }

    async fn lookup_key(
        &self,
        _request: Request<pb::LookupKeyRequest>,
    ) -> Result<Response<pb::LookupKeyResponse>, Status> {
        Err(method_not_served("LookupKey"))
    }

    async fn get_owner(
        &self,
        _request: Request<pb::GetOwnerRequest>,
    ) -> Result<Response<pb::GetOwnerResponse>, Status> {
        Err(method_not_served("GetOwner"))
    }

    async fn list_owners(
        &self,
        _request: Request<pb::ListOwnersRequest>,
    ) -> Result<Response<pb::ListOwnersResponse>, Status> {
        Err(method_not_served("ListOwners"))
    }

    async fn set_owner_limits(
        &self,
        _request: Request<pb::SetOwnerLimitsRequest>,
    ) -> Result<Response<pb::OwnerMutationResponse>, Status> {
        Err(method_not_served("SetOwnerLimits"))
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

    type WatchKeysStream = tokio_stream::Empty<Result<pb::WatchKeysResponse, Status>>;

    async fn watch_keys(
        &self,
        _request: Request<pb::WatchKeysRequest>,
    ) -> Result<Response<Self::WatchKeysStream>, Status> {
        Err(method_not_served("WatchKeys"))
    }
}

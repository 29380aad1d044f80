//! Lists of keys by pages.

use prost::Message as _;
use tonic::Status;

use super::KeyApi;
use crate::admin::ListKeys;
use crate::grpc::convert::key_request::read_filter;
use crate::grpc::convert::keys as convert;
use crate::grpc::error::{self, field_not_served};
use crate::grpc::page_token::{self, ListName};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::KeyId;

const PAGE_SIZE_DEFAULT: u16 = 50;
const PAGE_SIZE_MAX: u16 = 1_000;
/// A page ends early rather than grow past this, but for a single key.
const PAGE_BYTES_MAX: usize = 3 << 20;

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

impl KeyApi {
    pub(super) async fn list(&self, request: pb::ListKeysRequest) -> Result<pb::ListKeysResponse, Status> {
        let (request, list) = read_list(request)?;
        let page = self.admin.list_keys(request).await.map_err(error::admin)?;
        let mut keys: Vec<pb::Key> = page.keys.iter().map(convert::key).collect();
        let fitting = fitting(&keys);
        let mut next_after = page.next_after;
        if fitting < keys.len() {
            keys.truncate(fitting);
            next_after = keys.last().and_then(|key| KeyId::new(key.key_id));
        }
        Ok(pb::ListKeysResponse {
            keys,
            next_page_token: next_after.map(|after| page_token::write(list, after)).unwrap_or_default(),
            revision: page.revision.get(),
        })
    }
}

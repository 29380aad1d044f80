//! Owners: messages, and requests for lists of them.

use super::limits::rate_limits;
use super::time::timestamp;
use crate::admin::{Etag, ListOwners, OwnerView};
use crate::grpc::page::read_page_size;
use crate::grpc::page_token::{self, ListName, number};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{Revision, UserId};

/// An owner with everything that is shown of it.
#[must_use]
pub fn owner(view: &OwnerView) -> pb::Owner {
    let OwnerView { owner, key_count } = view;
    let was_changed = owner.revision != Revision::ZERO;
    pb::Owner {
        user_id: owner.user_id.get(),
        disabled: owner.disable_time.is_some(),
        disable_time: owner.disable_time.map(timestamp),
        rate_limits: Some(rate_limits(owner.rate_limits)),
        key_count: *key_count,
        etag: Etag::of(owner.revision).as_str().to_owned(),
        create_time: was_changed.then(|| timestamp(owner.create_time)),
        update_time: was_changed.then(|| timestamp(owner.update_time)),
    }
}

/// A request for a page, with the name of its list; `None` with faults.
pub fn read_list_owners(
    violations: &mut Violations,
    request: pb::ListOwnersRequest,
) -> (ListName, Option<ListOwners>) {
    let pb::ListOwnersRequest { disabled, page_size, page_token } = request;
    let list = ListName::of(&pb::ListOwnersRequest { disabled, ..Default::default() }, "owners");
    let place = |bytes: &[u8]| UserId::new(number(bytes)?);
    let after = page_token::read_place(violations, list, &page_token, place);
    let limit = read_page_size(violations, page_size);
    (list, limit.map(|limit| ListOwners { disabled, after, limit }))
}

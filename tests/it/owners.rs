//! GetOwner, ListOwners, SetOwnerLimits: owners with keys, with a row, with both.

use keystile::grpc::pb;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{App, status_reason, violated_fields};

fn limits(per_minute: i64, per_day: i64) -> pb::RateLimits {
    pb::RateLimits {
        requests: Some(pb::RateLimitWindows { per_minute: Some(per_minute), ..Default::default() }),
        tokens: Some(pb::RateLimitWindows { per_day: Some(per_day), ..Default::default() }),
    }
}

async fn get(app: &App, user_id: i64) -> pb::Owner {
    let request = pb::GetOwnerRequest { user_id };
    app.keys().get_owner(request).await.unwrap().into_inner().owner.unwrap()
}

async fn create(app: &App, user_id: i64) -> i64 {
    let key = pb::Key { user_id, display_name: "k".into(), ..Default::default() };
    app.create(key).await.0.key_id
}

async fn disable(app: &App, user_id: i64) {
    app.keys().disable_owner(pb::DisableOwnerRequest { user_id, ..Default::default() }).await.unwrap();
}

async fn page(app: &App, request: &pb::ListOwnersRequest) -> (Vec<i64>, String) {
    let answer = app.keys().list_owners(request.clone()).await.unwrap().into_inner();
    (answer.owners.iter().map(|owner| owner.user_id).collect(), answer.next_page_token)
}

/// All pages.
async fn listed(app: &App, disabled: Option<bool>, page_size: i32) -> Vec<i64> {
    let mut request = pb::ListOwnersRequest { disabled, page_size, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let (ids, next) = page(app, &request).await;
        all.extend(ids);
        if next.is_empty() {
            return all;
        }
        request.page_token = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_found_by_its_keys_or_by_a_change() {
    let app = App::start().await;
    let not_found = app.keys().get_owner(pb::GetOwnerRequest { user_id: 7 }).await.unwrap_err();
    assert_eq!((not_found.code(), status_reason(&not_found)), (Code::NotFound, "OWNER_NOT_FOUND".into()));

    let key_id = create(&app, 7).await;
    create(&app, 7).await;
    let owner = get(&app, 7).await;
    assert_eq!((owner.user_id, owner.key_count, owner.disabled), (7, 2, false));
    assert_eq!((owner.create_time, owner.update_time), (None, None), "it never was changed");
    assert_eq!(get(&app, 0).await.key_count, 1, "the first administrator's");

    let delete = format!("UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE key_id = {key_id}");
    app.database.sql(&delete).await;
    assert_eq!(get(&app, 7).await.key_count, 1, "deleted keys are not counted");
    app.database.sql("UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE user_id = 7").await;
    assert_eq!(get(&app, 7).await.key_count, 0, "but found until they are purged");
    app.database.sql("DELETE FROM api_keys WHERE user_id = 7").await;
    let gone = app.keys().get_owner(pb::GetOwnerRequest { user_id: 7 }).await.unwrap_err();
    assert_eq!(status_reason(&gone), "OWNER_NOT_FOUND");

    disable(&app, 8).await;
    let owner = get(&app, 8).await;
    assert_eq!((owner.key_count, owner.disabled), (0, true));
    assert!(owner.create_time.is_some());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_listed_once_each_by_pages_whatever_they_have() {
    let app = App::start().await;
    for user_id in [5, 3, 9, 3, 1_000_000_007] {
        create(&app, user_id).await;
    }
    for user_id in [4, 5, 12] {
        disable(&app, user_id).await;
    }
    let limited =
        pb::SetOwnerLimitsRequest { user_id: 2, rate_limits: Some(limits(1, 2)), ..Default::default() };
    app.keys().set_owner_limits(limited).await.unwrap();
    for size in [1, 2, 3, 8, 9, 0] {
        assert_eq!(listed(&app, None, size).await, [0, 2, 3, 4, 5, 9, 12, 1_000_000_007], "by {size}");
        assert_eq!(listed(&app, Some(true), size).await, [4, 5, 12], "by {size}");
        assert_eq!(listed(&app, Some(false), size).await, [0, 2, 3, 9, 1_000_000_007], "by {size}");
    }
    let request = pb::ListOwnersRequest { page_size: 3, ..Default::default() };
    let answer = app.keys().list_owners(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.owners[2], get(&app, 3).await, "as GetOwner shows it");
    assert_eq!((answer.owners[1].rate_limits, answer.owners[2].key_count), (Some(limits(1, 2)), 2));

    let next = pb::ListOwnersRequest { page_token: answer.next_page_token, ..request };
    create(&app, 1).await;
    create(&app, 6).await;
    assert_eq!(page(&app, &next).await.0, [4, 5, 6], "what comes behind is listed, what comes before is not");
    let other = pb::ListOwnersRequest { disabled: Some(true), ..next };
    let refused = app.keys().list_owners(other).await.unwrap_err();
    assert_eq!(violated_fields(&refused), ["page_token"], "of another filter");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_an_owner_are_replaced_as_a_whole_and_once() {
    let app = App::start().await;
    let set = async |rate_limits: Option<pb::RateLimits>, etag: &str| {
        let request = pb::SetOwnerLimitsRequest { user_id: 7, rate_limits, etag: etag.into() };
        app.keys().set_owner_limits(request).await.map(|answer| answer.into_inner())
    };
    let revision = async || app.database.number("SELECT revision FROM revision_counter").await;
    let start = revision().await;
    let nothing = set(None, "").await.unwrap();
    assert_eq!((nothing.revision, revision().await), (0, start), "nothing to change");
    assert_eq!(app.database.number("SELECT count(*) FROM owners").await, 0, "and nothing is left");

    let first = set(Some(limits(60, 1_000)), "").await.unwrap();
    let owner = first.owner.unwrap();
    assert_eq!((owner.rate_limits, first.revision), (Some(limits(60, 1_000)), start + 1));
    assert!(first.propagation.unwrap().complete);
    assert_eq!(get(&app, 7).await, owner);
    let again = set(Some(limits(60, 1_000)), &owner.etag).await.unwrap();
    assert_eq!((again.revision, revision().await), (start + 1, start + 1), "a repetition changes nothing");

    let other = pb::RateLimits { tokens: limits(0, 5).tokens, requests: None };
    let second = set(Some(other), &owner.etag).await.unwrap().owner.unwrap();
    let shown = second.rate_limits.unwrap();
    assert_eq!(shown.requests.unwrap(), pb::RateLimitWindows::default(), "what is left out is no limit");
    assert_eq!(shown.tokens.unwrap().per_day, Some(5));
    let stale = set(None, &owner.etag).await.unwrap_err();
    assert_eq!(status_reason(&stale), "ETAG_MISMATCH");
    assert_eq!(stale.get_details_resource_info().unwrap().resource_name, "owners/7");
    disable(&app, 7).await;
    let owner = get(&app, 7).await;
    assert!(owner.disabled && owner.rate_limits.unwrap().tokens.unwrap().per_day == Some(5), "both stay");

    let rows =
        app.database.json("SELECT * FROM audit_events WHERE action = 'owners.set_limits' ORDER BY 1").await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["resource"], "owners/7");
    assert_eq!(rows[1]["before"]["rate_limits"]["requests"]["per_minute"], 60);
    assert_eq!(rows[1]["after"]["rate_limits"]["tokens"]["per_day"], 5);
    let changes = "SELECT count(*) FROM change_log WHERE subject = 'owner' AND subject_id = 7";
    assert_eq!(app.database.number(changes).await, 3);
    app.stop().await;
}

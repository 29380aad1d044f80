//! What is refused: wrong requests, and budgets of keys that are deleted or were never there.

use keystile::grpc::pb;
use keystile::grpc::pb::budget::Subject;
use tonic::Code;

use super::{
    create, delete, delete_key, faults, full, get, key, not_found, of_key, of_owner, refused, reset,
    revision, update, updated,
};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_told_all_that_is_wrong_with_it() {
    let app = App::start().await;
    let made = create(&app, of_owner(7)).await;
    let start = revision(&app).await;
    let ask = async |budget: Option<pb::Budget>, request_id: &str| {
        let request = pb::CreateBudgetRequest { budget, request_id: request_id.into(), ..Default::default() };
        faults(app.budgets().create_budget(request).await)
    };
    assert_eq!(ask(None, "x").await, ["request_id", "budget"]);
    assert_eq!(ask(Some(pb::Budget { subject: None, ..of_owner(7) }), "").await, ["budget.subject"]);
    assert_eq!(ask(Some(of_key(0)), "").await, ["budget.key_id"]);
    assert_eq!(ask(Some(of_owner(-1)), "").await, ["budget.user_id"]);
    let warning = pb::Budget { warning_micros: Some(101), ..of_owner(7) };
    assert_eq!(ask(Some(warning), "").await, ["budget.warning_micros"]);
    let wrong = pb::Budget {
        budget_id: made.budget_id,
        subject: Some(Subject::KeyId(-1)),
        display_name: "\n".into(),
        limit_micros: Some(-1),
        period: 9,
        enforcement: 9,
        warning_micros: Some(-1),
        models: vec!["a".into(), "*a".into()],
        default_estimate_micros: -1,
        ..Default::default()
    };
    let all = [
        "budget.key_id",
        "budget.display_name",
        "budget.limit_micros",
        "budget.period",
        "budget.enforcement",
        "budget.warning_micros",
        "budget.models[1]",
        "budget.default_estimate_micros",
    ];
    assert_eq!(ask(Some(wrong.clone()), "").await, all);

    let mut told = faults(updated(&app, update(wrong.clone(), &["*"])).await);
    told.sort();
    let mut expected = all;
    expected.sort_unstable();
    assert_eq!(told, expected);
    let unset = pb::Budget { budget_id: made.budget_id, ..Default::default() };
    let named = ["limit_micros", "enforcement"];
    let told = faults(updated(&app, update(unset.clone(), &named)).await);
    assert_eq!(told, ["budget.limit_micros", "budget.enforcement"], "named and not set");
    assert_eq!(faults(updated(&app, update(unset, &[])).await), ["update_mask"]);
    let nobody = pb::Budget { budget_id: 0, etag: "r".repeat(65), ..made.clone() };
    assert_eq!(faults(updated(&app, update(nobody, &["limit_micros"])).await), ["budget.budget_id", "etag"]);
    assert_eq!(faults(updated(&app, pb::UpdateBudgetRequest::default()).await), ["budget"]);
    assert_eq!(faults(get(&app, 0).await), ["budget_id"]);
    assert_eq!(faults(reset(&app, -1, &"r".repeat(65)).await), ["budget_id", "etag"]);
    assert_eq!(faults(delete(&app, 0, "").await), ["budget_id"]);
    assert_eq!((revision(&app).await, get(&app, made.budget_id).await.unwrap()), (start, made));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budgets_of_a_deleted_key_are_shown_and_not_changed() {
    let app = App::start().await;
    let key_id = app.create_any().await.0.key_id;
    let budget = create(&app, full(key_id)).await;
    let id = budget.budget_id;
    delete_key(&app, key_id).await;
    assert_eq!(get(&app, id).await.unwrap(), budget);
    assert_eq!(key(&app, key_id).await.budgets, std::slice::from_ref(&budget));
    let deleted = (Code::FailedPrecondition, "KEY_DELETED".to_owned());
    let request = pb::CreateBudgetRequest { budget: Some(of_key(key_id)), ..Default::default() };
    assert_eq!(refused(app.budgets().create_budget(request).await), deleted);
    let changed = pb::Budget { limit_micros: Some(500), ..budget.clone() };
    assert_eq!(refused(updated(&app, update(changed, &["limit_micros"])).await), deleted);
    assert_eq!(refused(reset(&app, id, "").await), deleted);
    assert_eq!(refused(delete(&app, id, "").await), deleted);
    app.keys().undelete_key(pb::UndeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
    assert_eq!(get(&app, id).await.unwrap(), budget, "restored, it is what it was");

    app.database.sql(&format!("DELETE FROM api_keys WHERE key_id = {key_id}")).await;
    app.database.sql(&format!("DELETE FROM budgets WHERE budget_id = {id}")).await;
    assert_eq!(refused(get(&app, id).await), not_found(), "purged with its key");
    let request = pb::CreateBudgetRequest { budget: Some(of_key(key_id)), ..Default::default() };
    let answer = app.budgets().create_budget(request).await;
    assert_eq!(refused(answer), (Code::NotFound, "KEY_NOT_FOUND".to_owned()));
    app.stop().await;
}

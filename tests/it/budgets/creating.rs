//! Creating, reading, listing; what is repeated or only validated.

use keystile::grpc::pb;
use keystile::grpc::pb::budget::{Enforcement, Subject};
use keystile::grpc::pb::list_budgets_request::Subject as Of;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{create, delete, faults, full, get, key, not_found, of_key, of_owner, refused, revision};
use crate::harness::{App, status_reason};

async fn page(app: &App, request: &pb::ListBudgetsRequest) -> (Vec<i64>, String) {
    let answer = app.budgets().list_budgets(request.clone()).await.unwrap().into_inner();
    (answer.budgets.iter().map(|budget| budget.budget_id).collect(), answer.next_page_token)
}

/// All pages.
async fn listed(app: &App, subject: Option<Of>, page_size: i32) -> Vec<i64> {
    let mut request = pb::ListBudgetsRequest { subject, page_size, ..Default::default() };
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
async fn a_budget_of_a_key_is_a_change_of_the_key() {
    let app = App::start().await;
    let (before, token) = app.create_any().await;
    let request = pb::CreateBudgetRequest { budget: Some(full(before.key_id)), ..Default::default() };
    let answer = app.budgets().create_budget(request).await.unwrap().into_inner();
    assert!(answer.propagation.unwrap().complete);
    assert_eq!(answer.revision, revision(&app).await);
    let budget = answer.budget.unwrap();
    assert!(budget.budget_id > 0 && budget.reset_time.is_some() && budget.create_time.is_some());
    assert_eq!((budget.spent_micros, budget.reserved_micros), (0, 0));
    let said = pb::Budget {
        budget_id: 0,
        reset_time: None,
        create_time: None,
        update_time: None,
        etag: String::new(),
        ..budget.clone()
    };
    assert_eq!(said, full(before.key_id));
    assert_eq!(get(&app, budget.budget_id).await.unwrap(), budget);
    let after = key(&app, before.key_id).await;
    assert_eq!(after.budgets, std::slice::from_ref(&budget));
    assert_eq!(after.etag, budget.etag, "both have the revision");
    assert_ne!(after.etag, before.etag);
    let answer = app.ask(&token, pb::AuthorizeRequest::default()).await;
    assert!(!answer.warnings.is_empty(), "a replica that knew the key has read it again");

    let line = format!(
        "SELECT count(*) FROM change_log WHERE subject = 'key' AND subject_id = {} AND NOT adds_tokens",
        before.key_id
    );
    assert_eq!(app.database.number(&line).await, 1);
    let audited =
        app.database.json("SELECT * FROM audit_events WHERE action = 'budgets.create'").await.remove(0);
    assert_eq!(audited["resource"], format!("budgets/{}", budget.budget_id));
    assert_eq!(audited["after"]["key_id"], before.key_id);
    assert_eq!(audited["after"]["limit_micros"], 100);
    assert!(audited["before"].is_null());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_an_owner_makes_him_known() {
    let app = App::start().await;
    let budget = create(&app, of_owner(7)).await;
    assert_eq!(budget.subject, Some(Subject::UserId(7)));
    assert_eq!(budget.enforcement(), Enforcement::Hard, "where nothing is said");
    let owner = app.keys().get_owner(pb::GetOwnerRequest { user_id: 7 }).await.unwrap().into_inner();
    assert_eq!(owner.owner.unwrap().etag, budget.etag);
    let lines = "SELECT count(*) FROM change_log WHERE subject = 'owner' AND subject_id = 7";
    assert_eq!(app.database.number(lines).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_listed_once_each_by_pages() {
    let app = App::start().await;
    let (one, other) = (app.create_any().await.0.key_id, app.create_any().await.0.key_id);
    let mut made = Vec::new();
    for budget in [of_key(one), of_owner(7), of_key(other), of_key(one), of_owner(8), of_key(one)] {
        made.push(create(&app, budget).await.budget_id);
    }
    assert!(made.is_sorted());
    let of = |places: &[usize]| places.iter().map(|place| made[*place]).collect::<Vec<_>>();
    for size in [1, 2, 3, 6, 7, 0, 5_000] {
        assert_eq!(listed(&app, None, size).await, made, "by {size}");
        assert_eq!(listed(&app, Some(Of::KeyId(one)), size).await, of(&[0, 3, 5]), "by {size}");
        assert_eq!(listed(&app, Some(Of::UserId(7)), size).await, of(&[1]), "by {size}");
        assert_eq!(listed(&app, Some(Of::UserId(9)), size).await, of(&[]), "by {size}");
    }
    let request = pb::ListBudgetsRequest { page_size: 2, ..Default::default() };
    let (_, page_token) = page(&app, &request).await;
    let next = pb::ListBudgetsRequest { page_token, ..request };
    delete(&app, made[3], "").await.unwrap();
    assert_eq!(page(&app, &next).await.0, of(&[2, 4]));
    let other = pb::ListBudgetsRequest { subject: Some(Of::KeyId(one)), ..next };
    assert_eq!(faults(app.budgets().list_budgets(other).await), ["page_token"], "of another list");
    let request = pb::ListBudgetsRequest { page_size: -1, ..Default::default() };
    assert_eq!(faults(app.budgets().list_budgets(request).await), ["page_size"]);
    let answer = app.budgets().list_budgets(pb::ListBudgetsRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.budgets[0], get(&app, made[0]).await.unwrap(), "as GetBudget shows it");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_creation_makes_one_budget() {
    let app = App::start().await;
    let replica = App::builder().database(&app.database).admin_token(&app.admin_token).start().await;
    let request_id = Uuid::new_v4().to_string();
    let request = pb::CreateBudgetRequest { budget: Some(of_owner(7)), request_id, ..Default::default() };
    let mut calls = JoinSet::new();
    for call in 0..8 {
        let (mut budgets, request) = ([&app, &replica][call % 2].budgets(), request.clone());
        calls.spawn(async move { budgets.create_budget(request).await.unwrap().into_inner() });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| answer.budget == answers[0].budget), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.revision == answers[0].revision));
    assert_eq!(app.database.number("SELECT count(*) FROM budgets").await, 1);
    assert_eq!(app.database.number("SELECT count(*) FROM audit_events WHERE revision > 1").await, 1);

    let other = pb::CreateBudgetRequest { budget: Some(of_owner(8)), ..request.clone() };
    let status = app.budgets().create_budget(other).await.unwrap_err();
    assert_eq!(status_reason(&status), "REQUEST_ID_REUSED");
    let key = pb::Key { user_id: 1, display_name: "of another method".into(), ..Default::default() };
    let key =
        pb::CreateKeyRequest { key: Some(key), request_id: request.request_id.clone(), ..Default::default() };
    assert_ne!(app.keys().create_key(key).await.unwrap().into_inner().token, "");
    delete(&app, answers[0].budget.as_ref().unwrap().budget_id, "").await.unwrap();
    assert_eq!(refused(app.budgets().create_budget(request).await), not_found(), "nothing is made again");
    replica.stop().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_validated_leaves_nothing() {
    let app = App::start().await;
    let key_id = app.create_any().await.0.key_id;
    let before = app.database.dump_all().await;
    for budget in [full(key_id), of_owner(7)] {
        let request = pb::CreateBudgetRequest {
            budget: Some(budget.clone()),
            request_id: Uuid::new_v4().to_string(),
            validate_only: true,
        };
        let shown = app.budgets().create_budget(request).await.unwrap().into_inner().budget.unwrap();
        assert_eq!((shown.budget_id, shown.etag.as_str()), (0, ""), "there is none");
        assert_eq!((shown.subject, shown.models), (budget.subject, budget.models));
    }
    let nobody =
        pb::CreateBudgetRequest { budget: Some(of_key(4711)), validate_only: true, ..Default::default() };
    let status = app.budgets().create_budget(nobody).await.unwrap_err();
    assert_eq!(status_reason(&status), "KEY_NOT_FOUND");
    assert_eq!(app.database.dump_all().await, before);
    app.stop().await;
}

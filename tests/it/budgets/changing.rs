//! UpdateBudget and DeleteBudget: what a mask changes and what it leaves, etags, and several administrators at once.

use keystile::grpc::pb;
use keystile::grpc::pb::budget::{Enforcement, Period, Subject};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use super::{
    create, delete, faults, full, get, key, lasting, not_found, of_key, of_owner, refused, revision, stale,
    update, updated,
};
use crate::harness::{App, status_reason};

/// Another value in every field that can be changed.
fn other() -> pb::Budget {
    pb::Budget {
        display_name: "other".into(),
        limit_micros: Some(200),
        enforcement: Enforcement::Hard.into(),
        warning_micros: Some(90),
        default_estimate_micros: 0,
        require_estimate: false,
        ..Default::default()
    }
}

/// A path, and what it does to a budget.
type Case = (&'static str, fn(&mut pb::Budget, pb::Budget));

/// A field that stays what it is, and what is done to it.
type Change = (&'static str, fn(&mut pb::Budget));

const CASES: [Case; 6] = [
    ("display_name", |budget, other| budget.display_name = other.display_name),
    ("limit_micros", |budget, other| budget.limit_micros = other.limit_micros),
    ("enforcement", |budget, other| budget.enforcement = other.enforcement),
    ("warning_micros", |budget, other| budget.warning_micros = other.warning_micros),
    ("default_estimate_micros", |budget, other| {
        budget.default_estimate_micros = other.default_estimate_micros
    }),
    ("require_estimate", |budget, other| budget.require_estimate = other.require_estimate),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_changes_what_it_names_and_leaves_the_rest() {
    let app = App::start().await;
    let key_id = app.create_any().await.0.key_id;
    for (path, change) in CASES {
        let before = create(&app, full(key_id)).await;
        let budget = pb::Budget { budget_id: before.budget_id, ..other() };
        let answer = updated(&app, update(budget, &[path])).await.unwrap();
        let after = answer.budget.unwrap();
        let mut expected = lasting(before.clone());
        change(&mut expected, other());
        assert_eq!(lasting(after.clone()), expected, "{path}");
        assert_eq!(after.etag, format!("r{}", answer.revision), "{path}");
        assert_eq!(get(&app, before.budget_id).await.unwrap(), after, "{path}");
        assert_eq!(key(&app, key_id).await.etag, after.etag, "{path}");
    }
    let before = create(&app, full(key_id)).await;
    let whole = pb::Budget { budget_id: before.budget_id, warning_micros: None, ..other() };
    let after = updated(&app, update(whole, &["*"])).await.unwrap().budget.unwrap();
    let mut expected = lasting(before.clone());
    CASES.iter().for_each(|(_, change)| change(&mut expected, other()));
    expected.warning_micros = None;
    assert_eq!(lasting(after.clone()), expected, "what is not set is taken away");

    let only_set = pb::Budget { budget_id: before.budget_id, limit_micros: Some(0), ..Default::default() };
    let after = updated(&app, update(only_set, &[])).await.unwrap().budget.unwrap();
    assert_eq!(lasting(after), pb::Budget { limit_micros: Some(0), ..expected });
    let audited = "SELECT * FROM audit_events WHERE action = 'budgets.update' ORDER BY event_id DESC LIMIT 1";
    let audited = app.database.json(audited).await.remove(0);
    let resource = format!("budgets/{}", before.budget_id);
    assert_eq!((&audited["resource"], &audited["before"]["limit_micros"]), (&resource.into(), &200.into()));
    assert_eq!(audited["after"]["limit_micros"], 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_as_it_is_wanted_changes_nothing() {
    let app = App::start().await;
    let budget = create(&app, of_owner(7)).await;
    let start = revision(&app).await;
    // As it was read: its subject, period and models are what they were.
    for paths in [&[][..], &["*"], &["limit_micros"]] {
        let answer = updated(&app, update(budget.clone(), paths)).await.unwrap();
        assert_eq!((answer.revision, answer.budget.as_ref()), (start, Some(&budget)));
        assert!(answer.propagation.unwrap().complete);
    }
    assert_eq!(revision(&app).await, start);
    let mut request = update(pb::Budget { limit_micros: Some(5), ..budget.clone() }, &["limit_micros"]);
    request.validate_only = true;
    let shown = updated(&app, request).await.unwrap().budget.unwrap();
    assert_eq!(lasting(shown), lasting(pb::Budget { limit_micros: Some(5), ..budget.clone() }));
    assert_eq!((revision(&app).await, get(&app, budget.budget_id).await.unwrap()), (start, budget));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subject_period_and_models_stay_what_they_are() {
    let app = App::start().await;
    let key_id = app.create_any().await.0.key_id;
    let budget = create(&app, full(key_id)).await;
    for path in ["period", "models", "key_id", "user_id", "subject", "spent_micros", "budget_id", "x", "*.x"]
    {
        let answer = updated(&app, update(budget.clone(), &["display_name", path])).await;
        assert_eq!(faults(answer), ["update_mask.paths[1]"], "{path}");
    }
    let changes: [Change; 4] = [
        ("budget.period", |budget| budget.period = Period::Daily.into()),
        ("budget.models", |budget| budget.models.truncate(1)),
        ("budget.subject", |budget| budget.subject = Some(Subject::UserId(1))),
        ("budget.subject", |budget| budget.subject = Some(Subject::KeyId(4711))),
    ];
    for (field, change) in changes {
        for paths in [&[][..], &["*"]] {
            let mut changed = pb::Budget { limit_micros: Some(500), ..budget.clone() };
            change(&mut changed);
            assert_eq!(faults(updated(&app, update(changed, paths)).await), [field]);
        }
    }
    assert_eq!(get(&app, budget.budget_id).await.unwrap(), budget);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_never_warns_above_its_limit() {
    let app = App::start().await;
    let budget = create(&app, pb::Budget { warning_micros: Some(80), ..of_owner(7) }).await;
    let with = |limit_micros, warning_micros| pb::Budget {
        budget_id: budget.budget_id,
        limit_micros: Some(limit_micros),
        warning_micros,
        ..Default::default()
    };
    let lowered = updated(&app, update(with(79, None), &["limit_micros"])).await;
    assert_eq!(faults(lowered), ["budget.warning_micros"]);
    let raised = updated(&app, update(with(0, Some(101)), &["warning_micros"])).await;
    assert_eq!(faults(raised), ["budget.warning_micros"]);
    updated(&app, update(with(80, None), &["limit_micros"])).await.unwrap();
    updated(&app, update(with(10, Some(10)), &["limit_micros", "warning_micros"])).await.unwrap();
    updated(&app, update(with(5, None), &["limit_micros", "warning_micros"])).await.unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_lets_only_what_was_seen_be_changed() {
    let app = App::start().await;
    let key_id = app.create_any().await.0.key_id;
    let seen = create(&app, of_key(key_id)).await;
    let limit = |limit, etag: &str| {
        let budget = pb::Budget { limit_micros: Some(limit), etag: etag.into(), ..seen.clone() };
        update(budget, &["limit_micros"])
    };
    let now = updated(&app, limit(200, &seen.etag)).await.unwrap().budget.unwrap();
    assert_ne!(now.etag, seen.etag);
    let status = updated(&app, limit(300, &seen.etag)).await.unwrap_err();
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(resource.resource_name, format!("budgets/{}", seen.budget_id));
    let beside = pb::UpdateBudgetRequest { etag: seen.etag.clone(), ..limit(300, "") };
    assert_eq!(refused(updated(&app, beside.clone()).await), stale());
    let both = pb::UpdateBudgetRequest { etag: now.etag.clone(), ..limit(300, &seen.etag) };
    assert_eq!(faults(updated(&app, both).await), ["etag"]);
    assert_eq!(refused(delete(&app, seen.budget_id, &seen.etag).await), stale());
    // A change of the key itself is none of the budget.
    let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap();
    delete(&app, seen.budget_id, &now.etag).await.unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_budget_is_gone_with_its_balances() {
    let app = App::start().await;
    let key_id = app.create_any().await.0.key_id;
    let (gone, kept) = (create(&app, of_key(key_id)).await, create(&app, of_key(key_id)).await);
    for budget in [&gone, &kept] {
        let id = budget.budget_id;
        let periods = format!(
            "INSERT INTO budget_periods VALUES ({id}, date_trunc('month', now(), 'UTC'), 30, 12), ({id}, 'epoch', 5, 0)"
        );
        app.database.sql(&periods).await;
    }
    let answer = delete(&app, gone.budget_id, "").await.unwrap();
    let was = answer.budget.unwrap();
    assert_eq!((was.budget_id, was.spent_micros, was.reserved_micros), (gone.budget_id, 30, 12));
    assert_eq!(answer.revision, revision(&app).await);
    let id = gone.budget_id;
    assert_eq!(refused(get(&app, id).await), not_found());
    assert_eq!(refused(delete(&app, id, "").await), not_found());
    assert_eq!(refused(updated(&app, update(gone, &["limit_micros"])).await), not_found());
    let left = key(&app, key_id).await.budgets;
    assert_eq!(left.iter().map(|budget| budget.budget_id).collect::<Vec<_>>(), [kept.budget_id]);
    assert_eq!(app.database.number("SELECT count(*) FROM budget_periods").await, 2);
    let audited =
        app.database.json("SELECT * FROM audit_events WHERE action = 'budgets.delete'").await.remove(0);
    assert_eq!((&audited["before"]["spent_micros"], &audited["after"]), (&30.into(), &().into()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_at_once_lose_no_change_and_win_once_by_an_etag() {
    let app = App::start().await;
    let replica = App::builder().database(&app.database).admin_token(&app.admin_token).start().await;
    let budget = create(&app, of_owner(7)).await;
    let mut calls = JoinSet::new();
    for (call, (path, _)) in CASES.into_iter().enumerate() {
        let mut budgets = [&app, &replica][call % 2].budgets();
        let changed = pb::Budget {
            budget_id: budget.budget_id,
            display_name: "n".into(),
            limit_micros: Some(200),
            enforcement: Enforcement::Soft.into(),
            warning_micros: Some(50),
            default_estimate_micros: 3,
            require_estimate: true,
            ..Default::default()
        };
        calls.spawn(async move { budgets.update_budget(update(changed, &[path])).await.unwrap() });
    }
    calls.join_all().await;
    let now = get(&replica, budget.budget_id).await.unwrap();
    let all = (now.display_name.as_str(), now.limit_micros, now.enforcement(), now.warning_micros);
    assert_eq!(all, ("n", Some(200), Enforcement::Soft, Some(50)));
    assert_eq!((now.default_estimate_micros, now.require_estimate), (3, true));

    let mut calls = JoinSet::new();
    for limit in 0..8 {
        let mut budgets = [&app, &replica][limit as usize % 2].budgets();
        let request =
            update(pb::Budget { limit_micros: Some(1_000 + limit), ..now.clone() }, &["limit_micros"]);
        calls.spawn(async move { budgets.update_budget(request).await.map(|answer| answer.into_inner()) });
    }
    let answers = calls.join_all().await;
    let won: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert_eq!(won[0].budget.as_ref(), Some(&get(&app, budget.budget_id).await.unwrap()));
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((status.code(), status_reason(status)), (Code::Aborted, "ETAG_MISMATCH".into()));
    }
    replica.stop().await;
    app.stop().await;
}

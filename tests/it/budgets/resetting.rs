//! ResetBudget: the current period alone, and what is reserved stays.

use chrono::{DateTime, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use keystile::grpc::pb::budget::Period;

use super::{create, get, not_found, of_owner, refused, reset, revision, stale};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_forgets_what_is_spent_in_the_current_period_alone() {
    let clock = ManualClock::new("2030-03-17T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    for (period, start, before) in [
        (Period::Total, "1970-01-01", "1969-01-01"),
        (Period::Daily, "2030-03-17", "2030-03-16"),
        (Period::Weekly, "2030-03-11", "2030-03-04"),
        (Period::Monthly, "2030-03-01", "2030-02-01"),
        (Period::Yearly, "2030-01-01", "2029-01-01"),
    ] {
        let budget = create(&app, pb::Budget { period: period.into(), ..of_owner(7) }).await;
        let id = budget.budget_id;
        let periods = format!(
            "INSERT INTO budget_periods VALUES ({id}, '{start}T00:00:00Z', 30, 12), ({id}, '{before}T00:00:00Z', 40, 5)"
        );
        app.database.sql(&periods).await;
        let spent = get(&app, id).await.unwrap();
        assert_eq!((spent.spent_micros, spent.reserved_micros), (30, 12), "{period:?}");
        assert_eq!(spent.etag, budget.etag, "what is spent is no change of the budget");
        assert_eq!(refused(reset(&app, id, "r0").await), stale());
        let answer = reset(&app, id, &spent.etag).await.unwrap();
        assert!(answer.propagation.unwrap().complete);
        let now = answer.budget.unwrap();
        assert_eq!((now.spent_micros, now.reserved_micros), (0, 12), "{period:?}");
        assert_eq!((&now.etag, answer.revision), (&format!("r{}", answer.revision), revision(&app).await));
        assert_eq!(get(&app, id).await.unwrap(), now);
        let kept = format!("SELECT sum(spent_micros)::bigint FROM budget_periods WHERE budget_id = {id}");
        assert_eq!(app.database.number(&kept).await, 40, "{period:?}: of the period before");

        let again = reset(&app, id, "").await.unwrap();
        assert_eq!((again.revision, again.budget), (answer.revision, Some(now)), "there is nothing to reset");
    }
    let audited = "SELECT * FROM audit_events WHERE action = 'budgets.reset' ORDER BY event_id";
    let audited = app.database.json(audited).await;
    assert_eq!(audited.len(), 5);
    let balance =
        |side: &str| (audited[0][side]["spent_micros"].clone(), audited[0][side]["reserved_micros"].clone());
    assert_eq!((balance("before"), balance("after")), ((30.into(), 12.into()), (0.into(), 12.into())));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_period_begins_with_nothing_spent() {
    let clock = ManualClock::new("2030-03-31T23:59:59Z".parse::<DateTime<Utc>>().unwrap());
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    let budget = create(&app, of_owner(7)).await;
    let id = budget.budget_id;
    let april = 1_901_232_000;
    assert_eq!(budget.reset_time.unwrap().seconds, april);
    app.database
        .sql(&format!("INSERT INTO budget_periods VALUES ({id}, '2030-03-01T00:00:00Z', 30, 12)"))
        .await;
    clock.advance(chrono::TimeDelta::seconds(1));
    let now = get(&app, id).await.unwrap();
    assert_eq!((now.spent_micros, now.reserved_micros), (0, 0));
    assert!(now.reset_time.unwrap().seconds > april);
    reset(&app, id, "").await.unwrap();
    assert_eq!(app.database.number("SELECT spent_micros FROM budget_periods").await, 30, "it is over");
    assert_eq!(refused(reset(&app, id + 1, "").await), not_found());
    app.stop().await;
}

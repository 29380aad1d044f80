//! No list, look-up, repetition or purge reads a table as a whole that grows: PostgreSQL counts sequential scans, call by call.

use keystile::clock::Clock;
use keystile::grpc::pb;
use keystile::storage::{StorageError, Store, audit, changes, purge};
use pb::list_audit_events_request::Filter as EventFilter;
use pb::list_budgets_request::Subject as Of;
use pb::list_keys_request::Filter;
use prost_types::Timestamp;
use uuid::Uuid;

use crate::harness::{App, TestDatabase, status_reason};

const COUNT: i64 = 20_000;
/// What grows; the others have a handful of rows.
const GROWING: &str = "'api_keys', 'key_secrets', 'key_digests', 'key_usage', 'owners', 'budgets', \
                       'budget_periods', 'audit_events', 'change_log', 'idempotent_requests'";

/// Keys of 400 owners, of whom every 40th is disabled, with everything that is filtered by; and a log.
async fn fill(database: &TestDatabase) {
    let statements = format!(
        "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, scopes, \
             models, observe, expire_at, revoked_at, deleted_at, purge_at, revision, created_at, updated_at) \
         SELECT n, n % 400, 'key ' || md5(n::text), '', ARRAY['all', 't' || n % 500], \
             jsonb_build_object('team', 'm' || n % 500), '{{}}', ARRAY['s' || n % 500 || '.x'], \
             CASE WHEN n % 10 = 0 THEN NULL ELSE ARRAY['m' || n % 500 || '*'] END, '{{}}', \
             CASE WHEN n % 3 > 0 THEN now() + (n - 1000) * interval '1 hour' END, \
             CASE WHEN n % 100 = 7 THEN now() END, CASE WHEN n % 100 = 8 THEN now() END, \
             CASE WHEN n % 100 = 8 THEN now() END, 0, now() - ({COUNT} - n) * interval '1 minute', \
             now() - n % 1000 * interval '1 minute' \
         FROM generate_series(1000, 999 + {COUNT}) n; \
         INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
         SELECT n, true, 'ks_' || md5(n::text), 'x', false, now() FROM generate_series(1000, 999 + {COUNT}) n; \
         INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, expire_at, created_at) \
         SELECT n, false, 'old_' || md5(n::text), 'x', false, now() - interval '1 hour', now() \
             FROM generate_series(1000, 999 + {COUNT}, 2) n; \
         INSERT INTO key_digests SELECT sha256(secret_id::text::bytea), 'x', secret_id FROM key_secrets \
             WHERE key_id >= 1000; \
         INSERT INTO owners (user_id, disabled_at, revision, created_at, updated_at) \
         SELECT n, CASE WHEN n % 40 = 0 AND n > 0 THEN now() END, 1, now(), now() \
             FROM generate_series(0, 5000) n ON CONFLICT DO NOTHING; \
         INSERT INTO audit_events (event_at, actor, action, resource, peer_address, request_id, revision, \
             refused_reason, plugin_event) \
         SELECT now() - n * interval '1 minute', 'key/' || n % 100, 'a' || n % 10, 'keys/' || n % 1000, '', \
             'r' || n, 0, CASE WHEN n % 500 = 0 THEN 'X' ELSE '' END, NULL FROM generate_series(1, {COUNT}) n; \
         INSERT INTO budgets (key_id, display_name, limit_micros, period, is_hard, default_estimate_micros, \
             require_estimate, revision, created_at, updated_at) \
         SELECT n, '', 1, 'total', true, 0, false, 0, now(), now() FROM generate_series(1000, 999 + {COUNT}) n; \
         INSERT INTO budget_periods (budget_id, period_start) SELECT budget_id, now() FROM budgets; \
         INSERT INTO change_log (revision, subject, subject_id) \
         SELECT 1000000 + n, 'key', n FROM generate_series(1, {COUNT}) n; \
         INSERT INTO idempotent_requests (caller, method, request_id, fingerprint, key_id, expire_at) \
         SELECT 'key/' || n % 3, 'keys.create', md5(n::text)::uuid, sha256(n::text::bytea), n, \
             now() + (n - {COUNT} / 2) * interval '1 minute' FROM generate_series(1, {COUNT}) n"
    );
    database.sql(&statements).await;
    let used = "UPDATE key_usage SET last_used_at = now() - key_id % 5000 * interval '1 minute' WHERE key_id % 2 = 0";
    database.sql(used).await;
    database.sql("VACUUM ANALYZE").await;
}

/// How often each growing table was read as a whole, by sessions that have ended.
async fn scans(database: &TestDatabase) -> Vec<String> {
    let query = format!(
        "SELECT relname || ' ' || seq_scan AS line FROM pg_stat_user_tables WHERE relname IN ({GROWING}) ORDER BY 1"
    );
    database.lines(&query).await
}

/// Nobody else has a session.
const ALONE: &str = "SELECT (count(*) = 1)::int FROM pg_stat_activity WHERE datname = current_database()";

/// One call of a service.
enum Ask {
    Keys(Box<pb::ListKeysRequest>),
    Key,
    Owners(Option<bool>),
    Owner,
    Budgets(Option<Of>),
    Budget,
    Events(EventFilter),
    /// And whether it is found.
    Lookup(String, bool),
    /// A creation and a rotation, each with an id, and each twice.
    Repeat,
}

async fn ask(app: &App, ask: Ask) {
    match ask {
        Ask::Keys(request) => drop(app.keys().list_keys(*request).await.unwrap()),
        Ask::Key => {
            let request = pb::GetKeyRequest { key_id: 5_000, view: 0 };
            app.keys().get_key(request).await.unwrap();
        }
        Ask::Owners(disabled) => {
            let request = pb::ListOwnersRequest { disabled, ..Default::default() };
            app.keys().list_owners(request).await.unwrap();
        }
        Ask::Owner => drop(app.keys().get_owner(pb::GetOwnerRequest { user_id: 7 }).await.unwrap()),
        Ask::Budgets(subject) => {
            let request = pb::ListBudgetsRequest { subject, ..Default::default() };
            app.budgets().list_budgets(request).await.unwrap();
        }
        Ask::Budget => drop(app.budgets().get_budget(pb::GetBudgetRequest { budget_id: 77 }).await.unwrap()),
        Ask::Events(filter) => {
            let request = pb::ListAuditEventsRequest { filter: Some(filter), ..Default::default() };
            app.audit().list_audit_events(request).await.unwrap();
        }
        Ask::Lookup(token, is_found) => {
            let answer = app.keys().lookup_key(pb::LookupKeyRequest { token: token.into() }).await;
            let told =
                answer.map(|_| true).unwrap_or_else(|status| status_reason(&status) != "TOKEN_UNKNOWN");
            assert_eq!(told, is_found);
        }
        Ask::Repeat => repeat(app).await,
    }
}

async fn repeat(app: &App) {
    let request_id = Uuid::new_v4().to_string();
    let key = pb::Key { display_name: "repeated".into(), ..Default::default() };
    let create =
        pb::CreateKeyRequest { key: Some(key), request_id: request_id.clone(), ..Default::default() };
    let key = app.keys().create_key(create.clone()).await.unwrap().into_inner().key.unwrap();
    assert_eq!(app.keys().create_key(create).await.unwrap().into_inner().token, "");
    let rotate = pb::RotateKeyRequest { key_id: key.key_id, request_id, ..Default::default() };
    app.keys().rotate_key(rotate.clone()).await.unwrap();
    assert_eq!(app.keys().rotate_key(rotate).await.unwrap().into_inner().token, "");
}

fn time(seconds: i64) -> Option<Timestamp> {
    let seconds = keystile::clock::Clock::System.now().timestamp() + seconds;
    Some(Timestamp { seconds, nanos: 0 })
}

fn filters() -> Vec<Filter> {
    let base = Filter::default;
    let states = |states: &[pb::key::State]| Filter {
        states: states.iter().map(|state| (*state).into()).collect(),
        ..base()
    };
    use pb::key::State::{Active, Deleted, Expired, OwnerDisabled, Revoked};
    vec![
        base(),
        Filter { user_id: Some(17), ..base() },
        Filter { tag: "t77".into(), ..base() },
        Filter { tag: "all".into(), ..base() },
        Filter { tag: "nobody has it".into(), ..base() },
        Filter { key_prefix: "ks_0a".into(), ..base() },
        Filter { key_prefix: "ks_".into(), ..base() },
        Filter { name_contains: "ABC".into(), ..base() },
        Filter { name_contains: "key".into(), ..base() },
        Filter { name_contains: "xy".into(), ..base() },
        Filter { scope: "s77.x".into(), ..base() },
        Filter { model: "m77-large".into(), ..base() },
        Filter { metadata: [("team".to_owned(), "m77".to_owned())].into(), ..base() },
        Filter { created_after: time(-3_600), ..base() },
        Filter { created_before: time(-60 * COUNT + 3_600), ..base() },
        Filter { expires_after: time(3_600 * 19_000), ..base() },
        Filter { expires_before: time(3_600 * 100), ..base() },
        Filter { last_used_after: time(-3_600), ..base() },
        Filter { last_used_before: time(-60 * 4_900), ..base() },
        states(&[Active]),
        states(&[Revoked]),
        states(&[Deleted]),
        states(&[Expired]),
        states(&[OwnerDisabled]),
        states(&[Revoked, Deleted]),
        states(&[Active, Revoked, Expired, OwnerDisabled, Deleted]),
    ]
}

fn asks(token: &str) -> Vec<(String, Ask)> {
    let mut asks = Vec::new();
    let keys = |filter: Filter, order_by: &str| {
        let request =
            pb::ListKeysRequest { filter: Some(filter), order_by: order_by.into(), ..Default::default() };
        (format!("{:?} {order_by}", request.filter), Ask::Keys(Box::new(request)))
    };
    asks.extend(filters().into_iter().map(|filter| keys(filter, "")));
    for order in ["key_id", "create_time", "update_time", "display_name", "expire_time", "last_used_time"] {
        asks.push(keys(Filter::default(), order));
        asks.push(keys(Filter::default(), &format!("{order} desc")));
    }
    asks.push(("GetKey".into(), Ask::Key));
    asks.push(("GetOwner".into(), Ask::Owner));
    for disabled in [None, Some(true), Some(false)] {
        asks.push((format!("ListOwners {disabled:?}"), Ask::Owners(disabled)));
    }
    for subject in [None, Some(Of::KeyId(5_000)), Some(Of::UserId(7))] {
        asks.push((format!("ListBudgets {subject:?}"), Ask::Budgets(subject)));
    }
    asks.push(("GetBudget".into(), Ask::Budget));
    let base = EventFilter::default;
    let events = [
        base(),
        EventFilter { actor: "key/7".into(), ..base() },
        EventFilter { action: "a7".into(), ..base() },
        EventFilter { resource: "keys/7".into(), ..base() },
        EventFilter { request_id: "r7".into(), ..base() },
        EventFilter { refused_only: true, ..base() },
        EventFilter { plugin_id: "p".into(), ..base() },
        EventFilter { start_time: time(-600), ..base() },
        EventFilter { end_time: time(-60 * COUNT + 600), ..base() },
        EventFilter { actor: "key/7".into(), action: "a7".into(), start_time: time(-60_000), ..base() },
    ];
    asks.extend(events.into_iter().map(|filter| (format!("{filter:?}"), Ask::Events(filter))));
    asks.push(("LookupKey by digest".into(), Ask::Lookup(token.to_owned(), true)));
    asks.push(("LookupKey by prefix".into(), Ask::Lookup(format!("{token}x"), false)));
    asks.push(("a repetition".into(), Ask::Repeat));
    asks
}

#[tokio::test(flavor = "multi_thread")]
async fn no_list_and_no_look_up_reads_a_growing_table_as_a_whole() {
    let database = TestDatabase::new().await;
    let app = App::builder().database(&database).start().await;
    let token = app.admin_token.clone();
    app.stop().await;
    fill(&database).await;
    let again = || App::builder().database(&database).admin_token(&token).start();
    let mut read_as_a_whole = Vec::new();
    for (what, call) in asks(&token) {
        // A session's scans are counted when it has ended, at the latest.
        let before = scans(&database).await;
        let app = again().await;
        ask(&app, call).await;
        app.stop().await;
        database.until(ALONE).await;
        let after = scans(&database).await;
        if before != after {
            read_as_a_whole.push(format!("{what}: {before:?}, then {after:?}"));
        }
    }
    assert!(read_as_a_whole.is_empty(), "{}", read_as_a_whole.join("\n"));
    let before = scans(&database).await;
    database.sql("SELECT count(*) FROM owners WHERE updated_at IS NULL").await;
    database.until(ALONE).await;
    assert_ne!(scans(&database).await, before, "a scan is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_time_has_made_useless_is_found_by_index_and_taken_in_batches() {
    const BATCH: i64 = 1_000;
    let database = TestDatabase::new().await;
    fill(&database).await;
    let before = scans(&database).await;
    let store = Store::new(&database.url().into(), 2).unwrap();
    let now = Clock::System.now();
    let taken = store.write::<_, StorageError, _>("take", move |session| {
        Box::pin(async move {
            let due = purge::lock_due_keys(session, now, 100).await?;
            purge::delete_keys(session, &due).await?;
            Ok([
                due.len(),
                purge::delete_ended_secrets(session, now, BATCH).await?,
                purge::delete_ended_requests(session, now, BATCH).await?,
                audit::remove_old(session, 1, BATCH).await?,
                changes::remove_old(session, 0, BATCH).await?,
            ])
        })
    });
    assert_eq!(taken.await.unwrap(), [100, 1_000, 1_000, 1_000, 1_000]);
    drop(store);
    database.until(ALONE).await;
    assert_eq!(scans(&database).await, before);
}

//! Many clients at once: nothing is lost, and an answer holds from the moment it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use diesel_async::SimpleAsyncConnection as _;
use keystile::grpc::pb;
use tokio::task::JoinSet;

use crate::harness::{App, denial, eventually, judged_key};

type Models = BTreeSet<String>;

/// A change of the models, and what was answered.
struct Done {
    adds: bool,
    pattern: String,
    revision: i64,
    answered: Models,
}

fn models_of(key: Option<pb::Key>) -> Models {
    let rule = key.unwrap().models.unwrap();
    assert_eq!(rule.mode(), pb::access_rule::Mode::Only);
    rule.patterns.into_iter().collect()
}

/// Adds and removes a pattern of its own and three that all clients fight over.
async fn change_models(app: &App, client: usize, key_id: i64) -> impl Future<Output = Vec<Done>> + use<> {
    let mut keys = app.keys();
    let steps = [
        (true, format!("own-{client}")),
        (true, format!("shared-{}", client % 3)),
        (false, format!("shared-{}", (client + 1) % 3)),
        (true, format!("passing-{client}")),
        (false, format!("passing-{client}")),
        (client.is_multiple_of(2), "contested".to_owned()),
    ];
    async move {
        let mut done = Vec::new();
        for (adds, pattern) in steps {
            let grants = Some(pb::Grants { models: vec![pattern.clone()], ..Default::default() });
            let changed = if adds {
                keys.add_grants(pb::AddGrantsRequest { key_id, grants, etag: String::new() }).await
            } else {
                keys.remove_grants(pb::RemoveGrantsRequest { key_id, grants, etag: String::new() }).await
            };
            let pb::KeyMutationResponse { key, revision, .. } = changed.unwrap().into_inner();
            done.push(Done { adds, pattern, revision, answered: models_of(key) });
        }
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_that_change_one_keys_grants_end_with_what_their_answers_promised() {
    let app = App::start().await;
    let models =
        Some(pb::AccessRule { mode: pb::access_rule::Mode::Only.into(), patterns: vec!["first".into()] });
    let key = pb::Key { user_id: 1, display_name: "contested".into(), models, ..Default::default() };
    let (key, _) = app.create(key).await;
    let created = app.database.number("SELECT revision FROM revision_counter").await;
    let mut clients = JoinSet::new();
    for client in 0..50 {
        clients.spawn(change_models(&app, client, key.key_id).await);
    }
    let done: Vec<Done> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(done.len(), 300);

    let mut by_revision: BTreeMap<i64, Vec<&Done>> = BTreeMap::new();
    for done in &done {
        by_revision.entry(done.revision).or_default().push(done);
    }
    let mut models = models_of(Some(key.clone()));
    let mut expected_revision = created;
    for (revision, done) in &by_revision {
        // Whoever found it done already was answered with the same revision.
        let changes: BTreeSet<(bool, &String)> = done
            .iter()
            .filter(|change| change.adds != models.contains(&change.pattern))
            .map(|change| (change.adds, &change.pattern))
            .collect();
        assert!(changes.len() <= 1, "one change a revision: {changes:?}");
        for (adds, pattern) in changes {
            expected_revision += 1;
            if adds {
                models.insert(pattern.clone())
            } else {
                models.remove(pattern)
            };
        }
        assert_eq!(*revision, expected_revision, "only the changes took revisions, and all of them");
        for change in done {
            assert_eq!(change.answered, models, "the answers of revision {revision}");
            assert_eq!(models.contains(&change.pattern), change.adds);
        }
    }
    let get = pb::GetKeyRequest { key_id: key.key_id, ..Default::default() };
    let end = app.keys().get_key(get).await.unwrap().into_inner().key;
    assert_eq!(models_of(end), models);
    assert!((0..50).all(|client| models.contains(&format!("own-{client}"))));
    assert!((0..50).all(|client| !models.contains(&format!("passing-{client}"))));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_keys_made_at_once_all_work_and_are_all_different() {
    let app = Arc::new(App::start().await);
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let app = Arc::clone(&app);
        clients.spawn(async move {
            let (key, token) = app.create_any().await;
            let answer = app.ask(&token, pb::AuthorizeRequest::default()).await;
            assert_eq!(judged_key(&answer).key_id, key.key_id);
            (key.key_id, key.key_prefix, token)
        });
    }
    let made = clients.join_all().await;
    let ids: BTreeSet<_> = made.iter().map(|(id, _, _)| id).collect();
    let prefixes: BTreeSet<_> = made.iter().map(|(_, prefix, _)| prefix).collect();
    let tokens: BTreeSet<_> = made.iter().map(|(_, _, token)| token).collect();
    assert_eq!((ids.len(), prefixes.len(), tokens.len()), (50, 50, 50));
    Arc::into_inner(app).unwrap().stop().await;
}

/// Asks for a token until told to stop; fails on an ALLOW that was asked for after `denied` was set.
async fn ask_until(
    app: &App,
    token: &str,
    denied: &Arc<AtomicBool>,
    asked: &Arc<AtomicU64>,
    expected: &'static str,
) -> impl Future<Output = ()> + use<> {
    let (mut client, denied, asked) = (app.authorize(), Arc::clone(denied), Arc::clone(asked));
    let request = pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
    async move {
        let mut after = 0;
        while after < 3 {
            let was_denied = denied.load(Ordering::SeqCst);
            let answer = client.authorize(request.clone()).await.unwrap().into_inner();
            asked.fetch_add(1, Ordering::SeqCst);
            if was_denied {
                assert_eq!(denial(&answer).as_deref(), Some(expected), "allowed after the answer");
                after += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_allowed_after_the_answer_of_the_revoke() {
    let app = App::start().await;
    for round in 0..6_i64 {
        let user_id = 10 + round;
        let key = pb::Key { user_id, display_name: "racing".into(), ..Default::default() };
        let (key, token) = app.create(key).await;
        let (denied, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let by_owner = round % 2 == 1;
        let expected = if by_owner { "OWNER_DISABLED" } else { "KEY_REVOKED" };
        let mut askers = JoinSet::new();
        for _ in 0..4 {
            askers.spawn(ask_until(&app, &token, &denied, &asked, expected).await);
        }
        eventually("they ask", async || asked.load(Ordering::SeqCst) > 20).await;
        if by_owner {
            let disable = pb::DisableOwnerRequest { user_id, ..Default::default() };
            assert!(
                app.keys().disable_owner(disable).await.unwrap().into_inner().propagation.unwrap().complete
            );
        } else {
            let revoke = pb::RevokeKeyRequest { key_id: key.key_id, ..Default::default() };
            assert!(app.keys().revoke_key(revoke).await.unwrap().into_inner().propagation.unwrap().complete);
        }
        denied.store(true, Ordering::SeqCst);
        askers.join_all().await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_each_other_leave_decisions_alone() {
    let app = App::builder().flags(["--pool-size=6"]).start().await;
    let (contested, _) = app.create_any().await;
    let (_, token) = app.create_any().await;
    let mut session = app.database.session().await;
    let hold = format!("BEGIN; SELECT 1 FROM api_keys WHERE key_id = {} FOR UPDATE", contested.key_id);
    session.batch_execute(&hold).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..12 {
        let mut keys = app.keys();
        let grants = Some(pb::Grants { models: vec![format!("m-{writer}")], ..Default::default() });
        let add = pb::AddGrantsRequest { key_id: contested.key_id, grants, etag: String::new() };
        writers.spawn(async move { keys.add_grants(add).await.unwrap().into_inner().revision });
    }
    let blocked = "SELECT CASE WHEN count(*) >= 3 THEN 1 ELSE 0 END FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    app.database.until(blocked).await;
    for _ in 0..5 {
        assert_eq!(app.reason(&token).await, None);
    }
    session.batch_execute("COMMIT").await.unwrap();
    let revisions: BTreeSet<i64> = writers.join_all().await.into_iter().collect();
    assert_eq!(revisions.len(), 12, "and all of them are done in the end");
    app.stop().await;
}

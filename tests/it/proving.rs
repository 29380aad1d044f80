//! Proving tokens: bcrypt once, look-alikes never, and nothing lost with a pepper.

mod peppers;
mod races;

use keystile::grpc::pb;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{App, TestDatabase, eventually, judged_key, status_reason};
use crate::look_alikes;

/// Cheapest that bcrypt takes.
pub const COST: u32 = 4;

/// Stores an active key of user 1 with a token of an older system.
pub async fn import(database: &TestDatabase, key_id: i64, token: &str, cost: u32) {
    let hash = bcrypt::hash(token, cost).unwrap();
    let prefix = &token[..8];
    database
        .sql(&format!(
            "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, \
                 scopes, observe, revision, created_at, updated_at) \
             VALUES ({key_id}, 1, 'imported', '', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', 0, now(), now()); \
             INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
             VALUES ({key_id}, true, '{prefix}', '{hash}', true, now())"
        ))
        .await;
}

fn runs(app: &App) -> u64 {
    app.running.authorizer().bcrypt_runs()
}

async fn digests(database: &TestDatabase, key_id: i64) -> i64 {
    let query = "SELECT count(*) FROM key_digests JOIN key_secrets USING (secret_id)";
    database.number(&format!("{query} WHERE key_id = {key_id}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bcrypt_proves_an_imported_secret_once() {
    let app = App::start().await;
    let (one, other) = ("sk-older-0001-abcdefghijkl", "sk-newer-0002-abcdefghijkl");
    import(&app.database, 101, one, COST).await;
    import(&app.database, 102, other, COST).await;
    for _ in 0..100 {
        assert_eq!(app.reason(one).await, None);
    }
    assert_eq!(runs(&app), 1, "one call after the other");

    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let mut client = app.authorize();
        let request = pb::AuthorizeRequest { token: other.into(), ..Default::default() };
        calls.spawn(async move { judged_key(&client.authorize(request).await.unwrap().into_inner()).key_id });
    }
    assert!(calls.join_all().await.into_iter().all(|key_id| key_id == 102));
    assert_eq!(runs(&app), 2, "a hundred at once");
    assert_eq!((digests(&app.database, 101).await, digests(&app.database, 102).await), (1, 1));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_alike_is_never_taken_for_its_model_and_costs_nothing_once_that_has_its_digest() {
    let app = App::start().await;
    let (token, look_alike) = ("sk-older-0001-abcdefghijkl", "sk-older-0002-zyxwvutsrqpo");
    import(&app.database, 101, token, COST).await;
    let refused = async || {
        let asked = pb::AuthorizeRequest { token: look_alike.into(), ..Default::default() };
        let answer = app.authorize().authorize(asked).await.unwrap().into_inner();
        assert_eq!(answer.reason(), pb::authorize_response::Reason::KeyInvalid);
        assert_eq!((answer.key.len(), answer.warnings), (0, Vec::new()));
    };
    refused().await;
    assert_eq!((runs(&app), digests(&app.database, 101).await), (1, 0));
    assert_eq!(app.reason(token).await, None);
    assert_eq!(runs(&app), 2);
    for _ in 0..5 {
        refused().await;
        assert_eq!(app.reason(token).await, None);
    }
    assert_eq!(runs(&app), 2, "a mismatch with a digest is final");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_secrets_of_one_prefix_are_tried_lowest_id_first_and_a_ninth_once_one_has_its_digest() {
    let app = App::start().await;
    let token = |number: i64| format!("sk-same-{number:04}-abcdefghijkl");
    // Stored in another order than that of their ids.
    for number in [5, 9, 1, 8, 3, 7, 2, 6, 4] {
        import(&app.database, 100 + number, &token(number), COST).await;
    }
    let tried = async |number: i64, expected: Option<&str>| {
        let before = runs(&app);
        assert_eq!(app.reason(&token(number)).await.as_deref(), expected, "{number}");
        runs(&app) - before
    };
    assert_eq!(tried(9, Some("KEY_INVALID")).await, 8);
    assert_eq!(tried(1, None).await, 1);
    assert_eq!(tried(8, None).await, 7, "2 to 8");
    assert_eq!(tried(4, None).await, 3, "2 to 4");
    app.database.sql("UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE key_id = 102").await;
    assert_eq!(
        tried(9, None).await,
        5,
        "3, 5, 6, 7 and itself: those with a digest, or deleted, do not count"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_token_costs_no_bcrypt() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    // As if the pepper were lost: everything with this prefix would go to bcrypt.
    app.database.sql("DELETE FROM key_digests WHERE secret_id > 1").await;
    let wrong_checksum = look_alikes::broken_checksum(&token);
    assert!(wrong_checksum.starts_with(&key.key_prefix));
    let long = format!("{token}{}", "a".repeat(73));
    for not_one in
        ["", "short", &wrong_checksum, &long, "sk-with a space in it", "sk-with\u{e9}\u{e9}\u{e9}accents"]
    {
        assert_eq!(app.reason(not_one).await.as_deref(), Some("KEY_INVALID"), "{not_one:?}");
    }
    assert_eq!(runs(&app), 0);
    assert_eq!(app.reason(&token).await, None);
    assert_eq!(runs(&app), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_unknown_tokens_and_still_answers_known_ones() {
    let app = App::builder().flags(["--bcrypt-threads=1", "--bcrypt-queue=0"]).start().await;
    let (_, known) = app.create_any().await;
    // As slow as it gets, so that it is still running when the next one comes.
    import(&app.database, 101, "sk-slow-0001-abcdefghijkl", 14).await;
    import(&app.database, 102, "sk-fast-0002-abcdefghijkl", COST).await;
    let mut slow = app.authorize();
    let slow = tokio::spawn(async move {
        let asked = pb::AuthorizeRequest { token: "sk-slow-0001-abcdefghijkl".into(), ..Default::default() };
        slow.authorize(asked).await
    });
    eventually("bcrypt runs", async || runs(&app) == 1).await;

    let asked = pb::AuthorizeRequest { token: "sk-fast-0002-abcdefghijkl".into(), ..Default::default() };
    let refused = app.authorize().authorize(asked.clone()).await.unwrap_err();
    assert_eq!((refused.code(), status_reason(&refused)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    let key = pb::Key { user_id: 1, display_name: "new".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    app.keys().create_key(create).await.expect("making tokens has threads of its own");
    assert_eq!(app.reason(&known).await, None);
    assert!(!slow.is_finished(), "all that was while bcrypt ran");

    assert_eq!(judged_key(&slow.await.unwrap().unwrap().into_inner()).key_id, 101);
    app.authorize().authorize(asked).await.unwrap();
    assert_eq!(runs(&app), 2);
    app.stop().await;
}

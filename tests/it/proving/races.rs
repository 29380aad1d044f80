//! What happens to a key between its proof by bcrypt and the digest that is stored then.

use diesel_async::SimpleAsyncConnection as _;
use keystile::grpc::pb;
use tokio::task::JoinHandle;

use super::{COST, digests, import, runs};
use crate::harness::{App, denial};

const TOKEN: &str = "sk-older-0001-abcdefghijkl";
const NEXT: &str = "sk-older-0002-zyxwvutsrqpo";

/// Runs `change` on the secret of the imported key in a transaction that holds its row, while a call that has
/// proven the token waits to store its digest; then lets both go on. Returns the call's answer.
async fn changed_after_the_proof(app: &App, change: &str) -> pb::AuthorizeResponse {
    import(&app.database, 101, TOKEN, COST).await;
    let mut session = app.database.session().await;
    let hold = "BEGIN; SELECT 1 FROM key_secrets WHERE key_id = 101 FOR UPDATE";
    session.batch_execute(hold).await.unwrap();
    let mut client = app.authorize();
    let call: JoinHandle<pb::AuthorizeResponse> = tokio::spawn(async move {
        let request = pb::AuthorizeRequest { token: TOKEN.into(), ..Default::default() };
        client.authorize(request).await.unwrap().into_inner()
    });
    app.database.until_blocked().await;
    assert_eq!(runs(app), 1, "it was proven");
    session.batch_execute(&format!("{change}; COMMIT")).await.unwrap();
    call.await.unwrap()
}

fn insert_next(app_hash: &str) -> String {
    format!(
        "INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
         VALUES (101, true, 'sk-older', '{app_hash}', true, now())"
    )
}

fn next_hash() -> String {
    bcrypt::hash(NEXT, COST).unwrap()
}

/// The old token is nobody's, now and later; the new one works.
async fn assert_replaced(app: App, answer: pb::AuthorizeResponse) {
    assert_eq!(denial(&answer).as_deref(), Some("KEY_INVALID"));
    assert_eq!(digests(&app.database, 101).await, 0);
    assert_eq!(app.reason(TOKEN).await.as_deref(), Some("KEY_INVALID"));
    assert_eq!(app.reason(NEXT).await, None);
    assert_eq!(app.reason(TOKEN).await.as_deref(), Some("KEY_INVALID"));
    assert_eq!(digests(&app.database, 101).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_secret_was_replaced_is_not_resurrected() {
    let app = App::start().await;
    let change = format!("DELETE FROM key_secrets WHERE key_id = 101; {}", insert_next(&next_hash()));
    let answer = changed_after_the_proof(&app, &change).await;
    assert_replaced(app, answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_hash_was_replaced_is_not_resurrected() {
    let app = App::start().await;
    let change = format!("UPDATE key_secrets SET key_hash = '{}' WHERE key_id = 101", next_hash());
    let answer = changed_after_the_proof(&app, &change).await;
    assert_replaced(app, answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_rotated_away_with_grace_works_on() {
    let app = App::start().await;
    let grace = "UPDATE key_secrets SET is_current = false, expire_at = now() + interval '1 day' \
                 WHERE key_id = 101";
    let change = format!("{grace}; {}", insert_next(&next_hash()));
    let answer = changed_after_the_proof(&app, &change).await;
    assert_eq!(denial(&answer), None);
    assert_eq!(answer.warnings[0].kind(), pb::warning::Kind::OldTokenInGrace);
    assert_eq!(app.reason(NEXT).await, None);
    assert_eq!(digests(&app.database, 101).await, 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_during_the_proof_is_denied_as_revoked() {
    let app = App::start().await;
    let change = "UPDATE api_keys SET revoked_at = now() WHERE key_id = 101";
    let answer = changed_after_the_proof(&app, change).await;
    assert_eq!(denial(&answer).as_deref(), Some("KEY_REVOKED"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_purged_during_the_proof_is_unknown() {
    let app = App::start().await;
    let answer = changed_after_the_proof(&app, "DELETE FROM api_keys WHERE key_id = 101").await;
    assert_eq!(denial(&answer).as_deref(), Some("KEY_INVALID"));
    app.stop().await;
}

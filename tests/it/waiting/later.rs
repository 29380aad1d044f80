//! The wall clock is read after the state: what ended during a wait has ended.

use chrono::TimeDelta;

use super::ways::Way;
use super::{Deciding, KEY, whoever_loads, whoever_proves, whoever_reads_the_key_itself};

/// The key ends while a call waits for what `hold` holds.
async fn assert_expired(deciding: &Deciding, hold: &str, way: Way) {
    let end = deciding.clock.now() + TimeDelta::hours(1);
    deciding.database.sql(&format!("UPDATE api_keys SET expire_at = '{end}' WHERE key_id = {KEY}")).await;
    let call = way.go(deciding.authorizer.clone());
    let hours_pass = async || deciding.clock.advance(TimeDelta::hours(2));
    let answer = deciding.meanwhile(hold, call, hours_pass).await.unwrap();
    let expected = match way {
        Way::Authorize | Way::FilterModels | Way::Introspect => "Some(KeyExpired)",
        Way::Caller => "Unknown",
        Way::Certificate => "Certificate",
    };
    assert_eq!(answer, expected, "{way:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_while_it_is_loaded_has_ended() {
    whoever_loads(assert_expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_while_it_is_proven_has_ended() {
    whoever_proves(assert_expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_while_it_is_read_for_itself_has_ended() {
    whoever_reads_the_key_itself(assert_expired).await;
}

//! Trust is asked for again after every wait: what took longer than the lease is not used.

use keystile::authorize::AuthorizeError;
use keystile::cache::ReadAt;
use keystile::storage::Epoch;

use super::ways::Way;
use super::{Deciding, HOLD_LOADS, question, whoever_loads, whoever_proves, whoever_reads_the_key_itself};

/// The trust ends while a call waits for what `hold` holds.
async fn assert_too_old(deciding: &Deciding, hold: &str, way: Way) {
    let call = way.go(deciding.authorizer.clone());
    let end = deciding.meanwhile(hold, call, async || deciding.cache.distrust()).await;
    assert!(matches!(end, Err(AuthorizeError::StateTooOld)), "{way:?}: {end:?}");
    deciding.begin_anew().await;
    let end = way.go(deciding.authorizer.clone()).await;
    assert!(end.is_ok(), "{way:?}: nothing is wrong but that: {end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_when_the_trust_has_ended_is_not_decided_from() {
    whoever_loads(assert_too_old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bcrypt_has_proven_when_the_trust_has_ended_is_not_decided_from() {
    whoever_proves(assert_too_old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_for_a_key_itself_when_the_trust_has_ended_is_not_told() {
    whoever_reads_the_key_itself(assert_too_old).await;
}

/// A connection may lead to a database that another one has taken the place of.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_for_a_key_itself_in_another_epoch_is_not_told() {
    let deciding = Deciding::new().await;
    deciding.authorizer.authorize(&question()).await.unwrap();
    let call = Way::Introspect.go(deciding.authorizer.clone());
    let elsewhere = ReadAt { epoch: Epoch::new(1, 2), ..deciding.head().await };
    let moved = async || {
        deciding.cache.restart(elsewhere);
        deciding.trust();
    };
    let end = deciding.meanwhile(HOLD_LOADS, call, moved).await;
    assert!(matches!(end, Err(AuthorizeError::StateTooOld)), "{end:?}");
}

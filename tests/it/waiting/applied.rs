//! What a renewal has read is applied before it is trusted.

use std::sync::Arc;
use std::time::Duration;

use keystile::cache::{Follower, FollowerSettings, PROPAGATION_WAIT, Replicas, Wanted};
use keystile::policy::KeyId;
use keystile::storage::Store;
use keystile::storage::secrets::ProvenKey;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

use super::{Deciding, Gate, KEY, Opening};
use crate::harness::eventually;

static GATE: Gate = Gate::new();

fn slowly(_key: &ProvenKey) -> Box<[u8]> {
    GATE.pass();
    Box::default()
}

/// Renewals wait while the lock is held.
const WAITING: &str = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$; \
     CREATE TRIGGER wait BEFORE UPDATE ON replicas FOR EACH ROW EXECUTE FUNCTION wait()";

const LINE: &str = "BEGIN; UPDATE revision_counter SET revision = revision + 1; \
     INSERT INTO change_log (revision, subject, subject_id) SELECT revision, 'key', 1 FROM revision_counter; COMMIT";

/// While an entry is being made nothing can be applied.
#[tokio::test(flavor = "multi_thread")]
async fn trust_comes_after_what_its_renewal_has_read_is_applied() {
    let deciding = Deciding::describing(slowly).await;
    let (cache, database) = (&deciding.cache, &deciding.database);
    cache.distrust();
    database.sql(WAITING).await;
    let lock = database.hold("SELECT pg_advisory_xact_lock(1)").await;
    // On a runtime of its own, since it stands still while nothing can be applied.
    let (store, own) = (Store::new(&database.url().into(), 2).unwrap(), Arc::clone(cache));
    let joining = spawn_blocking(move || {
        let replicas = Replicas::new(store.clone(), Some(Arc::clone(&own)), PROPAGATION_WAIT, Arc::default());
        let settings = FollowerSettings { address: "here".to_owned(), staleness: Duration::from_secs(30) };
        let joining = Follower::join(store, own, replicas, settings, Arc::default());
        Builder::new_current_thread().enable_all().build().unwrap().block_on(joining).map(drop)
    });
    database.until_blocked().await;
    database.sql(LINE).await;
    let (loader, wanted) = (deciding.loader.clone(), Wanted::Key(KeyId::new(KEY).unwrap()));
    let load = tokio::spawn(async move { loader.load(wanted).await });
    let opening = Opening(&GATE);
    GATE.until_entered().await;
    lock.let_go().await;
    database.until("SELECT count(*) FROM replicas WHERE beat > 0").await;
    for _ in 0..50 {
        // Takes a moment, each.
        let head = deciding.head().await;
        assert!(cache.applied() < head.revision);
        assert!(!cache.is_trusted());
    }
    drop(opening);
    eventually("trusted", async || cache.is_trusted()).await;
    assert_eq!(cache.applied(), deciding.head().await.revision);
    load.await.unwrap().unwrap();
    joining.await.unwrap().unwrap();
}

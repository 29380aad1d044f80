//! What a load has read is judged for everybody who waits for it, and nobody joins it after that.

use keystile::cache::{LoadError, Loaded, ReadAt, Wanted};
use keystile::policy::KeyId;
use keystile::storage::Epoch;
use keystile::storage::secrets::ProvenKey;
use tokio::task::JoinSet;

use super::{Deciding, Gate, HOLD_LOADS, KEY, Opening};
use crate::harness::eventually;

static GATE: Gate = Gate::new();

fn slowly(_key: &ProvenKey) -> Box<[u8]> {
    GATE.pass();
    Box::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_a_load_that_was_judged() {
    let deciding = Deciding::describing(slowly).await;
    let load = || {
        let (loader, wanted) = (deciding.loader.clone(), Wanted::Key(KeyId::new(KEY).unwrap()));
        tokio::spawn(async move { loader.load(wanted).await })
    };
    let metrics = &deciding.metrics;
    let first = load();
    // Entries are made after the load was judged.
    let opening = Opening(&GATE);
    GATE.until_entered().await;
    let second = load();
    eventually("the second asks", async || metrics.queued.get() + metrics.joined.get() == 2).await;
    let joined = metrics.joined.get();
    drop(opening);
    assert_eq!(joined, 0, "what it would be given may have been changed since it was judged");
    for load in [first, second] {
        assert!(matches!(load.await.unwrap(), Ok(Loaded::Key(_))));
    }
}

/// Whatever it finds: a key, nobody, or a secret without a digest.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_waits_for_a_load_is_given_what_came_too_late() {
    for has_digest in [true, false] {
        let deciding = Deciding::new().await;
        if has_digest {
            deciding.give_digest().await;
        }
        let metrics = &deciding.metrics;
        let taken = || metrics.queued.get() + metrics.joined.get();
        let before = (taken(), metrics.joined.get());
        let nobodys = Wanted::Key(KeyId::new(1_000_000).unwrap());
        let wanted = [deciding.wanted(), deciding.wanted(), nobodys];
        let loader = deciding.loader.clone();
        let loads = async move {
            let loads = wanted.map(|wanted| {
                let loader = loader.clone();
                tokio::spawn(async move { loader.load(wanted).await })
            });
            JoinSet::from_iter(loads).join_all().await
        };
        let elsewhere = ReadAt { epoch: Epoch::new(1, 2), ..deciding.head().await };
        let moved = async || {
            eventually("all wait", async || taken() == before.0 + 3).await;
            deciding.cache.restart(elsewhere);
        };
        let answers = deciding.meanwhile(HOLD_LOADS, loads, moved).await;
        assert_eq!(metrics.joined.get(), before.1 + 1);
        for answer in answers {
            assert!(matches!(answer, Ok(Err(LoadError::Store(_)))), "{answer:?}");
        }
    }
}

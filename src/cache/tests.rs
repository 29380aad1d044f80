//! The cache as its users see it, and what happens at once on several threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::thread;

use chrono::DateTime;

use super::*;
use crate::policy::{
    AccessRule, Description, DisplayName, Key, KeyPolicy, Metadata, NamePattern, RateLimits, UserId,
};

const EPOCH: Epoch = Epoch::new(7, 1);
const SOON: Duration = Duration::from_secs(600);

fn revision(number: i64) -> Revision {
    Revision::new(number).unwrap()
}

fn key_id(id: i64) -> KeyId {
    KeyId::new(id).unwrap()
}

fn at(number: i64) -> ReadAt {
    ReadAt { epoch: EPOCH, revision: revision(number) }
}

fn token(number: u32) -> Lookup {
    let mut bytes = [0; 32];
    let mixed = spread(number.into()).to_le_bytes();
    bytes[..8].copy_from_slice(&mixed);
    Lookup::Token(Digest::from_slice(&bytes).unwrap())
}

fn line_of(number: i64, subject: Subject) -> Line {
    Line { revision: revision(number), subject: Some(subject), adds_tokens: false }
}

fn of_key(number: i64, id: i64) -> Line {
    line_of(number, Subject::Key(key_id(id)))
}

/// A key whose description in answers is the revision of its last change.
fn proven(id: i64, user_id: i64, changed: i64) -> ProvenKey {
    let key = Key {
        key_id: key_id(id),
        user_id: UserId::new(user_id).unwrap(),
        display_name: DisplayName::parse("key").unwrap(),
        description: Description::default(),
        tags: BTreeSet::new(),
        metadata: Metadata::parse(BTreeMap::new()).unwrap(),
        key_prefix: "ks_".to_owned(),
        policy: KeyPolicy {
            revoked: false,
            deleted: false,
            owner_disabled: false,
            expire_time: None,
            ips: AccessRule::Any,
            endpoints: AccessRule::Any,
            models: AccessRule::Any,
            chatbots: AccessRule::Any,
            scopes: BTreeSet::new(),
            permissions: BTreeSet::new(),
            observe: CheckSet::EMPTY,
        },
        rate_limits: RateLimits::default(),
        revoke_time: None,
        revoke_reason: Description::default(),
        delete_time: None,
        purge_time: None,
        create_time: DateTime::UNIX_EPOCH,
        update_time: DateTime::UNIX_EPOCH,
        revision: revision(changed),
    };
    ProvenKey { key, owner_rate_limits: RateLimits::default(), grace_end: None, budgets: Vec::new() }
}

fn describe(key: &ProvenKey) -> Box<[u8]> {
    Box::new(key.key.revision.get().to_le_bytes())
}

fn shown_revision(key: &CachedKey) -> i64 {
    i64::from_le_bytes(key.shown().try_into().unwrap())
}

fn cache_of(entries: usize, bytes: usize) -> Arc<KeyCache> {
    let cache = KeyCache::new(Settings {
        bounds: Bounds { entries, bytes, unknown: 1_600 },
        observe: CheckSet::EMPTY,
        describe,
        refresh: SOON,
        leases: crate::leases::Leases::new(crate::leases::WithoutStore::Refuse, Arc::default()),
        metrics: Arc::default(),
    });
    cache.restart(at(100));
    cache.trust_until(BootTime::now().plus(SOON));
    cache
}

fn cache() -> Arc<KeyCache> {
    cache_of(64_000, 1 << 30)
}

fn look(cache: &KeyCache, lookup: &Lookup) -> Cached {
    cache.view().expect("it is trusted").get(lookup)
}

fn is_there(cache: &KeyCache, lookup: &Lookup) -> bool {
    matches!(look(cache, lookup), Cached::Key(_))
}

#[test]
fn a_key_is_found_by_its_whole_digest_until_a_line_names_it() {
    let cache = cache();
    for id in [1, 2] {
        let number = u32::try_from(id).unwrap();
        cache.admit(token(number), at(100), Some(&proven(id, 9, 50))).unwrap();
    }
    cache.admit(Lookup::Key(key_id(1)), at(100), Some(&proven(1, 9, 50))).unwrap();
    assert!(is_there(&cache, &token(1)) && is_there(&cache, &Lookup::Key(key_id(1))));
    // One bit in the last byte.
    let Lookup::Token(digest) = token(1) else { panic!() };
    let mut look_alike = *digest.as_bytes();
    look_alike[31] ^= 1;
    let look_alike = Lookup::Token(Digest::from_slice(&look_alike).unwrap());
    assert!(matches!(look(&cache, &look_alike), Cached::Missing));
    cache.apply(&[of_key(101, 1)], revision(101));
    assert!(matches!(look(&cache, &token(1)), Cached::Missing));
    assert!(matches!(look(&cache, &Lookup::Key(key_id(1))), Cached::Missing));
    assert!(is_there(&cache, &token(2)));
    assert_eq!(cache.applied(), revision(101));
    assert_eq!(*cache.watch().borrow(), at(101));
}

#[test]
fn a_line_of_an_owner_drops_all_his_keys_and_a_line_of_everything_all() {
    let cache = cache();
    for (number, owner) in [(1, 8), (2, 8), (3, 9)] {
        let id = i64::from(number);
        cache.admit(token(number), at(100), Some(&proven(id, owner, 50))).unwrap();
    }
    cache.apply(&[line_of(101, Subject::Owner(UserId::new(8).unwrap()))], revision(101));
    assert!(!is_there(&cache, &token(1)) && !is_there(&cache, &token(2)) && is_there(&cache, &token(3)));
    assert_eq!(cache.settings.metrics.size().0, 3, "they go when their places are wanted");
    // Loaded again after the change, it stays.
    cache.admit(token(1), at(101), Some(&proven(1, 8, 101))).unwrap();
    assert!(is_there(&cache, &token(1)));
    cache.apply(&[Line { subject: None, ..of_key(102, 1) }], revision(102));
    assert!(!is_there(&cache, &token(1)) && !is_there(&cache, &token(3)));
    assert_eq!(cache.settings.metrics.size(), (0, 0));
}

#[test]
fn a_load_that_read_an_older_state_puts_nothing_back() {
    let cache = cache();
    cache.apply(&[of_key(101, 1)], revision(101));
    assert_eq!(cache.admit(token(1), at(100), Some(&proven(1, 9, 50))).unwrap_err(), TooOld);
    assert_eq!(cache.may_use(at(100), Some(&proven(1, 9, 50))), Err(TooOld));
    assert!(matches!(look(&cache, &token(1)), Cached::Missing));
    cache.admit(token(1), at(101), Some(&proven(1, 9, 101))).unwrap();
    assert!(is_there(&cache, &token(1)));
}

#[test]
fn nobodys_tokens_are_remembered_until_tokens_come_and_do_not_push_out_keys() {
    let cache = cache_of(64, 1 << 30);
    cache.admit(token(1), at(100), Some(&proven(1, 9, 50))).unwrap();
    for number in 2..100_000 {
        cache.admit(token(number), at(100), None).unwrap();
    }
    assert!(is_there(&cache, &token(1)));
    let known = (2..100_000).filter(|it| matches!(look(&cache, &token(*it)), Cached::Unknown)).count();
    assert!((1_000..=1_600).contains(&known), "{known} of the newest");
    assert!(matches!(look(&cache, &token(99_999)), Cached::Unknown));
    cache.apply(&[of_key(101, 1)], revision(101));
    assert!(matches!(look(&cache, &token(99_999)), Cached::Unknown));
    cache.apply(&[Line { adds_tokens: true, ..of_key(102, 2) }], revision(102));
    assert!(matches!(look(&cache, &token(99_999)), Cached::Missing));
    assert_eq!(cache.admit(token(99_999), at(101), None).unwrap_err(), TooOld);
}

#[test]
fn a_restart_drops_everything_and_trusts_nothing() {
    let cache = cache();
    cache.admit(token(1), at(100), Some(&proven(1, 9, 50))).unwrap();
    cache.admit(token(2), at(100), None).unwrap();
    let elsewhere = ReadAt { epoch: Epoch::new(7, 2), revision: revision(90) };
    cache.restart(elsewhere);
    assert!(cache.view().is_none() && !cache.is_trusted());
    cache.trust_until(BootTime::now().plus(SOON));
    assert!(matches!(look(&cache, &token(1)), Cached::Missing));
    assert!(matches!(look(&cache, &token(2)), Cached::Missing));
    assert_eq!(cache.view().unwrap().revision(), revision(90));
    // Revisions of the epoch before say nothing here, whatever their number.
    assert_eq!(cache.admit(token(1), at(100), Some(&proven(1, 9, 50))).unwrap_err(), TooOld);
    cache.admit(token(1), elsewhere, Some(&proven(1, 9, 50))).unwrap();
}

#[test]
fn it_is_trusted_until_the_instant_and_not_at_it() {
    let cache = cache();
    let instant = BootTime::now();
    cache.trust_until(instant);
    assert!(cache.view_at(BootTime::from_nanos(instant.as_nanos() - 1)).is_some());
    assert!(cache.view_at(instant).is_none());
    assert!(cache.view().is_none());
    cache.trust_until(BootTime::now().plus(SOON));
    assert!(cache.view().is_some());
    cache.distrust();
    assert!(cache.view().is_none());
    assert_eq!(cache.trust_left(), Duration::ZERO);
}

#[test]
fn hot_keys_survive_a_crowd_and_the_bounds_hold() {
    let cache = cache_of(6_400, 1 << 30);
    let hot: Vec<u32> = (0..1_000).collect();
    let load = |number: u32| {
        cache.admit(token(number), at(100), Some(&proven(i64::from(number) + 1, 9, 50))).unwrap();
    };
    hot.iter().copied().for_each(load);
    for crowd in 1_000..100_000 {
        load(crowd);
        // Each is used at least once in the time of a hundred others.
        let used = hot[usize::try_from(crowd).unwrap() % hot.len()];
        if crowd % 2 == 0 {
            let _used = look(&cache, &token(used));
            let _used = look(&cache, &token(used + 1));
        }
    }
    let (entries, _) = cache.settings.metrics.size();
    assert!((6_300..=6_400).contains(&entries), "{entries}");
    let left = hot.iter().filter(|it| is_there(&cache, &token(**it))).count();
    assert!(left >= 990, "{left} of the hot keys are left");
}

#[test]
fn an_entry_that_was_kept_is_of_no_use_once_it_is_changed_pushed_out_or_replaced() {
    let cache = cache_of(64, 1 << 30);
    let load = |number: u32| {
        let found = proven(i64::from(number) + 1, 9, 50);
        cache.admit(token(number), at(100), Some(&found)).unwrap().unwrap()
    };
    let still_has = |key: &CachedKey| cache.view().unwrap().still_has(key);
    let kept: Vec<_> = (0..1_000).map(load).collect();
    let there: Vec<bool> = (0..1_000).map(|number| is_there(&cache, &token(number))).collect();
    assert_eq!(kept.iter().map(|key| still_has(key)).collect::<Vec<_>>(), there);
    assert!(there.contains(&true) && there.contains(&false));
    let changed = load(1_000);
    let replaced = load(1_001);
    assert!(still_has(&changed) && still_has(&replaced));
    cache.apply(&[of_key(101, 1_001)], revision(101));
    assert!(!still_has(&changed));
    let instead = load(1_001);
    assert!(!still_has(&replaced) && still_has(&instead));
}

#[test]
fn bytes_are_bounded_too_and_equal_rules_are_counted_once() {
    let cache = cache_of(1_000_000, 64 * 10_000);
    let mut bytes = Vec::new();
    for number in 0..10_000 {
        let mut key = proven(i64::from(number) + 1, 9, 50);
        let own = NamePattern::parse(&format!("model-{}", number % 2)).unwrap();
        key.key.policy.models = AccessRule::only(vec![own]).unwrap();
        let entry = cache.admit(token(number), at(100), Some(&key)).unwrap().unwrap();
        bytes.push(entry.bytes());
    }
    assert!(bytes[0] > bytes[2] && bytes[1] > bytes[2], "the first of each kind brings the rules");
    assert!(bytes[2] <= 600, "{} bytes for a key", bytes[2]);
    let (entries, total) = cache.settings.metrics.size();
    assert!(total <= 64 * 10_000 && total > 64 * 9_000, "{total}");
    assert!(entries > 1_000);
}

#[test]
fn one_of_many_loads_an_old_entry_anew() {
    let mut settings = cache().settings.clone();
    settings.refresh = Duration::ZERO;
    let cache = KeyCache::new(settings);
    cache.restart(at(100));
    cache.trust_until(BootTime::now().plus(SOON));
    let key = cache.admit(token(1), at(100), Some(&proven(1, 9, 50))).unwrap().unwrap();
    let view = cache.view().unwrap();
    assert!(view.claims_refresh(&key));
    assert!(!view.claims_refresh(&key));
}

#[test]
fn a_revision_is_applied_when_the_last_of_its_lines_has_dropped_what_it_names() {
    let cache = cache();
    for round in 0..20_i64 {
        let (first, last) = (101 + round * 10_000, 100 + (round + 1) * 10_000);
        cache.admit(token(1), at(first - 1), Some(&proven(1, 9, 50))).unwrap();
        assert!(is_there(&cache, &token(1)));
        let mut lines: Vec<Line> = (first..last).map(|number| of_key(number, 2)).collect();
        lines.push(of_key(last, 1));
        thread::scope(|scope| {
            scope.spawn(|| cache.apply(&lines, revision(last)));
            while cache.view().unwrap().revision() < revision(last) {
                std::hint::spin_loop();
            }
            assert!(!is_there(&cache, &token(1)), "round {round}");
        });
    }
}

#[test]
fn what_is_looked_up_is_never_older_than_the_revision_that_was_applied_before() {
    const KEYS: i64 = 8;
    // Of each key, the revision of its last change: the store.
    let store = RwLock::new((100_i64, [100_i64; 8]));
    let cache = cache();
    let is_over = AtomicBool::new(false);
    let at_key = |id: i64| usize::try_from(id - 1).unwrap();
    thread::scope(|scope| {
        for worker in 0..3_u64 {
            let (cache, store, is_over) = (&cache, &store, &is_over);
            scope.spawn(move || {
                let mut looked = worker;
                let mut found = 0_u32;
                while !is_over.load(Ordering::Relaxed) || found == 0 {
                    looked += 1;
                    let id = i64::try_from(looked % 8).unwrap() + 1;
                    let lookup = token(u32::try_from(id).unwrap());
                    // What certainly is applied has been changed before.
                    let view = cache.view().unwrap();
                    let applied = view.revision().get();
                    match view.get(&lookup) {
                        Cached::Key(key) => {
                            found += 1;
                            let shown = shown_revision(&key);
                            let newest = store.read().unwrap().1[at_key(id)];
                            // The newest change of the key up to `applied` is in it.
                            assert!(shown >= newest || newest > applied, "{shown} {newest} {applied}");
                        }
                        Cached::Unknown => panic!("nothing unknown was read"),
                        Cached::Missing => {
                            let (read, changed) = {
                                let store = store.read().unwrap();
                                (store.0, store.1[at_key(id)])
                            };
                            if looked.is_multiple_of(3) {
                                thread::yield_now();
                            }
                            let _too_old = cache.admit(lookup, at(read), Some(&proven(id, 9, changed)));
                        }
                    }
                }
            });
        }
        for number in 101..20_000 {
            let id = number % KEYS + 1;
            {
                let mut store = store.write().unwrap();
                store.0 = number;
                store.1[at_key(id)] = number;
            }
            let subject = if number % 97 == 0 {
                Subject::Owner(UserId::new(9).unwrap())
            } else {
                Subject::Key(key_id(id))
            };
            cache.apply(&[line_of(number, subject)], revision(number));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

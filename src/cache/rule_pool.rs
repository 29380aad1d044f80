//! Equal rules are kept once: most keys are made from a template.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashTable;

use crate::policy::{KeyPolicy, KeySnapshot, Rules};

/// The pool is swept when it has grown to so many, and again when it has doubled since.
const SWEEP_AT: usize = 1_024;

/// Rules that keys in memory share.
#[derive(Debug)]
pub(super) struct RulePool {
    hasher: RandomState,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    rules: HashTable<(u64, Weak<Rules>)>,
    sweep_at: usize,
}

impl Default for RulePool {
    fn default() -> Self {
        let pool = Pool { rules: HashTable::new(), sweep_at: SWEEP_AT };
        Self { hasher: RandomState::new(), pool: Mutex::new(pool) }
    }
}

impl RulePool {
    /// The policy, compiled; and the bytes of what nobody else has.
    pub(super) fn share(&self, policy: &KeyPolicy) -> (KeySnapshot, usize) {
        let compiled = KeySnapshot::compile(policy);
        let hash = self.hasher.hash_one(compiled.rules());
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let is_equal = |rules: &Arc<Rules>| rules == compiled.rules();
        let known = pool.rules.find(hash, |(_, rules)| rules.upgrade().as_ref().is_some_and(is_equal));
        if let Some(rules) = known.and_then(|(_, rules)| rules.upgrade()) {
            return (compiled.sharing(rules), 0);
        }
        if pool.rules.len() >= pool.sweep_at {
            pool.rules.retain(|(_, rules)| rules.strong_count() > 0);
            pool.sweep_at = (2 * pool.rules.len()).max(SWEEP_AT);
        }
        let bytes = compiled.rules().bytes();
        pool.rules.insert_unique(hash, (hash, Arc::downgrade(compiled.rules())), |(hash, _)| *hash);
        (compiled, bytes)
    }
}

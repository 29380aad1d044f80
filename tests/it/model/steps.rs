//! Random steps, drawn so that they meet: few keys, few owners, few names.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use super::store::{Rule, Set, Store, Time};

/// What a step gives back of a resource that it has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Etag {
    /// None: whatever there is.
    None,
    /// The present one.
    Fresh,
    /// One of another state.
    Stale,
}

/// Members of sets.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    pub scopes: Set,
    pub permissions: Set,
    pub tags: Set,
    pub models: Set,
    pub chatbots: Set,
}

/// A new key.
#[derive(Clone, Debug)]
pub struct Draft {
    pub user_id: i64,
    pub name: String,
    pub scopes: Set,
    pub models: Rule,
    pub expire: Option<Time>,
}

/// A change by a mask.
#[derive(Clone, Debug)]
pub enum Change {
    Name(String),
    Description(String),
    Tags(Set),
    Scopes(Set),
    Models(Rule),
    PerMinute(Option<i64>),
    /// Mask `*`: what is not here is emptied.
    Everything {
        name: String,
        scopes: Set,
        models: Rule,
    },
}

/// One mutation.
#[derive(Clone, Debug)]
pub enum Step {
    Create(Draft),
    Update {
        key_id: i64,
        etag: Etag,
        change: Change,
    },
    Rotate {
        key_id: i64,
        etag: Etag,
        grace: TimeDelta,
    },
    Revoke {
        key_id: i64,
        etag: Etag,
        reason: String,
    },
    Reactivate {
        key_id: i64,
        etag: Etag,
    },
    Delete {
        key_id: i64,
        etag: Etag,
    },
    Undelete {
        key_id: i64,
        etag: Etag,
    },
    Grant {
        key_id: i64,
        etag: Etag,
        adds: bool,
        grants: Grants,
    },
    ExpireAt {
        key_id: i64,
        etag: Etag,
        time: Time,
    },
    ExpireIn {
        key_id: i64,
        etag: Etag,
        days: i32,
    },
    Extend {
        key_id: i64,
        etag: Etag,
        days: i32,
    },
    Never {
        key_id: i64,
        etag: Etag,
    },
    Owner {
        user_id: i64,
        disabled: bool,
        etag: Etag,
    },
    OwnerLimit {
        user_id: i64,
        per_minute: Option<i64>,
    },
    /// The clock moves, and the purge runs.
    Advance(TimeDelta),
}

impl Step {
    /// The key that it is about, where it is about one that is there.
    pub fn key_id(&self) -> Option<i64> {
        match self {
            Self::Update { key_id, .. }
            | Self::Rotate { key_id, .. }
            | Self::Revoke { key_id, .. }
            | Self::Reactivate { key_id, .. }
            | Self::Delete { key_id, .. }
            | Self::Undelete { key_id, .. }
            | Self::Grant { key_id, .. }
            | Self::ExpireAt { key_id, .. }
            | Self::ExpireIn { key_id, .. }
            | Self::Extend { key_id, .. }
            | Self::Never { key_id, .. } => Some(*key_id),
            Self::Create(_) | Self::Owner { .. } | Self::OwnerLimit { .. } | Self::Advance(_) => None,
        }
    }

    pub fn etag(&self) -> &Etag {
        match self {
            Self::Update { etag, .. }
            | Self::Rotate { etag, .. }
            | Self::Revoke { etag, .. }
            | Self::Reactivate { etag, .. }
            | Self::Delete { etag, .. }
            | Self::Undelete { etag, .. }
            | Self::Grant { etag, .. }
            | Self::ExpireAt { etag, .. }
            | Self::ExpireIn { etag, .. }
            | Self::Extend { etag, .. }
            | Self::Never { etag, .. }
            | Self::Owner { etag, .. } => etag,
            Self::Create(_) | Self::OwnerLimit { .. } | Self::Advance(_) => &Etag::None,
        }
    }
}

pub const OWNERS: [i64; 3] = [1, 2, 3];
const KEYS_MAX: usize = 12;
const NAMES: [&str; 4] = ["batch", "gateway", "search", "Großküche"];
const SCOPES: [&str; 4] = ["chat.completions", "chat.*", "embeddings.create", "*"];
const PERMISSIONS: [&str; 3] = ["read", "write", "chat"];
const TAGS: [&str; 3] = ["ci", "prod", "team-a"];
const MODELS: [&str; 4] = ["gpt-4o", "gpt-4o*", "o3", "claude*"];
const CHATBOTS: [&str; 2] = ["bot-1", "bot*"];

/// The source of steps.
pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn some(&mut self, of: &[&str]) -> Set {
        let count = self.0.random_range(0..=of.len().min(3));
        of.sample(&mut self.0, count).map(|&text| text.to_owned()).collect()
    }

    fn one(&mut self, of: &[&str]) -> String {
        (*of.choose(&mut self.0).unwrap()).to_owned()
    }

    fn rule(&mut self) -> Rule {
        if self.0.random_bool(0.4) { None } else { Some(self.some(&MODELS)) }
    }

    fn etag(&mut self) -> Etag {
        match self.0.random_range(0..10) {
            0..=5 => Etag::None,
            6..=8 => Etag::Fresh,
            _ => Etag::Stale,
        }
    }

    /// Soon, so that it comes within the sequence.
    fn time(&mut self, now: Time) -> Time {
        now + TimeDelta::hours(self.0.random_range(1..6))
    }

    fn advance(&mut self, store: &Store) -> Step {
        // The instants at which something happens are where mistakes are made: go there exactly.
        let ends = store.keys.values().flat_map(|key| {
            let purge = key.deleted.map(|deleted| deleted + super::store::restorable());
            [key.expire, key.previous.as_ref().map(|(_, end)| *end), purge]
        });
        let next = ends.flatten().filter(|end| *end > store.now).choose(&mut self.0);
        let delta = match (self.0.random_range(0..4), next) {
            (0 | 1, Some(end)) => end - store.now,
            (2, Some(end)) => end - store.now - TimeDelta::microseconds(1),
            _ => TimeDelta::seconds(self.0.random_range(1..40_000)),
        };
        Step::Advance(delta.max(TimeDelta::microseconds(1)))
    }

    fn grants(&mut self) -> Grants {
        let mut grants = Grants::default();
        match self.0.random_range(0..5) {
            0 => grants.scopes = self.some(&SCOPES),
            1 => grants.permissions = self.some(&PERMISSIONS),
            2 => grants.tags = self.some(&TAGS),
            3 => grants.chatbots = self.some(&CHATBOTS),
            _ => grants.models = self.some(&MODELS),
        }
        // An empty change is a faulty request, not a step.
        grants.scopes.extend(self.0.random_bool(0.3).then(|| SCOPES[0].to_owned()));
        let all = [&grants.scopes, &grants.permissions, &grants.tags, &grants.models, &grants.chatbots];
        if all.iter().all(|set| set.is_empty()) {
            grants.models = BTreeSet::from([MODELS[0].to_owned()]);
        }
        grants
    }

    fn change(&mut self) -> Change {
        match self.0.random_range(0..8) {
            0 => Change::Name(self.one(&NAMES)),
            1 => Change::Description(self.one(&["", "for tests", "for people"])),
            2 => Change::Tags(self.some(&TAGS)),
            3 => Change::Scopes(self.some(&SCOPES)),
            4 | 5 => Change::Models(self.rule()),
            6 => Change::PerMinute([None, Some(0), Some(1_000_000)].choose(&mut self.0).copied().unwrap()),
            _ => {
                Change::Everything { name: self.one(&NAMES), scopes: self.some(&SCOPES), models: self.rule() }
            }
        }
    }

    /// The next step.
    pub fn step(&mut self, store: &Store) -> Step {
        let room = store.keys.len() < KEYS_MAX;
        let (ids, etag) = (store.keys.keys().copied(), self.etag());
        let Some(key_id) = ids.choose(&mut self.0) else { return self.create(store.now) };
        // Now and then a key that never was, or is gone.
        let key_id = if self.0.random_bool(0.01) { 77_777 } else { key_id };
        let owner = *OWNERS.choose(&mut self.0).unwrap();
        match self.0.random_range(0..100) {
            0..=7 if room => self.create(store.now),
            0..=24 => Step::Update { key_id, etag, change: self.change() },
            25..=32 => {
                let hours = *[0, 0, 1, 24, 720].choose(&mut self.0).unwrap();
                Step::Rotate { key_id, etag, grace: TimeDelta::hours(hours) }
            }
            33..=38 => Step::Revoke { key_id, etag, reason: self.one(&["", "leaked", "left"]) },
            39..=45 => Step::Reactivate { key_id, etag },
            46..=49 => Step::Delete { key_id, etag },
            50..=53 => Step::Undelete { key_id, etag },
            54..=65 => Step::Grant { key_id, etag, adds: true, grants: self.grants() },
            66..=74 => Step::Grant { key_id, etag, adds: false, grants: self.grants() },
            75..=77 => Step::ExpireAt { key_id, etag, time: self.time(store.now) },
            78 => Step::ExpireIn { key_id, etag, days: self.0.random_range(1..4) },
            79..=81 => Step::Extend { key_id, etag, days: self.0.random_range(1..4) },
            82..=84 => Step::Never { key_id, etag },
            85..=86 => Step::Owner { user_id: owner, disabled: true, etag },
            87..=90 => Step::Owner { user_id: owner, disabled: false, etag },
            91 => Step::OwnerLimit {
                user_id: owner,
                per_minute: [None, Some(0), Some(1_000_000)].choose(&mut self.0).copied().unwrap(),
            },
            _ => self.advance(store),
        }
    }

    fn create(&mut self, now: Time) -> Step {
        Step::Create(Draft {
            user_id: *OWNERS.choose(&mut self.0).unwrap(),
            name: self.one(&NAMES),
            scopes: self.some(&SCOPES),
            models: self.rule(),
            expire: self.0.random_bool(0.3).then(|| self.time(now)),
        })
    }
}

//! What changes, and what follows from it for a question: a second opinion on decisions, as small as it can be.

use std::collections::BTreeSet;

/// One of the keys of a scenario, by its place.
pub type KeyAt = usize;
/// One of the owners of a scenario, by its place.
pub type OwnerAt = usize;

/// How many keys each owner has: the owner of key n is `n / KEYS_PER_OWNER`.
pub const KEYS_PER_OWNER: usize = 2;

/// What a key is granted at first, and what a change may take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    Endpoint,
    Scope,
    Model,
}

impl Grant {
    pub const ALL: [Self; 3] = [Self::Endpoint, Self::Scope, Self::Model];

    /// Why a request is denied that needs it where it is taken away.
    fn missing(self) -> &'static str {
        match self {
            Self::Endpoint => "ENDPOINT_NOT_ALLOWED",
            Self::Scope => "SCOPE_MISSING",
            Self::Model => "MODEL_NOT_ALLOWED",
        }
    }
}

/// What a change does, or takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    Deleted(KeyAt),
    Revoked(KeyAt),
    Disabled(OwnerAt),
    Without(KeyAt, Grant),
}

impl Stop {
    /// The owner whose keys it stops, or whose key.
    pub fn owner(self) -> OwnerAt {
        match self {
            Self::Disabled(owner) => owner,
            Self::Deleted(key) | Self::Revoked(key) | Self::Without(key, _) => key / KEYS_PER_OWNER,
        }
    }

    /// The keys whose answers it may change.
    pub fn keys(self) -> BTreeSet<KeyAt> {
        match self {
            Self::Disabled(owner) => (0..KEYS_PER_OWNER).map(|at| owner * KEYS_PER_OWNER + at).collect(),
            Self::Deleted(key) | Self::Revoked(key) | Self::Without(key, _) => [key].into(),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub key: KeyAt,
    /// What it needs beside a key that works.
    pub needs: BTreeSet<Grant>,
}

/// A decision: `None` is ALLOW, else the reason of the denial.
pub type Answer = Option<String>;

/// A state: what is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World(BTreeSet<Stop>);

impl World {
    /// Stops something, or takes that back.
    pub fn set(&mut self, stop: Stop, is_on: bool) {
        if is_on {
            self.0.insert(stop);
        } else {
            self.0.remove(&stop);
        }
    }

    /// Whether something is stopped.
    pub fn has(&self, stop: Stop) -> bool {
        self.0.contains(&stop)
    }

    /// What is stopped.
    pub fn stops(&self) -> impl Iterator<Item = Stop> {
        self.0.iter().copied()
    }

    /// The decision, in the order of the checks.
    pub fn answer(&self, question: &Question) -> Answer {
        let key = question.key;
        let reason = if self.has(Stop::Deleted(key)) {
            Some("KEY_INVALID")
        } else if self.has(Stop::Revoked(key)) {
            Some("KEY_REVOKED")
        } else if self.has(Stop::Disabled(key / KEYS_PER_OWNER)) {
            Some("OWNER_DISABLED")
        } else {
            let mut missing = question.needs.iter().filter(|grant| self.has(Stop::Without(key, **grant)));
            missing.next().map(|grant| grant.missing())
        };
        reason.map(str::to_owned)
    }
}

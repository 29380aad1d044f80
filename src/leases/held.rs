//! What is held of one subject, under its lock.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::BootTime;
use crate::limits::{Holding, OwnTime, Row, Subject, Terms};

/// The clock of holdings.
pub(super) fn now() -> OwnTime {
    BootTime::now().as_nanos()
}

/// A subject's holding, and the row that this replica goes on with where the store is away.
#[derive(Debug)]
pub(super) struct Held {
    subject: Subject,
    holding: Mutex<Holding>,
    own: Mutex<Own>,
    /// The store has a row of it, as far as is known.
    has_row: AtomicBool,
    /// So many questions about it are left to the second lane.
    left: AtomicU32,
}

/// What is needed without the store.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The limits, as they were loaded with the key.
    pub(super) terms: Terms,
    /// This replica's own counters.
    pub(super) row: Row,
}

impl Held {
    pub(super) fn new(subject: Subject) -> Arc<Self> {
        Arc::new(Self {
            subject,
            holding: Mutex::default(),
            own: Mutex::default(),
            has_row: AtomicBool::new(false),
            left: AtomicU32::new(0),
        })
    }

    pub(super) fn subject(&self) -> Subject {
        self.subject
    }

    pub(super) fn has_row(&self) -> bool {
        self.has_row.load(Ordering::Relaxed)
    }

    pub(super) fn note_row(&self, is_there: bool) {
        if self.has_row() != is_there {
            self.has_row.store(is_there, Ordering::Relaxed);
        }
    }

    /// Whether the second lane has a question about it.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// The second lane has one more, or one less.
    pub(super) fn note_left(&self, is_left: bool) {
        if is_left {
            self.left.fetch_add(1, Ordering::Relaxed);
        } else {
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Held for a few operations only, never while something is waited for.
    pub(super) fn lock(&self) -> MutexGuard<'_, Holding> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Held::lock`]; taken alone, or by key before owner.
    pub(super) fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

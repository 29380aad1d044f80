//! Holdings that may have something to be given back: looked at a few times a second, whatever else happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::held::{self, Held};
use crate::limits::Subject;

/// What is looked at. Only the lanes write here.
#[derive(Debug, Default)]
pub(super) struct Active(Mutex<HashMap<Subject, Arc<Held>>>);

impl Active {
    /// Something is held of these from now on.
    pub(super) fn add(&self, all: impl IntoIterator<Item = Arc<Held>>) {
        let mut active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        active.extend(all.into_iter().map(|held| (held.subject(), held)));
    }

    /// Those that have something to be given back now. What nothing is held of any more is not looked at again.
    pub(super) fn due(&self) -> Vec<Arc<Held>> {
        let now = held::now();
        let mut due = Vec::new();
        let mut active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        active.retain(|_, held| {
            let mut holding = held.lock();
            if holding.claims_return(now) {
                due.push(Arc::clone(held));
            }
            !holding.is_idle(now)
        });
        due
    }

    /// How many are looked at.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

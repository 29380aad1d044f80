//! From what is wanted and what is there to what is to be done. Pure: the same files and keys make the same
//! plan, and where a plan was carried out, the next one is empty.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::fault::{Fault, Place};
use super::field::{Field, Fields, Value};
use super::wanted::{State, Template, Wanted};
use crate::grpc::pb;

/// The keys of a server that the files may mean.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The keys of the owners that entries without a `key_id` name; none of them deleted.
    pub owned: Vec<pb::Key>,
    /// The keys that entries name by id, deleted ones too.
    pub by_id: BTreeMap<i64, pb::Key>,
}

/// What is to be done with the keys of the files, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One an entry.
    pub entries: Vec<Planned>,
}

/// What is to be done with one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Where the entry stands.
    pub place: Place,
    /// The key's owner.
    pub user_id: i64,
    /// The key's name, before any change.
    pub name: String,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done with a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// There is no such key, and there is to be one.
    Create {
        /// What is given.
        fields: Fields,
        /// Where the rest comes from.
        template: Option<Template>,
    },
    /// It is not as it is to be.
    Change {
        /// As it is now; its etag is what every step rests on.
        key: Box<pb::Key>,
        /// What differs.
        changes: Vec<Change>,
        /// What leads there.
        steps: Vec<Step>,
    },
    /// Nothing; the key's id, where there is one.
    Nothing(Option<i64>),
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub field: Field,
    /// What is there.
    pub from: Value,
    /// What is wanted.
    pub to: Value,
}

/// One call. Steps are carried out in this order: what takes away comes first, and a key works again only when
/// it is as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Delete the key; then there are no other steps.
    Delete,
    /// Revoke it for this reason.
    Revoke(String),
    /// Set these fields.
    Update(Fields),
    /// Let it end then, or (`None`) never.
    Expire(Option<DateTime<Utc>>),
    /// Let it work again.
    Reactivate,
}

/// What is done with a key in a word, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is made.
    Create,
    /// Fields, or its state from revoked to active.
    Change,
    /// It is revoked, and perhaps changed.
    Revoke,
    /// It is deleted.
    Delete,
    /// Nothing.
    Unchanged,
}

impl Planned {
    /// In a word.
    pub fn kind(&self) -> Kind {
        match &self.action {
            Action::Create { .. } => Kind::Create,
            Action::Nothing(_) => Kind::Unchanged,
            Action::Change { steps, .. } => match steps.first() {
                Some(Step::Delete) => Kind::Delete,
                Some(Step::Revoke(_)) => Kind::Revoke,
                _ => Kind::Change,
            },
        }
    }

    /// The key's id, where it has one already.
    pub fn key_id(&self) -> Option<i64> {
        match &self.action {
            Action::Create { .. } => None,
            Action::Change { key, .. } => Some(key.key_id),
            Action::Nothing(key_id) => *key_id,
        }
    }

    /// For people: `key 17 "ci" of owner 4`.
    pub fn title(&self) -> String {
        let id = self.key_id().map(|id| format!(" {id}")).unwrap_or_default();
        format!("key{id} {:?} of owner {}", self.name, self.user_id)
    }
}

impl Plan {
    /// How many keys something of this kind is done with.
    pub fn count(&self, kind: Kind) -> usize {
        self.entries.iter().filter(|entry| entry.kind() == kind).count()
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.count(Kind::Unchanged) == self.entries.len()
    }

    /// `2 to create, 1 to change, 0 to revoke, 0 to delete, 5 unchanged`.
    pub fn summary(&self) -> String {
        format!(
            "{} to create, {} to change, {} to revoke, {} to delete, {} unchanged",
            self.count(Kind::Create),
            self.count(Kind::Change),
            self.count(Kind::Revoke),
            self.count(Kind::Delete),
            self.count(Kind::Unchanged)
        )
    }
}

/// What is to be done, seen at `now`.
///
/// # Errors
/// Every entry that means no key or several, or wants what cannot be.
pub fn plan(wanted: &[Wanted], present: &Present, now: DateTime<Utc>) -> Result<Plan, Vec<Fault>> {
    let mut by_name: HashMap<(i64, &str), Vec<&pb::Key>> = HashMap::new();
    for key in &present.owned {
        by_name.entry((key.user_id, key.display_name.as_str())).or_default().push(key);
    }
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    let mut named: HashMap<i64, &Place> = HashMap::new();
    for entry in wanted {
        let planned = find(entry, present, &by_name).and_then(|key| {
            let earlier = key.and_then(|key| named.insert(key.key_id, &entry.place));
            match earlier {
                Some(earlier) => Err(format!("this key stands at {earlier} already: one entry a key")),
                None => plan_entry(entry, key, now),
            }
        });
        match planned {
            Ok(planned) => entries.push(planned),
            Err(what) => faults.push(Fault { place: entry.place.clone(), what }),
        }
    }
    if faults.is_empty() { Ok(Plan { entries }) } else { Err(faults) }
}

/// The key that an entry means.
fn find<'p>(
    entry: &Wanted,
    present: &'p Present,
    by_name: &HashMap<(i64, &str), Vec<&'p pb::Key>>,
) -> Result<Option<&'p pb::Key>, String> {
    if let Some(key_id) = entry.key_id {
        let found = present.by_id.get(&key_id);
        return match found {
            Some(key) if entry.user_id.is_some_and(|user_id| user_id != key.user_id) => Err(format!(
                "key {key_id} belongs to owner {}: apply moves no key to another owner",
                key.user_id
            )),
            Some(key) if key.delete_time.is_none() => Ok(Some(key)),
            // A key that is gone is as good as deleted.
            _ if entry.state == Some(State::Absent) => Ok(None),
            Some(_) => Err(format!(
                "key {key_id} is deleted: restore it with `keystile keys undelete {key_id}`, or take it out"
            )),
            None => Err(format!("there is no key {key_id}; leave key_id out to make a new one")),
        };
    }
    let named = entry.user_id.and_then(|user_id| by_name.get(&(user_id, entry.name())));
    match named.map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([key]) => Ok(Some(key)),
        Some(keys) => {
            let ids: Vec<_> = keys.iter().map(|key| key.key_id.to_string()).collect();
            Err(format!("several keys have this owner and name: say which one by key_id: {}", ids.join(", ")))
        }
    }
}

fn plan_entry(entry: &Wanted, key: Option<&pb::Key>, now: DateTime<Utc>) -> Result<Planned, String> {
    let action = match key {
        Some(key) => plan_present(entry, key, now)?,
        // What does not exist cannot be used: that is all that these ask for.
        None if matches!(entry.state, Some(State::Absent | State::Revoked)) => Action::Nothing(None),
        None => {
            check_expiry(entry.fields.get(&Field::ExpireTime), now)?;
            Action::Create { fields: entry.fields.clone(), template: entry.template.clone() }
        }
    };
    Ok(Planned {
        place: entry.place.clone(),
        user_id: key.map(|key| key.user_id).or(entry.user_id).unwrap_or_default(),
        name: key.map_or_else(|| entry.name().to_owned(), |key| key.display_name.clone()),
        action,
    })
}

fn plan_present(entry: &Wanted, key: &pb::Key, now: DateTime<Utc>) -> Result<Action, String> {
    let (changes, steps) = if entry.state == Some(State::Absent) {
        (Vec::new(), vec![Step::Delete])
    } else {
        let changes = changes(&entry.fields, key);
        let is_revoked = key.revoke_time.is_some();
        let mut steps = Vec::new();
        if entry.state == Some(State::Revoked) && !is_revoked {
            steps.push(Step::Revoke(entry.revoke_reason.clone()));
        }
        steps.extend(steps_of(&changes));
        if entry.state == Some(State::Active) && is_revoked {
            steps.push(Step::Reactivate);
        }
        (changes, steps)
    };
    for change in &changes {
        check_expiry((change.field == Field::ExpireTime).then_some(&change.to), now)?;
    }
    if steps.is_empty() {
        return Ok(Action::Nothing(Some(key.key_id)));
    }
    Ok(Action::Change { key: Box::new(key.clone()), changes, steps })
}

/// The fields of a key that are not as they are to be.
pub fn changes(wanted: &Fields, key: &pb::Key) -> Vec<Change> {
    let each = wanted.iter().map(|(field, to)| Change { field: *field, from: field.of(key), to: to.clone() });
    each.filter(|change| change.from != change.to).collect()
}

/// The calls that make these changes; state is not among them.
pub fn steps_of(changes: &[Change]) -> Vec<Step> {
    let mut fields: Fields = changes.iter().map(|change| (change.field, change.to.clone())).collect();
    let expiry = fields.remove(&Field::ExpireTime);
    let mut steps = Vec::new();
    if !fields.is_empty() {
        steps.push(Step::Update(fields));
    }
    if let Some(Value::Expiry(time)) = expiry {
        steps.push(Step::Expire(time));
    }
    steps
}

fn check_expiry(expiry: Option<&Value>, now: DateTime<Utc>) -> Result<(), String> {
    match expiry {
        Some(Value::Expiry(Some(time))) if *time <= now => {
            Err("expire_time has passed: a key is ended by state: revoked".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

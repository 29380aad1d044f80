//! What a filter asks of a key, in SQL: `k` is `api_keys`, `s` its current secret, `o` its owner's row, `u` its usage.

use chrono::{DateTime, Utc};

use super::KeyFilter;
use super::order::{KeyOrder, OrderField};
use crate::policy::{KeyState, NamePattern, Scope};
use crate::storage::StorageError;
use crate::storage::statement::{Bind, Statement};

/// Shorter texts have no run of three characters that an index could find.
const INDEXED_CHARS_MIN: usize = 3;

/// A filter in SQL.
pub(super) struct Conditions {
    /// Each with `?` for its values.
    tests: Vec<(String, Vec<Bind>)>,
    needs_secret: bool,
    needs_owner: bool,
    needs_usage: bool,
    /// An index finds what fits.
    pub(super) has_index: bool,
}

impl Conditions {
    pub(super) fn of(filter: &KeyFilter, now: DateTime<Utc>) -> Result<Self, StorageError> {
        let is_derived = |state: &KeyState| {
            matches!(state, KeyState::Active | KeyState::Expired | KeyState::OwnerDisabled)
        };
        let mut all = Self {
            tests: Vec::new(),
            needs_secret: !filter.key_prefix.is_empty(),
            needs_owner: filter.states.iter().any(is_derived),
            needs_usage: filter.last_used_after.is_some() || filter.last_used_before.is_some(),
            has_index: false,
        };
        all.add_sets(filter)?;
        all.add_texts(filter);
        all.add_times(filter);
        all.add_states(&filter.states, now);
        Ok(all)
    }

    fn add(&mut self, text: impl Into<String>, values: impl Into<Vec<Bind>>) {
        self.tests.push((text.into(), values.into()));
    }

    fn add_indexed(&mut self, text: &str, values: impl Into<Vec<Bind>>) {
        self.has_index = true;
        self.add(text, values);
    }

    fn add_sets(&mut self, filter: &KeyFilter) -> Result<(), StorageError> {
        if let Some(user_id) = filter.user_id {
            self.add_indexed("k.user_id = ?", [Bind::Number(user_id.get())]);
        }
        if let Some(tag) = &filter.tag {
            self.add_indexed("k.tags @> ?", [Bind::Texts(vec![tag.as_str().to_owned()])]);
        }
        if !filter.scope.is_empty() {
            self.add_indexed("k.scopes && ?", [Bind::Texts(Scope::all_granting(&filter.scope))]);
        }
        if !filter.model.is_empty() {
            let patterns = Bind::Texts(NamePattern::all_matching(&filter.model));
            self.add_indexed("(k.models IS NULL OR k.models && ?)", [patterns]);
        }
        if !filter.metadata.as_map().is_empty() {
            let wanted = serde_json::to_value(filter.metadata.as_map())
                .map_err(|error| StorageError::Defect(error.to_string()))?;
            self.add_indexed("k.metadata @> ?", [Bind::Json(wanted)]);
        }
        Ok(())
    }

    fn add_texts(&mut self, filter: &KeyFilter) {
        if !filter.key_prefix.is_empty() {
            let pattern = format!("{}%", escape_like(&filter.key_prefix));
            self.add_indexed("s.key_prefix LIKE ?", [Bind::Text(pattern)]);
        }
        let name = &filter.name_contains;
        if name.is_empty() {
            return;
        }
        if name.chars().count() >= INDEXED_CHARS_MIN {
            let trigrams = "name_trigrams(k.display_name) @> name_trigrams(?)";
            self.add_indexed(trigrams, [Bind::Text(name.clone())]);
        }
        self.add("k.display_name ILIKE ?", [Bind::Text(format!("%{}%", escape_like(name)))]);
    }

    fn add_times(&mut self, filter: &KeyFilter) {
        let expires = "coalesce(k.expire_at, 'infinity')";
        // The index knows minutes: it finds what may fit, the column says what does.
        let used = "coalesce(u.last_used_minute, '-infinity')";
        let minute = "date_bin('1 minute', ?, timestamptz '0001-01-01 00:00:00Z')";
        let times = [
            ("k.created_at >= ?".to_owned(), filter.created_after),
            ("k.created_at < ?".to_owned(), filter.created_before),
            (format!("{expires} >= ? AND {expires} < 'infinity'"), filter.expires_after),
            (format!("{expires} < ?"), filter.expires_before),
            (format!("{used} >= {minute} AND u.last_used_at >= ?"), filter.last_used_after),
            (
                format!("{used} < ? AND (u.last_used_at IS NULL OR u.last_used_at < ?)"),
                filter.last_used_before,
            ),
        ];
        for (text, time) in times {
            if let Some(time) = time {
                let binds = vec![Bind::Time(time); text.matches('?').count()];
                self.add_indexed(&text, binds);
            }
        }
    }

    fn add_states(&mut self, states: &[KeyState], now: DateTime<Utc>) {
        if states.is_empty() {
            return self.add("k.deleted_at IS NULL", []);
        }
        let has_own_column = |state: &KeyState| matches!(state, KeyState::Deleted | KeyState::Revoked);
        self.has_index |= states.iter().all(has_own_column)
            || matches!(states, [KeyState::OwnerDisabled] | [KeyState::Expired]);
        let texts: Vec<&str> = states.iter().map(|state| in_state(*state)).collect();
        let is_by_time = |state: &&KeyState| matches!(state, KeyState::Active | KeyState::Expired);
        let times: Vec<Bind> = states.iter().filter(is_by_time).map(|_| Bind::Time(now)).collect();
        self.add(format!("({})", texts.join(" OR ")), times);
    }

    /// Selects the places of the keys that fit; further conditions may follow.
    pub(super) fn select(&self, statement: &mut Statement, order: KeyOrder) {
        statement.add(&format!("SELECT {} FROM api_keys k", order.field.columns()), []);
        if self.needs_usage || order.field == OrderField::LastUsedTime {
            statement.add(" JOIN key_usage u ON u.key_id = k.key_id", []);
        }
        if self.needs_secret {
            statement.add(" JOIN key_secrets s ON s.key_id = k.key_id AND s.is_current", []);
        }
        if self.needs_owner {
            statement.add(" LEFT JOIN owners o ON o.user_id = k.user_id", []);
        }
        statement.add(" WHERE true", []);
        for (text, values) in &self.tests {
            statement.add(&format!(" AND {text}"), values.clone());
        }
    }
}

/// The same precedence as [`KeyPolicy::state`](crate::policy::KeyPolicy::state); a test compares them.
const fn in_state(state: KeyState) -> &'static str {
    match state {
        KeyState::Deleted => "k.deleted_at IS NOT NULL",
        KeyState::Revoked => "k.deleted_at IS NULL AND k.revoked_at IS NOT NULL",
        KeyState::OwnerDisabled => {
            "k.deleted_at IS NULL AND k.revoked_at IS NULL AND o.disabled_at IS NOT NULL"
        }
        KeyState::Expired => {
            "k.deleted_at IS NULL AND k.revoked_at IS NULL AND o.disabled_at IS NULL \
             AND coalesce(k.expire_at, 'infinity') <= ?"
        }
        KeyState::Active => {
            "k.deleted_at IS NULL AND k.revoked_at IS NULL AND o.disabled_at IS NULL \
             AND coalesce(k.expire_at, 'infinity') > ?"
        }
    }
}

/// `%`, `_` and `\` stand for themselves.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape_like;

    #[test]
    fn wildcards_of_like_stand_for_themselves() {
        assert_eq!(escape_like(r"50%_a\b"), r"50\%\_a\\b");
    }
}

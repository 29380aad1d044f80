//! What an import has to say about a row: warnings and rejections, each with a stable kind and one sentence.
//!
//! Rules: a sentence names the key and the column, and never holds a hash or a token; values that it quotes
//! are escaped and cut.

use std::fmt;

/// Characters of a value that a sentence quotes at most.
const QUOTED_CHARS_MAX: usize = 64;

/// Something about a row that was dropped or changed, though the key is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Identity of the key.
    pub key_id: i64,
    /// What kind of thing happened.
    pub kind: WarningKind,
    /// The column of the older system that it is about.
    pub field: &'static str,
    /// One plain sentence, with the key and the column.
    pub sentence: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// The kinds of [`Warning`]; their texts are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WarningKind {
    /// A name or description was cut or had control characters replaced.
    TextRepaired,
    /// A tag, or the whole list, was no valid tag.
    TagDropped,
    /// A permission whose value is not `true`; the older system took it as granted.
    PermissionNotTrue,
    /// A permission with a name that cannot be kept.
    PermissionInvalid,
    /// A reserved scope (`keystile.…`), which only the operator's keys may hold.
    ScopeReserved,
    /// A scope with a name that cannot be kept.
    ScopeInvalid,
    /// A value that holds `*`; it matched only literally before.
    WildcardDropped,
    /// A CIDR; it matched only literally before.
    CidrDropped,
    /// A pattern that cannot be kept.
    PatternInvalid,
    /// Every pattern of an access rule was dropped: the rule now allows nothing.
    NothingAllowed,
    /// A negative counter was taken as 0.
    CounterNegative,
    /// `is_unlimited` is false, but there is no limit: no budget is made.
    BudgetWithoutLimit,
    /// A negative budget was taken as 0.
    BudgetNegative,
    /// More keys share a prefix than are tried for a token: this one is not found before some of them were used.
    PrefixCrowded,
}

impl WarningKind {
    /// The stable text for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TextRepaired => "TEXT_REPAIRED",
            Self::TagDropped => "TAG_DROPPED",
            Self::PermissionNotTrue => "PERMISSION_NOT_TRUE",
            Self::PermissionInvalid => "PERMISSION_INVALID",
            Self::ScopeReserved => "SCOPE_RESERVED",
            Self::ScopeInvalid => "SCOPE_INVALID",
            Self::WildcardDropped => "WILDCARD_DROPPED",
            Self::CidrDropped => "CIDR_DROPPED",
            Self::PatternInvalid => "PATTERN_INVALID",
            Self::NothingAllowed => "NOTHING_ALLOWED",
            Self::CounterNegative => "COUNTER_NEGATIVE",
            Self::BudgetWithoutLimit => "BUDGET_WITHOUT_LIMIT",
            Self::BudgetNegative => "BUDGET_NEGATIVE",
            Self::PrefixCrowded => "PREFIX_CROWDED",
        }
    }
}

/// Why a row cannot be taken; the rest of the import goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Rejection {
    /// Identity of the key, as the row has it.
    pub key_id: i64,
    /// What kind of fault it is.
    pub kind: RejectionKind,
    /// The column of the older system that is at fault.
    pub field: &'static str,
    /// One plain sentence, with the key and the column.
    pub sentence: String,
}

/// The kinds of [`Rejection`]; their texts are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectionKind {
    /// `id` is below 1, or so high that new keys would run out of ids.
    IdOutOfRange,
    /// `user_id` is below 1.
    UserIdOutOfRange,
    /// `users` has no row of the owner.
    OwnerMissing,
    /// `key_prefix` is not 8 printable ASCII characters: its token could never be found.
    KeyPrefixInvalid,
    /// `key_hash` is no bcrypt hash that we can prove.
    KeyHashInvalid,
    /// A JSON column has a shape that it never had: what it granted cannot be told.
    ShapeUnknown,
    /// An access rule holds more patterns than a rule may.
    TooManyPatterns,
    /// A rate limit is below 1.
    RateLimitNotPositive,
    /// `budget_type` is neither `total` nor `monthly`.
    BudgetTypeUnknown,
    /// An amount of money does not fit into 64 bits of micros.
    AmountTooLarge,
    /// A text could not be made valid.
    TextInvalid,
    /// A value that its column's type allows, but not ours: an infinite time, JSON that cannot be parsed.
    ValueUnreadable,
    /// The source has the same id more than once.
    IdRepeated,
    /// A key that is here has the id, and it is another one.
    IdTaken,
    /// A key with the id was here and is purged; an id is never used again.
    IdPurged,
    /// The database refused the row.
    RefusedByDatabase,
}

impl Rejection {
    /// A rejection of the row `key_id`; `what` goes on after "key 7: column: ".
    pub(in crate::admin) fn new(
        key_id: i64,
        kind: RejectionKind,
        field: &'static str,
        what: impl fmt::Display,
    ) -> Self {
        Notes::new(key_id).reject(kind, field, what)
    }
}

impl RejectionKind {
    /// The stable text for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdOutOfRange => "ID_OUT_OF_RANGE",
            Self::UserIdOutOfRange => "USER_ID_OUT_OF_RANGE",
            Self::OwnerMissing => "OWNER_MISSING",
            Self::KeyPrefixInvalid => "KEY_PREFIX_INVALID",
            Self::KeyHashInvalid => "KEY_HASH_INVALID",
            Self::ShapeUnknown => "SHAPE_UNKNOWN",
            Self::TooManyPatterns => "TOO_MANY_PATTERNS",
            Self::RateLimitNotPositive => "RATE_LIMIT_NOT_POSITIVE",
            Self::BudgetTypeUnknown => "BUDGET_TYPE_UNKNOWN",
            Self::AmountTooLarge => "AMOUNT_TOO_LARGE",
            Self::TextInvalid => "TEXT_INVALID",
            Self::ValueUnreadable => "VALUE_UNREADABLE",
            Self::IdRepeated => "ID_REPEATED",
            Self::IdTaken => "ID_TAKEN",
            Self::IdPurged => "ID_PURGED",
            Self::RefusedByDatabase => "REFUSED_BY_DATABASE",
        }
    }
}

/// Collects the warnings about one row and words its rejection.
pub(super) struct Notes {
    key_id: i64,
    warnings: Vec<Warning>,
}

impl Notes {
    /// For the row with this id.
    pub(super) fn new(key_id: i64) -> Self {
        Self { key_id, warnings: Vec::new() }
    }

    /// Adds a warning; `what` goes on after "key 7: column: ".
    pub(super) fn warn(&mut self, kind: WarningKind, field: &'static str, what: impl fmt::Display) {
        let sentence = sentence(self.key_id, field, what);
        self.warnings.push(Warning { key_id: self.key_id, kind, field, sentence });
    }

    /// Words a rejection; `what` goes on after "key 7: column ".
    pub(super) fn reject(
        &self,
        kind: RejectionKind,
        field: &'static str,
        what: impl fmt::Display,
    ) -> Rejection {
        Rejection { key_id: self.key_id, kind, field, sentence: sentence(self.key_id, field, what) }
    }

    /// The warnings, in the order in which they were given.
    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }
}

fn sentence(key_id: i64, field: &str, what: impl fmt::Display) -> String {
    format!("key {key_id}: {field}: {what}")
}

/// A value fit to stand in a sentence: escaped, cut, and not shown at all where it looks like a hash.
pub(super) fn quoted(value: &str) -> String {
    if value.contains("$2") {
        return "(a value that looks like a hash)".to_owned();
    }
    let mut shown: String = value.chars().take(QUOTED_CHARS_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

//! Why an administrator's call failed, by what he can do about it.

use uuid::Uuid;

use crate::policy::{BudgetId, KeyId, Revision, UserId};
use crate::storage::StorageError;
use crate::token::BcryptError;

use super::{EtagOf, GrantField};

/// A refused or failed call. Changes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such key.
    #[error("key {0} does not exist")]
    KeyNotFound(KeyId),
    /// No key has this token (any more). Says nothing of the token.
    #[error("no key has this token")]
    TokenUnknown,
    /// There is no such owner: it has no keys, and never was changed.
    #[error("owner {0} has no keys and never was changed")]
    OwnerNotFound(UserId),
    /// There is no such budget.
    #[error("budget {0} does not exist")]
    BudgetNotFound(BudgetId),
    /// An update would change what a budget keeps for its whole life.
    #[error("cannot be changed: leave it out, or as it is; or create another budget")]
    BudgetFieldImmutable {
        /// Its path in the contract: `budget.period`.
        field: &'static str,
    },
    /// After an update, a budget would warn above its limit.
    #[error("must be 0 to limit_micros: lower or take away the warning, or raise the limit")]
    BudgetWarningAboveLimit,
    /// The key is deleted; undelete it first.
    #[error("key {0} is deleted")]
    KeyDeleted(KeyId),
    /// The time in which a deleted key can be restored is over.
    #[error("key {0} is deleted and its purge time has come: it cannot be restored")]
    PurgeDue(KeyId),
    /// The expiry would be later than the contract can say.
    #[error("the key would expire after the year 9999")]
    ExpirationTooLate,
    /// An update would change the expiry, which has methods of its own.
    #[error("is changed by SetExpiration, ExtendExpiration and ClearExpiration: leave it out, or as it is")]
    ExpireTimeByUpdate,
    /// The caller has given the same id to another request.
    #[error("request_id {0} belongs to another request")]
    RequestIdReused(Uuid),
    /// The resource has changed since the caller saw it: read it again.
    #[error("{0} has changed since it was read: its etag is another one now")]
    EtagMismatch(EtagOf),
    /// Nothing can be taken from a rule that allows anything.
    #[error("{} allows anything: nothing can be removed from it", .0.name())]
    RuleIsAny(GrantField),
    /// The set would grow past its bound.
    #[error("{} would hold more than {max} members", field.name())]
    SetTooLarge {
        /// Which.
        field: GrantField,
        /// Its bound.
        max: usize,
    },
    /// Only the operator's keys may hold reserved scopes.
    #[error("only keys of user 0 may hold scopes of keystile; this key belongs to user {0}")]
    ReservedScope(UserId),
    /// The operator cannot be disabled.
    #[error("user 0 is the operator and cannot be disabled")]
    OperatorOwner,
    /// The changes right after this revision are not kept any more.
    #[error("the changes after revision {0} are not kept any more: list the keys anew, and go on from there")]
    RevisionGone(Revision),
    /// There is no such revision yet.
    #[error("revision {after} has not come yet: the newest is {head}")]
    RevisionToCome {
        /// What was asked for.
        after: Revision,
        /// What there is.
        head: Revision,
    },
    /// Too much waits for bcrypt: try again later.
    #[error("too many tokens wait to be hashed")]
    Overloaded,
    /// bcrypt failed: a defect.
    #[error("bcrypt: {0}")]
    Bcrypt(BcryptError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StorageError),
}

impl From<BcryptError> for AdminError {
    fn from(error: BcryptError) -> Self {
        match error {
            BcryptError::Overloaded => Self::Overloaded,
            other => Self::Bcrypt(other),
        }
    }
}

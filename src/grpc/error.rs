//! The one table from what went wrong to what a caller is told.
//!
//! Every error carries `google.rpc.ErrorInfo` with a reason of [`ErrorReason`] and the domain `keystile`.
//! Messages say nothing of SQL, file paths or secrets: the log has those.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use super::violations::Violations;
use crate::admin::{AdminError, EtagOf};
use crate::authorize::{AuthorizeError, CallerError};
use crate::cache::LoadError;
use crate::storage::StorageError;

/// `ErrorInfo.domain` of every error.
pub const ERROR_DOMAIN: &str = "keystile";

const RETRY_SOON: Duration = Duration::from_secs(1);

/// `ErrorInfo.reason`: stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// Fields that the caller controls are out of their bounds; `BadRequest` names each.
    InvalidRequest,
    /// The bytes are no message of the contract.
    MalformedMessage,
    /// No `authorization: Bearer` metadata, and no client certificate that stands for a key.
    CallerTokenMissing,
    /// The service token, or the key of a client certificate, is unknown, revoked or expired.
    CallerTokenInvalid,
    /// The caller's key lacks the scope that the call needs.
    CallerScopeMissing,
    /// The caller's key may not be used from the peer's address.
    CallerAddressNotAllowed,
    /// No such key.
    KeyNotFound,
    /// No key has the token that was looked up.
    TokenUnknown,
    /// No such owner.
    OwnerNotFound,
    /// No such budget.
    BudgetNotFound,
    /// The key is deleted.
    KeyDeleted,
    /// The time in which a deleted key can be restored is over.
    KeyPurgeDue,
    /// The expiry would be later than the contract can say.
    ExpirationTooLate,
    /// Nothing can be removed from a rule that is ANY.
    RuleIsAny,
    /// The operator cannot be disabled.
    OperatorOwner,
    /// Only the operator's keys may hold reserved scopes.
    ReservedScope,
    /// A set would grow past its bound.
    SetTooLarge,
    /// The caller has given the same `request_id` to another request.
    RequestIdReused,
    /// The resource has changed since it was read.
    EtagMismatch,
    /// The change log does not reach back to the revision that was asked for, or not on to it.
    RevisionOutOfRange,
    /// The service sheds load.
    Overloaded,
    /// The message is longer than the service takes.
    MessageTooLarge,
    /// The database is out of reach.
    StoreUnavailable,
    /// Rate limits cannot be charged.
    LimitsUnavailable,
    /// The service is starting.
    Starting,
    /// The service or the connection ends, and with it a stream.
    Draining,
    /// `min_revision` was not reached in time.
    RevisionNotReached,
    /// The replica has not seen the changes of keys for too long.
    StateTooOld,
    /// This version does not serve the method.
    MethodNotServed,
    /// This version does not serve the field.
    FieldNotServed,
    /// The contract has no such method.
    MethodUnknown,
    /// The service does not take messages that are compressed so; `grpc-accept-encoding` tells what it takes.
    CompressionNotServed,
    /// Health was asked for a service that it does not know.
    ServiceUnknown,
    /// The caller's deadline came.
    DeadlineExceeded,
    /// The call was given up.
    Cancelled,
    /// A defect; the message has an id that is in the log.
    Defect,
}

impl ErrorReason {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::InvalidRequest,
        Self::MalformedMessage,
        Self::CallerTokenMissing,
        Self::CallerTokenInvalid,
        Self::CallerScopeMissing,
        Self::CallerAddressNotAllowed,
        Self::KeyNotFound,
        Self::TokenUnknown,
        Self::OwnerNotFound,
        Self::BudgetNotFound,
        Self::KeyDeleted,
        Self::KeyPurgeDue,
        Self::ExpirationTooLate,
        Self::RuleIsAny,
        Self::OperatorOwner,
        Self::ReservedScope,
        Self::SetTooLarge,
        Self::RequestIdReused,
        Self::EtagMismatch,
        Self::RevisionOutOfRange,
        Self::Overloaded,
        Self::MessageTooLarge,
        Self::StoreUnavailable,
        Self::LimitsUnavailable,
        Self::Starting,
        Self::Draining,
        Self::RevisionNotReached,
        Self::StateTooOld,
        Self::MethodNotServed,
        Self::FieldNotServed,
        Self::MethodUnknown,
        Self::CompressionNotServed,
        Self::ServiceUnknown,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::Defect,
    ];

    /// The gRPC code and the reason's name.
    #[must_use]
    pub const fn parts(self) -> (Code, &'static str) {
        match self {
            Self::InvalidRequest => (Code::InvalidArgument, "INVALID_REQUEST"),
            Self::MalformedMessage => (Code::InvalidArgument, "MALFORMED_MESSAGE"),
            Self::CallerTokenMissing => (Code::Unauthenticated, "CALLER_TOKEN_MISSING"),
            Self::CallerTokenInvalid => (Code::Unauthenticated, "CALLER_TOKEN_INVALID"),
            Self::CallerScopeMissing => (Code::PermissionDenied, "CALLER_SCOPE_MISSING"),
            Self::CallerAddressNotAllowed => (Code::PermissionDenied, "CALLER_ADDRESS_NOT_ALLOWED"),
            Self::KeyNotFound => (Code::NotFound, "KEY_NOT_FOUND"),
            Self::TokenUnknown => (Code::NotFound, "TOKEN_UNKNOWN"),
            Self::OwnerNotFound => (Code::NotFound, "OWNER_NOT_FOUND"),
            Self::BudgetNotFound => (Code::NotFound, "BUDGET_NOT_FOUND"),
            Self::KeyDeleted => (Code::FailedPrecondition, "KEY_DELETED"),
            Self::KeyPurgeDue => (Code::FailedPrecondition, "KEY_PURGE_DUE"),
            Self::ExpirationTooLate => (Code::FailedPrecondition, "EXPIRATION_TOO_LATE"),
            Self::RuleIsAny => (Code::FailedPrecondition, "RULE_IS_ANY"),
            Self::OperatorOwner => (Code::FailedPrecondition, "OPERATOR_OWNER"),
            Self::ReservedScope => (Code::FailedPrecondition, "RESERVED_SCOPE"),
            Self::SetTooLarge => (Code::FailedPrecondition, "SET_TOO_LARGE"),
            Self::RequestIdReused => (Code::AlreadyExists, "REQUEST_ID_REUSED"),
            Self::EtagMismatch => (Code::Aborted, "ETAG_MISMATCH"),
            Self::RevisionOutOfRange => (Code::OutOfRange, "REVISION_OUT_OF_RANGE"),
            Self::Overloaded => (Code::ResourceExhausted, "OVERLOADED"),
            Self::MessageTooLarge => (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            Self::StoreUnavailable => (Code::Unavailable, "STORE_UNAVAILABLE"),
            Self::LimitsUnavailable => (Code::Unavailable, "LIMITS_UNAVAILABLE"),
            Self::Starting => (Code::Unavailable, "STARTING"),
            Self::Draining => (Code::Unavailable, "DRAINING"),
            Self::RevisionNotReached => (Code::Unavailable, "REVISION_NOT_REACHED"),
            Self::StateTooOld => (Code::Unavailable, "STATE_TOO_OLD"),
            Self::MethodNotServed => (Code::Unimplemented, "METHOD_NOT_SERVED"),
            Self::FieldNotServed => (Code::Unimplemented, "FIELD_NOT_SERVED"),
            Self::MethodUnknown => (Code::Unimplemented, "METHOD_UNKNOWN"),
            Self::CompressionNotServed => (Code::Unimplemented, "COMPRESSION_NOT_SERVED"),
            Self::ServiceUnknown => (Code::NotFound, "SERVICE_UNKNOWN"),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Self::Cancelled => (Code::Cancelled, "CANCELLED"),
            Self::Defect => (Code::Internal, "DEFECT"),
        }
    }

    /// A status with this reason.
    #[must_use]
    pub fn status(self, message: impl Into<String>) -> Status {
        self.status_with(message, ErrorDetails::new())
    }

    fn status_with(self, message: impl Into<String>, mut details: ErrorDetails) -> Status {
        let (code, reason) = self.parts();
        details.set_error_info(reason, ERROR_DOMAIN, HashMap::new());
        let passes_soon = [
            Self::Overloaded,
            Self::StoreUnavailable,
            Self::LimitsUnavailable,
            Self::Starting,
            Self::Draining,
            Self::RevisionNotReached,
            Self::StateTooOld,
        ];
        if passes_soon.contains(&self) {
            details.set_retry_info(Some(RETRY_SOON));
        }
        Status::with_error_details(code, message, details)
    }

    fn not_found(self, kind: &str, name: String, message: String) -> Status {
        let mut details = ErrorDetails::new();
        details.set_resource_info(kind, name, "", message.clone());
        self.status_with(message, details)
    }

    fn precondition(self, subject: &str, message: String) -> Status {
        let mut details = ErrorDetails::new();
        details.add_precondition_failure_violation(self.parts().1, subject, message.clone());
        self.status_with(message, details)
    }
}

/// INVALID_ARGUMENT with every violation.
#[must_use]
pub fn invalid_request(violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    for violation in violations.iter() {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    ErrorReason::InvalidRequest.status_with(violations.summary(), details)
}

/// INVALID_ARGUMENT for one field that turned out to be wrong for the resource as it is.
fn invalid_field(field: &str, message: String) -> Status {
    let mut violations = Violations::default();
    violations.add(field, message);
    invalid_request(&violations)
}

/// UNIMPLEMENTED for a method of the contract.
#[must_use]
pub fn method_not_served(method: &str) -> Status {
    ErrorReason::MethodNotServed.status(format!("{method} is not served by this version"))
}

/// UNIMPLEMENTED for a field of the contract.
#[must_use]
pub fn field_not_served(field: &str) -> Status {
    ErrorReason::FieldNotServed.status(format!("{field} is not served by this version; leave it out"))
}

/// INTERNAL, with an id that is in the log beside what really happened.
#[must_use]
pub fn defect(what: &dyn std::fmt::Display) -> Status {
    let id = Uuid::new_v4();
    tracing::error!(defect.id = %id, error = %what, "a defect was met");
    ErrorReason::Defect.status(format!("internal error; the log has it under {id}"))
}

/// What a caller is told about a failure of the store.
#[must_use]
pub fn store(error: &StorageError) -> Status {
    match error {
        StorageError::Unavailable(_) => {
            tracing::warn!(error = %error, "a call found the store out of reach");
            ErrorReason::StoreUnavailable.status("the store is out of reach; try again")
        }
        StorageError::Overloaded => ErrorReason::Overloaded.status(error.to_string()),
        StorageError::Constraint { .. } | StorageError::Corrupt { .. } | StorageError::Defect(_) => {
            defect(error)
        }
    }
}

/// Whether an error of ours says that the store is out of reach.
#[must_use]
pub fn is_outage(status: &Status) -> bool {
    is_for(status, ErrorReason::StoreUnavailable)
}

/// Whether an error of ours says that limits of a key cannot be debited.
#[must_use]
pub fn is_limits_away(status: &Status) -> bool {
    is_for(status, ErrorReason::LimitsUnavailable)
}

fn is_for(status: &Status, reason: ErrorReason) -> bool {
    let (code, reason) = reason.parts();
    status.code() == code && status.get_details_error_info().is_some_and(|info| info.reason == reason)
}

/// DEADLINE_EXCEEDED.
#[must_use]
pub fn deadline() -> Status {
    ErrorReason::DeadlineExceeded.status("the deadline came; a write that has begun still completes")
}

/// UNAVAILABLE for a stream whose connection is to end.
#[must_use]
pub fn draining() -> Status {
    ErrorReason::Draining.status(
        "the replica is stopping, or the connection is too old; open the stream anew, on another connection",
    )
}

/// What a caller is told where no decision was made.
#[must_use]
pub fn authorize(error: AuthorizeError) -> Status {
    match error {
        AuthorizeError::Store(error) => store(&error),
        AuthorizeError::Load(LoadError::Store(error)) => store(&error),
        AuthorizeError::Load(LoadError::Overloaded | LoadError::InVain)
        | AuthorizeError::Overloaded
        | AuthorizeError::LimitsOverloaded
        | AuthorizeError::Throttled => ErrorReason::Overloaded.status(error.to_string()),
        AuthorizeError::LimitsAway => ErrorReason::LimitsUnavailable.status(error.to_string()),
        AuthorizeError::StateTooOld => ErrorReason::StateTooOld.status(error.to_string()),
        AuthorizeError::RevisionNotReached { .. } => {
            ErrorReason::RevisionNotReached.status(error.to_string())
        }
        AuthorizeError::Bcrypt(_) => defect(&error),
    }
}

/// What a caller is told who is not let in.
#[must_use]
pub fn caller(error: CallerError) -> Status {
    let message = error.to_string();
    match error {
        CallerError::Unknown | CallerError::Certificate => ErrorReason::CallerTokenInvalid.status(message),
        CallerError::Address(_) => ErrorReason::CallerAddressNotAllowed.status(message),
        CallerError::Scope(..) => ErrorReason::CallerScopeMissing.status(message),
        CallerError::Undecided(error) => authorize(error),
    }
}

/// What an administrator is told.
#[must_use]
pub fn admin(error: AdminError) -> Status {
    let message = error.to_string();
    match error {
        AdminError::KeyNotFound(key) => {
            ErrorReason::KeyNotFound.not_found("keystile.v1.Key", format!("keys/{key}"), message)
        }
        AdminError::TokenUnknown => ErrorReason::TokenUnknown.status(message),
        AdminError::PurgeDue(key) => ErrorReason::KeyPurgeDue.precondition(&format!("keys/{key}"), message),
        AdminError::ExpirationTooLate => ErrorReason::ExpirationTooLate.precondition("expire_time", message),
        AdminError::ExpireTimeByUpdate => invalid_field("key.expire_time", message),
        AdminError::BudgetFieldImmutable { field } => invalid_field(field, message),
        AdminError::BudgetWarningAboveLimit => invalid_field("budget.warning_micros", message),
        AdminError::RequestIdReused(_) => ErrorReason::RequestIdReused.status(message),
        AdminError::OwnerNotFound(user) => {
            ErrorReason::OwnerNotFound.not_found("keystile.v1.Owner", format!("owners/{user}"), message)
        }
        AdminError::BudgetNotFound(budget) => {
            ErrorReason::BudgetNotFound.not_found("keystile.v1.Budget", format!("budgets/{budget}"), message)
        }
        AdminError::KeyDeleted(key) => ErrorReason::KeyDeleted.precondition(&format!("keys/{key}"), message),
        AdminError::RuleIsAny(field) => ErrorReason::RuleIsAny.precondition(field.name(), message),
        AdminError::SetTooLarge { field, .. } => ErrorReason::SetTooLarge.precondition(field.name(), message),
        AdminError::ReservedScope(user) => {
            ErrorReason::ReservedScope.precondition(&format!("owners/{user}"), message)
        }
        AdminError::OperatorOwner => ErrorReason::OperatorOwner.precondition("owners/0", message),
        AdminError::EtagMismatch(of) => {
            let (kind, name) = match of {
                EtagOf::Key(key) => ("keystile.v1.Key", format!("keys/{key}")),
                EtagOf::Owner(user) => ("keystile.v1.Owner", format!("owners/{user}")),
                EtagOf::Budget(budget) => ("keystile.v1.Budget", format!("budgets/{budget}")),
            };
            let mut details = ErrorDetails::new();
            // The message says it already.
            details.set_resource_info(kind, name, "", "");
            ErrorReason::EtagMismatch.status_with(message, details)
        }
        AdminError::RevisionGone(_) | AdminError::RevisionToCome { .. } => {
            ErrorReason::RevisionOutOfRange.status(message)
        }
        AdminError::Overloaded => ErrorReason::Overloaded.status(message),
        AdminError::Bcrypt(_) => defect(&error),
        AdminError::Store(error) => store(&error),
    }
}

//! Why a command failed, for a person: one sentence, what it is about, and what to do next.
//!
//! The sentence is the server's own where the server answered; what to do next follows from the gRPC code
//! and from `google.rpc.ErrorInfo`. Nothing here is part of a contract: programs read exit codes.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::output::plain;
use super::time::format_seconds;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    sentence: String,
    details: Vec<String>,
    next: Option<String>,
}

impl Failure {
    /// One sentence, with its full stop.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), details: Vec::new(), next: None }
    }

    /// Says what to do next: one or two sentences, with their full stops.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Tells what a server's refusal means. `caller_known` says whether the call carried a token.
    #[must_use]
    pub fn of_status(status: &Status, caller_known: bool) -> Self {
        let details = status.get_error_details();
        let fields = wrong_fields(status, &details);
        let token_missing = details.error_info().is_some_and(|info| info.reason == "CALLER_TOKEN_MISSING");
        let sentence = match fields.len() {
            0 if token_missing => "No token of a caller was given.".to_owned(),
            0 => sentence(status),
            1 => "The request has a fault:".to_owned(),
            _ => "The request has faults:".to_owned(),
        };
        let details_told = if fields.is_empty() { unmet(status, &details) } else { fields };
        Self { sentence, details: details_told, next: next(status, &details, caller_known) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        self.details.iter().try_for_each(|detail| write!(f, "\n  {detail}"))?;
        self.next.iter().try_for_each(|next| write!(f, "\n{next}"))
    }
}

impl Error for Failure {}

fn sentence(status: &Status) -> String {
    if is_timeout(status) {
        return "The server did not answer in time.".to_owned();
    }
    if is_foreign(status) {
        return format!("The connection broke without an answer: {}.", root(status));
    }
    let message = plain(status.message());
    let message = message.trim().trim_end_matches('.');
    // When to is said next.
    let message = message.trim_end_matches("; try again");
    match (status.code(), message) {
        (code, "") => format!("The server answers with {code:?} and no message."),
        (Code::Internal | Code::Unknown | Code::DataLoss, message) => {
            format!("The server has a defect: {message}.")
        }
        (Code::Unavailable, message) => format!("The server cannot answer now: {message}."),
        (_, message) => format!("{message}."),
    }
}

/// The client's own timeout is a CANCELLED without details in tonic.
fn is_timeout(status: &Status) -> bool {
    let own = status.code() == Code::Cancelled && status.message() == "Timeout expired";
    own || status.code() == Code::DeadlineExceeded
}

/// Every wrong field in a line. The message says the same once more, but for how many are not named.
fn wrong_fields(status: &Status, details: &ErrorDetails) -> Vec<String> {
    let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
    let mut lines: Vec<_> =
        violations.map(|violation| format!("{}: {}", violation.field, violation.description)).collect();
    if let Some((_, more)) = status.message().rsplit_once("; and ").filter(|_| !lines.is_empty()) {
        // The message names fewer than the details: only what is beyond both is left unnamed.
        let named = lines.iter().filter(|line| status.message().contains(line.as_str())).count();
        let unnamed: Option<usize> = more.strip_suffix(" more").and_then(|count| count.parse().ok());
        let left = unnamed.map(|unnamed| (named + unnamed).saturating_sub(lines.len()));
        lines.extend(left.filter(|left| *left > 0).map(|left| format!("and {left} more")));
    }
    lines.iter().map(|line| plain(line)).collect()
}

/// What stands in the way, unless the message has said it already.
fn unmet(status: &Status, details: &ErrorDetails) -> Vec<String> {
    let unmet = details.precondition_failure().into_iter().flat_map(|unmet| &unmet.violations);
    let unmet = unmet.filter(|violation| violation.description != status.message());
    unmet.map(|violation| plain(&format!("{}: {}", violation.subject, violation.description))).collect()
}

/// Whether there is no answer of a Keystile server: the connection broke, or something else speaks there.
fn is_foreign(status: &Status) -> bool {
    let broke = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled);
    broke && status.source().is_some() && !is_timeout(status)
}

/// What lies at the bottom of an error.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    plain(&cause.to_string())
}

fn next(status: &Status, details: &ErrorDetails, caller_known: bool) -> Option<String> {
    let retry = details.retry_info().and_then(|retry| retry.retry_delay).map(format_seconds);
    if details.error_info().is_some_and(|info| info.reason == "STORE_UNAVAILABLE") {
        let when = retry.unwrap_or_else(|| "a moment".to_owned());
        return Some(format!(
            "A question can be asked again in {when}. A change that was asked for may have happened: look before you \
             repeat it."
        ));
    }
    if let Some(next) = details.error_info().and_then(|info| next_for_reason(&info.reason)) {
        return Some(next.to_owned());
    }
    if is_foreign(status) {
        return Some(FOREIGN.to_owned());
    }
    let next = match status.code() {
        _ if is_timeout(status) => {
            "A change that was asked for may have been made all the same: look before you repeat it. More time: \
             --timeout."
        }
        Code::Unauthenticated if caller_known => {
            "The token given by KEYSTILE_TOKEN, KEYSTILE_TOKEN_FILE or --token-file is not accepted: give one whose \
             key is active and has the scope for this command."
        }
        Code::Unauthenticated => TOKENS_COME_FROM,
        Code::PermissionDenied => {
            "Use the token of a key of owner 0 with that scope; keystile.admin allows every command. An administrator \
             makes one: `keystile keys create --user-id 0 --scope …`."
        }
        Code::InvalidArgument => "Nothing was done; correct that and run the command again.",
        Code::NotFound => {
            "Look at its number again: `keystile keys list` and `keystile owners list` show what there is."
        }
        Code::Aborted => {
            "It was changed in the meantime: read it again, and repeat the command with its new etag."
        }
        Code::FailedPrecondition => {
            "Nothing was done. `keystile keys get` and `keystile owners get` show how it stands."
        }
        Code::Unimplemented => "Leave that out, or ask a newer server.",
        Code::ResourceExhausted | Code::Unavailable => {
            return Some(retry.map_or_else(
                || "Try again in a moment.".to_owned(),
                |delay| format!("Try again in {delay}."),
            ));
        }
        Code::Internal | Code::Unknown | Code::DataLoss => "The server's log says more.",
        _ => return None,
    };
    Some(next.to_owned())
}

const TOKENS_COME_FROM: &str = "\
Give the token of a key that has the scope for this command, by KEYSTILE_TOKEN, KEYSTILE_TOKEN_FILE or --token-file.
The first administrator's token is in admin.token in the data directory of a server with a private PostgreSQL \
(`keystile check-config` says where); with a database of your own, `keystile bootstrap` makes it.";

const FOREIGN: &str = "\
Is that the gRPC port of a Keystile server? One that speaks TLS is named by https://…, one that does not by \
http://…: --server, KEYSTILE_SERVER.";

fn next_for_reason(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "KEY_NOT_FOUND" => {
            "`keystile keys list` shows the keys that there are; deleted ones with `--state deleted`."
        }
        "OWNER_NOT_FOUND" => "`keystile owners list` shows those that have keys or were changed.",
        "BUDGET_NOT_FOUND" => "`keystile budgets list` shows those that there are.",
        "TOKEN_UNKNOWN" => {
            "Look it up whole, as it was found; a token that was rotated away is known for its grace."
        }
        "KEY_DELETED" => "`keystile keys undelete` restores it; then it can be changed.",
        "KEY_PURGE_DUE" => "It is gone for good: make another key.",
        "REVISION_OUT_OF_RANGE" => {
            "`keystile keys list -o json` shows the keys as they are, and the revision to go on from."
        }
        "EXPIRATION_TOO_LATE" => {
            "Give fewer days, or let the key live without end: `keystile keys expire --never`."
        }
        "REQUEST_ID_REUSED" => "Give another request id, or repeat the request exactly as it was.",
        "RULE_IS_ANY" => {
            "Everything is allowed there, and nothing can be taken out of that: `keystile keys grant` turns the rule \
             into only what it adds."
        }
        "CALLER_ADDRESS_NOT_ALLOWED" => {
            "The token may be used from the addresses in its key's `ips` only: call from one of them, or use another."
        }
        "MESSAGE_TOO_LARGE" => "Nothing was done; it would be refused again. A message holds at most 4 MiB.",
        "OPERATOR_OWNER" => "Owner 0 is the operator: revoke its keys one by one.",
        "RESERVED_SCOPE" => {
            "Scopes keystile.* are for keys of owner 0: make one with --user-id 0, or leave the scope out."
        }
        "SET_TOO_LARGE" => {
            "Take something out with `keystile keys ungrant`, or say more with one pattern that ends in *."
        }
        "METHOD_NOT_SERVED" | "METHOD_UNKNOWN" => {
            "The server is older than this command line, or a newer version will serve that: update the server, or \
             use the command line that came with it."
        }
        "FIELD_NOT_SERVED" => "The server does not serve that yet: leave it out, or update the server.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::grpc::error::{ErrorReason, invalid_request};
    use crate::grpc::violations::Violations;

    fn told(status: &Status) -> String {
        Failure::of_status(status, true).to_string()
    }

    fn with_reason(code: Code, message: &str, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "keystile", HashMap::new());
        Status::with_error_details(code, message, details)
    }

    #[test]
    fn every_wrong_field_is_named() {
        let mut details =
            ErrorDetails::with_bad_request_violation("key.display_name", "must be 1 to 100 characters");
        details.add_bad_request_violation("key.ips.patterns[2]", "host bits are set");
        let status = Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details);
        assert_eq!(
            told(&status),
            "The request has faults:
  key.display_name: must be 1 to 100 characters
  key.ips.patterns[2]: host bits are set
Nothing was done; correct that and run the command again."
        );
    }

    #[test]
    fn no_fault_is_told_twice_and_the_unnamed_are_counted() {
        let mut violations = Violations::default();
        for number in 0..30 {
            violations.add(format!("key.tags[{number}]"), "must be 1 to 64 characters");
        }
        let told = told(&invalid_request(&violations));
        assert_eq!(told.matches("key.tags[0]: must be").count(), 1, "{told}");
        assert_eq!(told.matches("must be").count(), 20, "{told}");
        assert!(told.contains("\n  and 10 more\n"), "{told}");
        let mut violations = Violations::default();
        violations.add("key_id", "must be at least 1");
        assert_eq!(
            super::tests::told(&invalid_request(&violations)),
            "The request has a fault:\n  key_id: must be at least 1\nNothing was done; correct that and run the \
             command again."
        );
    }

    #[test]
    fn what_stands_in_the_way_is_told_once() {
        let mut details = ErrorDetails::with_error_info("KEY_DELETED", "keystile", HashMap::new());
        details.add_precondition_failure_violation("KEY_DELETED", "keys/17", "key 17 is deleted");
        let status = Status::with_error_details(Code::FailedPrecondition, "key 17 is deleted", details);
        assert_eq!(
            told(&status),
            "key 17 is deleted.\n`keystile keys undelete` restores it; then it can be changed."
        );
    }

    #[test]
    fn every_reason_that_a_person_can_do_something_about_says_what() {
        for reason in ErrorReason::ALL {
            let status = reason.status("it is so");
            let (code, name) = reason.parts();
            let failure = Failure::of_status(&status, true);
            assert!(failure.next.is_some() || code == Code::Cancelled, "{name}");
            if code == Code::FailedPrecondition {
                assert!(next_for_reason(name).is_some(), "{name} deserves words of its own");
            }
        }
    }

    #[test]
    fn the_reason_decides_what_to_do_next() {
        let status = with_reason(Code::NotFound, "there is no key 17", "KEY_NOT_FOUND");
        assert_eq!(
            told(&status),
            "there is no key 17.\n`keystile keys list` shows the keys that there are; deleted ones with `--state deleted`."
        );
        let status = with_reason(Code::FailedPrecondition, "the rule is ANY", "RULE_IS_ANY");
        assert!(told(&status).contains("`keystile keys grant`"));
    }

    #[test]
    fn a_caller_is_told_whether_its_token_is_missing_or_wrong() {
        let status = Status::unauthenticated("a token is needed");
        assert!(Failure::of_status(&status, true).to_string().contains("is not accepted"));
        assert!(Failure::of_status(&status, false).to_string().contains("Give the token of a key"));
        let denied = Status::permission_denied("the scope keystile.admin is needed");
        assert!(told(&denied).starts_with("the scope keystile.admin is needed.\nUse the token"));
        assert!(Failure::of_status(&status, false).to_string().contains("keystile bootstrap"));
    }

    #[test]
    fn a_loaded_server_says_when_to_come_again() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::Unavailable, "the store is out of reach", details);
        assert_eq!(
            told(&status),
            "The server cannot answer now: the store is out of reach.\nTry again in 1.5 s."
        );
        assert!(told(&Status::resource_exhausted("too many")).ends_with("Try again in a moment."));
    }

    #[test]
    fn a_change_that_meets_no_store_may_have_happened() {
        let told = told(&ErrorReason::StoreUnavailable.status("the store is out of reach; try again"));
        assert!(told.starts_with("The server cannot answer now: the store is out of reach.\n"), "{told}");
        assert!(told.ends_with("may have happened: look before you repeat it."), "{told}");
        assert!(!told.contains("try again"), "{told}");
    }

    #[test]
    fn a_timeout_warns_that_the_change_may_be_made() {
        for status in [Status::cancelled("Timeout expired"), Status::deadline_exceeded("too late")] {
            assert!(told(&status).starts_with("The server did not answer in time.\nA change"), "{status:?}");
        }
    }

    #[test]
    fn every_code_makes_a_sentence() {
        for code in 1..=16 {
            let told = told(&Status::new(Code::from_i32(code), ""));
            assert!(told.lines().all(|line| line.ends_with('.')), "{told}");
        }
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(told(&Status::already_exists("a\u{1b}[2Jb\n")), "a\u{fffd}[2Jb\u{fffd}.");
    }
}

//! The prefix by which an imported token is found, and the bound on how many keys may share one.

use std::collections::BTreeMap;

use super::finding::{Notes, quoted};
use super::{Rejection, RejectionKind, Warning, WarningKind};
use crate::policy::KeyId;

/// Characters of an imported token that make its prefix.
pub const PREFIX_CHARS: usize = 8;

/// Keys of one prefix that are tried for a token, lowest id first.
pub const PREFIX_CANDIDATES_MAX: usize = 8;

const FIELD: &str = "key_prefix";

/// The prefix, if a token can be found by it. It is not quoted when it is wrong: it may be a whole token.
pub(super) fn read(prefix: &str, notes: &Notes) -> Result<String, Rejection> {
    let printable = prefix.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if printable && prefix.len() == PREFIX_CHARS {
        return Ok(prefix.to_owned());
    }
    let what = format_args!(
        "must be the token's first {PREFIX_CHARS} characters, printable ASCII, or the token is never found"
    );
    Err(notes.reject(RejectionKind::KeyPrefixInvalid, FIELD, what))
}

/// Names every key whose token would never be found because [`PREFIX_CANDIDATES_MAX`] keys with lower ids
/// share its prefix; in order of their ids.
///
/// Give it all imported keys that will exist afterwards, whatever their state: those kept already and those
/// about to be inserted. A key given twice counts once.
pub fn name_ninths<'a>(keys: impl IntoIterator<Item = (KeyId, &'a str)>) -> Vec<Warning> {
    let by_id: BTreeMap<KeyId, &str> = keys.into_iter().collect();
    let mut candidates: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ninths = Vec::new();
    for (key_id, prefix) in by_id {
        let seen = candidates.entry(prefix).or_default();
        *seen += 1;
        if *seen > PREFIX_CANDIDATES_MAX {
            let mut notes = Notes::new(key_id.get());
            let what = format_args!(
                "{} is shared with {} keys of lower ids and only {PREFIX_CANDIDATES_MAX} are tried, so its \
                 token is not found before some of those were used; make a new key in its place",
                quoted(prefix),
                *seen - 1
            );
            notes.warn(WarningKind::PrefixCrowded, FIELD, what);
            ninths.extend(notes.into_warnings());
        }
    }
    ninths
}

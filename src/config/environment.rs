//! What all environment variables have in common: an empty one counts as unset, because deployment templates often
//! cannot leave one out.

use std::env;
use std::ffi::{OsStr, OsString};

/// A variable's value; `None` when it is unset or empty.
pub fn value_of(variable: impl AsRef<OsStr>) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

//! Scopes that are to be granted.
//!
//! Under `keystile.` there are three scopes and their wildcard. Another one would grant nothing for ever: a typing
//! error, which is refused where it is granted. It can be taken away, since a key from before may hold one.

use std::collections::BTreeSet;

use super::rules::read_set;
use crate::admin::GRANTS_MAX;
use crate::grpc::violations::Violations;
use crate::policy::{InvalidText, SCOPE_ADMIN, SCOPE_AUTHORIZE, SCOPE_READ, Scope};

/// All of Keystile's scopes at once.
const SCOPE_ALL: &str = "keystile.*";

/// Why a scope is not granted.
#[derive(Debug, thiserror::Error)]
pub enum ScopeFault {
    /// It is none.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// It lies under `keystile.`, where there is no such scope.
    #[error(
        "is no scope of Keystile: under keystile. there are keystile.authorize, keystile.read and keystile.admin"
    )]
    Unknown,
}

/// A scope that a key may be granted.
///
/// # Errors
/// [`ScopeFault`].
pub fn grantable(text: &str) -> Result<Scope, ScopeFault> {
    let scope = Scope::parse(text)?;
    let is_known = [SCOPE_AUTHORIZE, SCOPE_READ, SCOPE_ADMIN, SCOPE_ALL].contains(&scope.as_str());
    if scope.is_reserved() && !is_known { Err(ScopeFault::Unknown) } else { Ok(scope) }
}

/// The scopes that a key is to have.
pub fn read_scopes(violations: &mut Violations, field: &str, scopes: &[String]) -> BTreeSet<Scope> {
    read_set(violations, field, scopes, GRANTS_MAX, grantable)
}

#[cfg(test)]
mod tests {
    use super::grantable;

    #[test]
    fn under_keystile_only_its_own_scopes_are_granted() {
        for good in [
            "chat.auth",
            "*",
            "keystile",
            "keystile.authorize",
            "keystile.read",
            "keystile.admin",
            "keystile.*",
        ] {
            assert_eq!(grantable(good).unwrap().as_str(), good);
        }
        for bad in
            ["keystile.auth", "keystile.Admin", "keystile.admin.*", "keystile.admin.all", "keystile.reads"]
        {
            let fault = grantable(bad).unwrap_err().to_string();
            for known in ["keystile.authorize", "keystile.read", "keystile.admin"] {
                assert!(fault.contains(known), "{bad}: {fault}");
            }
        }
        assert!(!grantable("a..b").unwrap_err().to_string().contains("keystile"));
    }
}

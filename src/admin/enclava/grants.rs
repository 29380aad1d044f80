//! Permissions and scopes: what the key may do. A value that is dropped only ever takes something away.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::{Notes, quoted};
use super::{Options, Rejection, RejectionKind, SourceRow, WarningKind};
use crate::policy::{Permission, Scope};

/// Scopes whose names changed, old and new.
const SCOPE_NAMES: [(&str, &str); 2] =
    [("llm:chat", "chat.completions"), ("llm:embeddings", "embeddings.create")];

/// The granted permissions: names whose value is `true`, or every name of a list.
pub(super) fn permissions(row: &SourceRow, notes: &mut Notes) -> Result<BTreeSet<Permission>, Rejection> {
    const FIELD: &str = "permissions";
    let mut granted = BTreeSet::new();
    match &row.permissions {
        None | Some(Value::Null) => {}
        Some(Value::Object(values)) => {
            for (name, value) in values {
                if *value == Value::Bool(true) {
                    grant(&mut granted, name, notes);
                } else {
                    let what = format_args!(
                        "{} is not granted, since its value is not true; the older system took it as granted",
                        quoted(name)
                    );
                    notes.warn(WarningKind::PermissionNotTrue, FIELD, what);
                }
            }
        }
        Some(Value::Array(names)) => {
            for name in names {
                match name.as_str() {
                    Some(name) => grant(&mut granted, name, notes),
                    None => {
                        notes.warn(
                            WarningKind::PermissionInvalid,
                            FIELD,
                            "a value that is not a text is dropped",
                        );
                    }
                }
            }
        }
        Some(_) => {
            let what = "neither an object nor a list, so what it granted cannot be told";
            return Err(notes.reject(RejectionKind::ShapeUnknown, FIELD, what));
        }
    }
    Ok(granted)
}

fn grant(granted: &mut BTreeSet<Permission>, name: &str, notes: &mut Notes) {
    match Permission::parse(name) {
        Ok(permission) => {
            granted.insert(permission);
        }
        Err(fault) => {
            let what = format_args!("{} is dropped: a permission {fault}", quoted(name));
            notes.warn(WarningKind::PermissionInvalid, "permissions", what);
        }
    }
}

/// The granted scopes under their new names, without reserved ones.
pub(super) fn scopes(
    row: &SourceRow,
    options: &Options,
    notes: &mut Notes,
) -> Result<BTreeSet<Scope>, Rejection> {
    const FIELD: &str = "scopes";
    let values = match &row.scopes {
        None | Some(Value::Null) => return Ok(BTreeSet::new()),
        Some(Value::Array(values)) => values,
        Some(_) => {
            let what = "not a list, so what it granted cannot be told";
            return Err(notes.reject(RejectionKind::ShapeUnknown, FIELD, what));
        }
    };
    let mut granted = BTreeSet::new();
    for value in values {
        let Some(name) = value.as_str() else {
            notes.warn(WarningKind::ScopeInvalid, FIELD, "a value that is not a text is dropped");
            continue;
        };
        match read_scope(name, options) {
            Ok(scope) => {
                granted.insert(scope);
            }
            Err((kind, why)) => {
                notes.warn(kind, FIELD, format_args!("{} is dropped: {why}", quoted(name)));
            }
        }
    }
    Ok(granted)
}

fn read_scope(name: &str, options: &Options) -> Result<Scope, (WarningKind, String)> {
    let known = SCOPE_NAMES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    let parsed = Scope::parse(known);
    if parsed.as_ref().is_ok_and(Scope::is_reserved) {
        let why = "reserved scopes belong to the operator's own keys";
        return Err((WarningKind::ScopeReserved, why.to_owned()));
    }
    if known.contains('*') && !options.keep_wildcards {
        let why = "the older system compared it literally, so that as a wildcard it would grant more";
        return Err((WarningKind::WildcardDropped, why.to_owned()));
    }
    parsed.map_err(|fault| (WarningKind::ScopeInvalid, format!("a scope {fault}")))
}

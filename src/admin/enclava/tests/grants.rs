//! Permissions and scopes.

use serde_json::{Value, json};

use super::{converted_with, keep_wildcards, rejected, taken};
use crate::admin::enclava::{RejectionKind, WarningKind};

fn permissions(value: Option<Value>) -> (Vec<String>, Vec<WarningKind>) {
    let (key, warnings) = taken(|row| row.permissions = value);
    (key.permissions.iter().map(|permission| permission.as_str().to_owned()).collect(), warnings)
}

fn scopes(value: Option<Value>) -> (Vec<String>, Vec<WarningKind>) {
    let (key, warnings) = taken(|row| row.scopes = value);
    (key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(), warnings)
}

#[test]
fn only_permissions_whose_value_is_true_are_granted_and_the_others_are_named() {
    let mixed =
        json!({"read": true, "chat": false, "write": null, "embeddings": 1, "admin": "true", "x": [true]});
    assert_eq!(permissions(Some(mixed)), (vec!["read".to_owned()], vec![WarningKind::PermissionNotTrue; 5]));
}

#[test]
fn a_list_of_permissions_grants_its_names() {
    let list = json!(["read", "chat", "read", 7, "no spaces"]);
    let (granted, warnings) = permissions(Some(list));
    assert_eq!(granted, ["chat", "read"]);
    assert_eq!(warnings, [WarningKind::PermissionInvalid; 2]);
}

#[test]
fn no_permissions_are_none_and_an_unknown_shape_is_rejected() {
    for none in [None, Some(json!(null)), Some(json!({})), Some(json!([]))] {
        assert_eq!(permissions(none), (vec![], vec![]));
    }
    for shape in [json!("read"), json!(true), json!(1)] {
        assert_eq!(
            rejected(|row| row.permissions = Some(shape)),
            (RejectionKind::ShapeUnknown, "permissions")
        );
    }
}

#[test]
fn older_scope_names_become_the_new_ones() {
    let older = json!(["llm:chat", "llm:embeddings", "models.list", "llm:other"]);
    let (granted, warnings) = scopes(Some(older));
    assert_eq!(granted, ["chat.completions", "embeddings.create", "llm:other", "models.list"]);
    assert_eq!(warnings, []);
    assert_eq!(scopes(Some(json!(["llm:chat", "chat.completions"]))).0, ["chat.completions"]);
}

#[test]
fn reserved_scopes_are_never_taken_wildcards_kept_or_not() {
    let reserved = json!(["keystile.admin", "keystile.*", "keystile.a.b", "chat.completions"]);
    let (granted, warnings) = scopes(Some(reserved.clone()));
    assert_eq!(
        (granted, warnings),
        (vec!["chat.completions".to_owned()], vec![WarningKind::ScopeReserved; 3])
    );
    let kept =
        converted_with(&keep_wildcards(), |row| row.scopes = Some(reserved)).expect("the row is taken");
    assert_eq!(kept.key.scopes.len(), 1);
    assert!(
        kept.warnings[0].sentence.contains("\"keystile.admin\" is dropped"),
        "names it: {}",
        kept.warnings[0]
    );
}

#[test]
fn scopes_with_a_wildcard_are_dropped_unless_kept() {
    let wild = json!(["chat.*", "*", "models.list"]);
    let (granted, warnings) = scopes(Some(wild.clone()));
    assert_eq!((granted, warnings), (vec!["models.list".to_owned()], vec![WarningKind::WildcardDropped; 2]));
    let kept = converted_with(&keep_wildcards(), |row| row.scopes = Some(wild)).expect("the row is taken");
    let names: Vec<_> = kept.key.scopes.iter().map(|scope| scope.as_str()).collect();
    assert_eq!((names, kept.warnings), (vec!["*", "chat.*", "models.list"], vec![]));
}

#[test]
fn scopes_that_are_none_are_dropped_and_an_unknown_shape_is_rejected() {
    for none in [None, Some(json!(null)), Some(json!([]))] {
        assert_eq!(scopes(none), (vec![], vec![]));
    }
    let bad = json!(["a b", "", 7, null, "a..b", "x".repeat(129)]);
    assert_eq!(scopes(Some(bad)), (vec![], vec![WarningKind::ScopeInvalid; 6]));
    let kept = converted_with(&keep_wildcards(), |row| row.scopes = Some(json!(["chat*"])))
        .expect("the row is taken");
    assert_eq!((kept.key.scopes.len(), kept.warnings[0].kind), (0, WarningKind::ScopeInvalid));
    for shape in [json!("chat.completions"), json!({"chat": true}), json!(false)] {
        assert_eq!(rejected(|row| row.scopes = Some(shape)), (RejectionKind::ShapeUnknown, "scopes"));
    }
}

#[test]
fn a_value_that_looks_like_a_hash_is_not_quoted() {
    let row = |row: &mut crate::admin::enclava::SourceRow| row.scopes = Some(json!([super::HASH]));
    let warnings = super::converted(row).expect("the row is taken").warnings;
    assert_eq!(warnings[0].kind, WarningKind::ScopeInvalid);
    assert!(!warnings[0].sentence.contains("68NFsg9S"), "{}", warnings[0]);
}

//! Requests that the calling service gets wrong: each with its code, its reason and the paths of every fault.

mod authorize;
mod create_budgets;
mod create_key;
mod grants;
mod key_changes;
mod keys;
mod lists;

use keystile::grpc::pb;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{App, violated_fields};
use crate::raw::{Call, Connection, code_name, panics};

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_REQUEST");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "KEY_NOT_FOUND");
const ETAG_MISMATCH: (Code, &str) = (Code::Aborted, "ETAG_MISMATCH");

/// A bad request and what comes of it.
struct Row {
    what: String,
    method: &'static str,
    message: Vec<u8>,
    failure: (Code, &'static str),
    fields: Vec<&'static str>,
}

impl Row {
    /// INVALID_REQUEST with exactly these fields.
    fn invalid(what: &str, method: &'static str, message: &impl Message, fields: &[&'static str]) -> Self {
        Self { fields: fields.to_vec(), ..Self::refused(what, method, message, INVALID) }
    }

    /// Another failure, without fields.
    fn refused(
        what: &str,
        method: &'static str,
        message: &impl Message,
        failure: (Code, &'static str),
    ) -> Self {
        let message = message.encode_to_vec();
        Self { what: format!("{method}: {what}"), method, message, failure, fields: Vec::new() }
    }
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn many(count: usize, text: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(text).collect()
}

fn any(patterns: Vec<String>) -> Option<pb::AccessRule> {
    Some(pb::AccessRule { mode: pb::access_rule::Mode::Any.into(), patterns })
}

fn only(patterns: Vec<String>) -> Option<pb::AccessRule> {
    Some(pb::AccessRule { mode: pb::access_rule::Mode::Only.into(), patterns })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_told_all_that_is_wrong_with_it() {
    let app = App::start().await;
    let key = pb::Key {
        user_id: 7,
        display_name: "any".into(),
        tags: many(30, |n| format!("tag-{n}")),
        scopes: many(999, |n| format!("scope.{n}")),
        permissions: many(999, |n| format!("permission.{n}")),
        ..Default::default()
    };
    let (key, token) = app.create(key).await;
    let full = pb::Key { user_id: 7, display_name: "full".into(), ..Default::default() };
    let full = pb::Key { models: only(many(999, |n| format!("model-{n}"))), ..full };
    let (full, _) = app.create(full).await;
    let disable = pb::DisableOwnerRequest { user_id: keys::DISABLED, ..Default::default() };
    app.keys().disable_owner(disable).await.unwrap();
    let keys_before = app.database.number("SELECT count(*) FROM api_keys").await;
    let revision_before = app.database.number("SELECT revision FROM revision_counter").await;

    let mut rows = create_key::rows();
    rows.extend(create_budgets::rows());
    rows.extend(keys::rows(key.key_id));
    rows.extend(key_changes::rows(key.key_id));
    rows.extend(grants::rows(key.key_id, full.key_id));
    rows.extend(lists::rows());
    rows.extend(authorize::rows());
    assert!(rows.len() >= 100, "{} rows", rows.len());

    let connection = Connection::open(app.address()).await;
    let mut wrong = Vec::new();
    for row in &rows {
        let call = Call::to(&format!("keystile.v1.{}", row.method)).bearer(&app.admin_token);
        let answer = connection.call(call.body(crate::raw::frame(&row.message))).await;
        answer.assert_decent(&row.what, &[&app.admin_token, &token]);
        let fields = violated_fields(&answer.status);
        let expected = format!("{} {}", code_name(row.failure.0), row.failure.1);
        if answer.outcome() != expected || fields != row.fields {
            wrong.push(format!(
                "{}: {} {fields:?}, not {expected} {:?}",
                row.what,
                answer.outcome(),
                row.fields
            ));
        } else if row.failure == INVALID {
            assert!(!row.fields.is_empty(), "{}: says which fields", row.what);
            let bad = answer.status.get_details_bad_request().unwrap().field_violations;
            assert!(bad.iter().all(|violation| !violation.description.is_empty()), "{}", row.what);
            assert!(answer.status.message().contains(row.fields[0]), "{}: says so in words, too", row.what);
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));

    assert_eq!(app.database.number("SELECT count(*) FROM api_keys").await, keys_before, "no key was made");
    let revision = app.database.number("SELECT revision FROM revision_counter").await;
    assert_eq!(revision, revision_before, "nothing was changed");
    assert_eq!(app.reason(&token).await, None, "it serves on");
    assert_eq!(panics(), 0);
    app.stop().await;
}

//! Carries a plan out, key by key. One that fails does not keep the others from being changed.
//!
//! - Every call on a key carries the etag of what was shown, then that of the step before: what has changed
//!   meanwhile is left alone.
//! - A new key is asked for under a `request_id`, so that asking again after a lost answer makes no second one.
//!   Its token went with the lost answer; it gets a new one.

use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost_types::FieldMask;
use secrecy::SecretString;
use tonic::{Code, Status};
use uuid::Uuid;

use super::field::{Field, Fields};
use super::plan::{self, Action, Planned, Step};
use super::token_dir;
use super::wanted::Template;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::time::to_timestamp;
use crate::cli::token_file::TokenFile;
use crate::grpc::pb;
use crate::grpc::pb::create_key_request::Template as PbTemplate;
use crate::grpc::pb::set_expiration_request::Expiration;

/// How often a new key is asked for, where answers are lost.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What came of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The key.
    pub key_id: Option<i64>,
    /// Where the token of a new key is.
    pub token_file: Option<PathBuf>,
    /// What went wrong; steps before it may have been made.
    pub failure: Option<String>,
}

/// Does what is planned for one key. `token_dir` is there where keys are created.
pub async fn carry_out(client: &Client, entry: &Planned, token_dir: Option<&Path>) -> Done {
    let mut done = Done { key_id: entry.key_id(), ..Default::default() };
    let result = match &entry.action {
        Action::Nothing(_) => Ok(()),
        Action::Change { key, steps, .. } => take_steps(client, key.key_id, key.etag.clone(), steps).await,
        Action::Create { fields, template } => {
            let file = token_dir
                .ok_or_else(|| Failure::new("--token-dir is needed for the token of a new key."))
                .map(|dir| token_dir::path(dir, entry));
            match file {
                Ok(file) => create(client, entry.user_id, fields, template.as_ref(), &file, &mut done).await,
                Err(failure) => Err(failure),
            }
        }
    };
    done.failure = result.err().map(|failure| failure.to_string());
    done
}

async fn create(
    client: &Client,
    user_id: i64,
    fields: &Fields,
    template: Option<&Template>,
    path: &Path,
    done: &mut Done,
) -> Result<(), Failure> {
    let file = TokenFile::create(path)?;
    let mut created = ask_for(client, &request(user_id, fields, template)).await?;
    let Some(key) = created.key.take() else { return Err(Failure::new("The server's answer has no key.")) };
    done.key_id = Some(key.key_id);
    let mut etag = key.etag.clone();
    let mut token = SecretString::from(mem::take(&mut created.token));
    if secrecy::ExposeSecret::expose_secret(&token).is_empty() {
        // The answer with the token was lost, and nobody else has read it.
        (token, etag) =
            new_token(client, key.key_id, etag).await.map_err(|failure| lost(key.key_id, &failure))?;
    }
    file.write(&token).map_err(|error| lost(key.key_id, &error))?;
    done.token_file = Some(path.to_owned());
    // What is given as empty counts as not given where a template has something.
    let steps = plan::steps_of(&plan::changes(fields, &key));
    take_steps(client, key.key_id, etag, &steps).await
}

fn request(user_id: i64, fields: &Fields, template: Option<&Template>) -> pb::CreateKeyRequest {
    let mut key = pb::Key { user_id, ..Default::default() };
    for (field, value) in fields {
        field.put(value, &mut key);
    }
    pb::CreateKeyRequest {
        key: Some(key),
        template: template.map(|template| match template {
            Template::Default => PbTemplate::DefaultKey(pb::DefaultKeyTemplate {}),
            Template::Restricted => PbTemplate::RestrictedKey(pb::RestrictedKeyTemplate::default()),
            Template::Chatbot { id, name } => PbTemplate::ChatbotKey(pb::ChatbotKeyTemplate {
                chatbot_id: id.clone(),
                chatbot_name: name.clone(),
            }),
        }),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

/// Asks for a new key, again where the answer may have been lost.
async fn ask_for(client: &Client, request: &pb::CreateKeyRequest) -> Result<pb::CreateKeyResponse, Failure> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match client.keys().create_key(request.clone()).await {
            Ok(created) => return Ok(created.into_inner()),
            Err(status) if may_be_done(&status) => tokio::time::sleep(pause).await,
            Err(status) => return Err(client.failure(&status)),
        }
        pause *= 2;
    }
    let created = client.keys().create_key(request.clone()).await;
    created.map(tonic::Response::into_inner).map_err(|status| client.failure(&status))
}

/// Whether a call may have been carried out, or may be soon.
fn may_be_done(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted
    )
}

async fn new_token(client: &Client, key_id: i64, etag: String) -> Result<(SecretString, String), Failure> {
    let request =
        pb::RotateKeyRequest { key_id, grace_period: None, etag, request_id: Uuid::new_v4().to_string() };
    let rotated = client.keys().rotate_key(request).await.map_err(|status| client.failure(&status))?;
    let mut rotated = rotated.into_inner();
    let etag = rotated.key.take().map(|key| key.etag).unwrap_or_default();
    Ok((SecretString::from(mem::take(&mut rotated.token)), etag))
}

fn lost(key_id: i64, why: &impl ToString) -> Failure {
    let failure =
        Failure::new(format!("Key {key_id} was created, but its token was lost: {}", why.to_string()));
    failure.next(format!("Make a new one with `keystile keys rotate {key_id}`."))
}

async fn take_steps(client: &Client, key_id: i64, mut etag: String, steps: &[Step]) -> Result<(), Failure> {
    for (made, step) in steps.iter().enumerate() {
        let answer = take_step(client, key_id, mem::take(&mut etag), step).await;
        match answer {
            Ok(answer) => etag = answer.into_inner().key.map(|key| key.etag).unwrap_or_default(),
            Err(status) if status.code() == Code::Aborted => {
                let left = if made == 0 { "Nothing of it was changed" } else { "It was changed in part" };
                let failure = Failure::new(format!("Key {key_id} has changed meanwhile. {left}."));
                return Err(failure.next("Run the command again to see how it differs now."));
            }
            Err(status) => return Err(client.failure(&status)),
        }
    }
    Ok(())
}

async fn take_step(
    client: &Client,
    key_id: i64,
    etag: String,
    step: &Step,
) -> Result<tonic::Response<pb::KeyMutationResponse>, Status> {
    let mut keys = client.keys();
    match step {
        Step::Delete => keys.delete_key(pb::DeleteKeyRequest { key_id, etag }).await,
        Step::Revoke(reason) => {
            keys.revoke_key(pb::RevokeKeyRequest { key_id, reason: reason.clone(), etag }).await
        }
        Step::Reactivate => keys.reactivate_key(pb::ReactivateKeyRequest { key_id, etag }).await,
        Step::Expire(None) => keys.clear_expiration(pb::ClearExpirationRequest { key_id, etag }).await,
        Step::Expire(Some(time)) => {
            let expiration = Some(Expiration::ExpireTime(to_timestamp(*time)));
            keys.set_expiration(pb::SetExpirationRequest { key_id, expiration, etag }).await
        }
        Step::Update(fields) => {
            let mut key = pb::Key { key_id, ..Default::default() };
            for (field, value) in fields {
                field.put(value, &mut key);
            }
            let paths = fields.keys().map(|field: &Field| field.path().to_owned()).collect();
            let request = pb::UpdateKeyRequest {
                key: Some(key),
                update_mask: Some(FieldMask { paths }),
                etag,
                validate_only: false,
            };
            keys.update_key(request).await
        }
    }
}

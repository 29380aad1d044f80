//! The service, driven step by step, and compared with the model.

use std::collections::BTreeMap;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use tonic::{Response, Status};

use super::Seen;
use super::messages::{compare_key, compare_owner, grants, limits, list, rule, span, stamp, update};
use super::steps::{Draft, Etag, OWNERS, Step};
use super::store::{Effect, Key, Refusal, Set, Store};
use crate::harness::{App, Client, denial, status_reason};

/// Of no state of anything.
const STALE: &str = "r999999999";

pub struct Service<'a> {
    app: &'a App,
    keys: KeyServiceClient<Client>,
    authorize: AuthorizeServiceClient<Client>,
}

type Changed = Result<Response<pb::KeyMutationResponse>, Status>;

impl<'a> Service<'a> {
    pub fn new(app: &'a App) -> Self {
        Self { app, keys: app.keys(), authorize: app.authorize() }
    }

    /// Does a step on both, and compares what came of it.
    pub async fn compare(
        &mut self,
        step: &Step,
        store: &mut Store,
        context: &str,
    ) -> Result<Effect, Refusal> {
        match step {
            Step::Create(draft) => {
                self.create(draft, store, context).await;
                Ok(Effect::Changed)
            }
            Step::Owner { user_id, disabled, etag } => {
                let (user_id, disabled) = (*user_id, *disabled);
                let etag = given(etag, store.owners.get(&user_id).map_or("", |owner| owner.etag.as_str()));
                let expected = store.set_disabled(user_id, disabled, step.etag());
                let answer = if disabled {
                    self.keys.disable_owner(pb::DisableOwnerRequest { user_id, etag }).await
                } else {
                    self.keys.enable_owner(pb::EnableOwnerRequest { user_id, etag }).await
                };
                self.compare_owner(user_id, answer, store, expected, context)
            }
            Step::OwnerLimit { user_id, per_minute } => {
                let rate_limits = limits(*per_minute);
                let request =
                    pb::SetOwnerLimitsRequest { user_id: *user_id, rate_limits, etag: String::new() };
                let answer = self.keys.set_owner_limits(request).await;
                let expected = Ok(store.set_owner_limit(*user_id, *per_minute));
                self.compare_owner(*user_id, answer, store, expected, context)
            }
            step => {
                let key_id = step.key_id().unwrap();
                let before = store.keys.get(&key_id).map_or("", |key| key.etag.as_str()).to_owned();
                let (answer, token) = self.change(key_id, step, &before).await;
                let expected = store.apply(step);
                let answer = match (answer, expected) {
                    (Ok(answer), Ok(_)) => answer.into_inner(),
                    (Err(status), Err(refusal)) => {
                        assert_eq!(status_reason(&status), refusal, "{context}");
                        return expected;
                    }
                    (answer, expected) => panic!("{context}: {answer:?}, but the model says {expected:?}"),
                };
                let model = store.keys.get_mut(&key_id).unwrap();
                model.token = token.unwrap_or_else(|| model.token.clone());
                let key = answer.key.unwrap();
                let changed = expected == Ok(Effect::Changed);
                assert_eq!(key.etag != before, changed, "{context}: an etag changes with a change");
                model.etag.clone_from(&key.etag);
                assert!(answer.propagation.unwrap().complete, "{context}");
                compare_key(store, key_id, key, context);
                expected
            }
        }
    }

    async fn create(&mut self, draft: &Draft, store: &mut Store, context: &str) {
        let Draft { user_id, name, scopes, models, expire } = draft;
        let key = pb::Key {
            user_id: *user_id,
            display_name: name.clone(),
            scopes: list(scopes),
            models: rule(models),
            expire_time: expire.map(stamp),
            ..Default::default()
        };
        let request = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
        let answer =
            self.keys.create_key(request).await.unwrap_or_else(|status| panic!("{context}: {status:?}"));
        let pb::CreateKeyResponse { key, token, .. } = answer.into_inner();
        let key = key.unwrap();
        let model = Key {
            user_id: *user_id,
            name: name.clone(),
            description: String::new(),
            tags: Set::new(),
            scopes: scopes.clone(),
            permissions: Set::new(),
            models: models.clone(),
            chatbots: None,
            per_minute: None,
            expire: *expire,
            revoked: None,
            deleted: None,
            token,
            previous: None,
            created: store.now,
            updated: store.now,
            etag: key.etag.clone(),
            ended: Vec::new(),
        };
        assert!(store.keys.insert(key.key_id, model).is_none(), "{context}: an id was given twice");
        compare_key(store, key.key_id, key, context);
    }

    async fn change(&mut self, key_id: i64, step: &Step, fresh: &str) -> (Changed, Option<String>) {
        let etag = given(step.etag(), fresh);
        let keys = &mut self.keys;
        let answer = match step {
            Step::Rotate { grace, .. } => {
                let grace_period = Some(span(*grace));
                let request = pb::RotateKeyRequest { key_id, grace_period, etag, request_id: String::new() };
                return match keys.rotate_key(request).await.map(Response::into_inner) {
                    Ok(pb::RotateKeyResponse { key, token, revision, propagation }) => {
                        let answer = pb::KeyMutationResponse { key, revision, propagation };
                        (Ok(Response::new(answer)), Some(token))
                    }
                    Err(status) => (Err(status), None),
                };
            }
            Step::Update { change, .. } => {
                let (key, paths) = update(key_id, change);
                let update_mask = Some(prost_types::FieldMask { paths });
                let request =
                    pb::UpdateKeyRequest { key: Some(key), update_mask, etag, validate_only: false };
                keys.update_key(request).await
            }
            Step::Revoke { reason, .. } => {
                keys.revoke_key(pb::RevokeKeyRequest { key_id, reason: reason.clone(), etag }).await
            }
            Step::Reactivate { .. } => keys.reactivate_key(pb::ReactivateKeyRequest { key_id, etag }).await,
            Step::Delete { .. } => keys.delete_key(pb::DeleteKeyRequest { key_id, etag }).await,
            Step::Undelete { .. } => keys.undelete_key(pb::UndeleteKeyRequest { key_id, etag }).await,
            Step::Grant { adds: true, grants: sets, .. } => {
                keys.add_grants(pb::AddGrantsRequest { key_id, grants: grants(sets), etag }).await
            }
            Step::Grant { adds: false, grants: sets, .. } => {
                keys.remove_grants(pb::RemoveGrantsRequest { key_id, grants: grants(sets), etag }).await
            }
            Step::ExpireAt { time, .. } => {
                let expiration = pb::set_expiration_request::Expiration::ExpireTime(stamp(*time));
                let request = pb::SetExpirationRequest { key_id, expiration: Some(expiration), etag };
                keys.set_expiration(request).await
            }
            Step::ExpireIn { days, .. } => {
                let expiration = Some(pb::set_expiration_request::Expiration::Days(*days));
                keys.set_expiration(pb::SetExpirationRequest { key_id, expiration, etag }).await
            }
            Step::Extend { days, .. } => {
                keys.extend_expiration(pb::ExtendExpirationRequest { key_id, days: *days, etag }).await
            }
            Step::Never { .. } => keys.clear_expiration(pb::ClearExpirationRequest { key_id, etag }).await,
            Step::Create(_) | Step::Owner { .. } | Step::OwnerLimit { .. } | Step::Advance(_) => {
                unreachable!("not a change of a key")
            }
        };
        (answer, None)
    }

    fn compare_owner(
        &self,
        user_id: i64,
        answer: Result<Response<pb::OwnerMutationResponse>, Status>,
        store: &mut Store,
        expected: Result<Effect, Refusal>,
        context: &str,
    ) -> Result<Effect, Refusal> {
        match (answer.map(Response::into_inner), expected) {
            (Ok(answer), Ok(effect)) => {
                let owner = answer.owner.unwrap();
                compare_owner(store, &owner, context);
                let model = store.owners.get_mut(&user_id).unwrap();
                let had_etag = !model.etag.is_empty();
                assert!(!had_etag || (owner.etag != model.etag) == (effect == Effect::Changed), "{context}");
                model.etag = owner.etag;
            }
            (Err(status), Err(refusal)) => assert_eq!(status_reason(&status), refusal, "{context}"),
            (answer, expected) => panic!("{context}: {answer:?}, but the model says {expected:?}"),
        }
        expected
    }

    /// Purges whatever is due.
    pub async fn purge(&self) {
        while !self.app.running.admin().purge_batch().await.unwrap().is_empty() {}
    }

    /// Asks what every token of these keys may do.
    pub async fn check_decisions(&mut self, store: &Store, ids: &[i64], seen: &mut Seen, context: &str) {
        const QUESTIONS: [(Option<&str>, &[&str]); 2] =
            [(Some("gpt-4o-mini"), &[]), (None, &["chat.completions"])];
        let mut asked = Vec::new();
        for key in ids.iter().map(|id| &store.keys[id]) {
            asked.extend(QUESTIONS.map(|(model, scopes)| (key.token.as_str(), model, scopes)));
            asked.extend(
                key.previous.iter().map(|(token, _)| (token.as_str(), QUESTIONS[0].0, QUESTIONS[0].1)),
            );
            let ended = key.ended.last();
            asked.extend(ended.map(|token| (token.as_str(), QUESTIONS[0].0, QUESTIONS[0].1)));
        }
        asked.extend(store.gone.last().map(|token| (token.as_str(), None, &[][..])));
        let requests = asked.iter().map(|(token, model, scopes)| pb::AuthorizeRequest {
            token: token.as_bytes().to_vec().into(),
            model: model.unwrap_or_default().as_bytes().to_vec().into(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            ..Default::default()
        });
        let request = pb::BatchAuthorizeRequest { requests: requests.collect() };
        let answers = self.authorize.batch_authorize(request).await.unwrap().into_inner().items;
        assert_eq!(answers.len(), asked.len(), "{context}");
        for ((token, model, scopes), item) in asked.iter().zip(answers) {
            let Some(pb::batch_authorize_response::item::Result::Response(answer)) = item.result else {
                panic!("{context}: no decision: {item:?}");
            };
            let expected = store.decide(token, *model, scopes);
            assert_eq!(denial(&answer).as_deref(), expected, "{context}: {model:?} {scopes:?}");
            *seen.entry(expected.unwrap_or("ALLOW")).or_default() += 1;
            let is_previous =
                store.keys.values().any(|key| key.previous.as_ref().is_some_and(|(old, _)| old == token));
            if expected.is_none() && is_previous {
                *seen.entry("allowed in grace").or_default() += 1;
            }
        }
    }

    /// Compares everything there is.
    pub async fn check_all(&mut self, store: &Store, seen: &mut Seen, context: &str) {
        let states = [
            pb::key::State::Active,
            pb::key::State::Revoked,
            pb::key::State::Deleted,
            pb::key::State::Expired,
            pb::key::State::OwnerDisabled,
        ];
        let mut listed = BTreeMap::new();
        for state in states {
            let filter = pb::list_keys_request::Filter { states: vec![state.into()], ..Default::default() };
            let request =
                pb::ListKeysRequest { filter: Some(filter), page_size: 1_000, ..Default::default() };
            for key in self.keys.list_keys(request).await.unwrap().into_inner().keys {
                assert_eq!(key.state(), state, "{context}");
                assert!(listed.insert(key.key_id, key).is_none(), "{context}: a key in two states");
            }
        }
        assert!(listed.keys().eq(store.keys.keys()), "{context}: {:?} are listed", listed.keys());
        for (key_id, mut key) in listed {
            // Lists leave it out.
            key.previous_token_expire_time = self
                .keys
                .get_key(pb::GetKeyRequest { key_id, view: 0 })
                .await
                .unwrap()
                .into_inner()
                .key
                .unwrap()
                .previous_token_expire_time;
            compare_key(store, key_id, key, context);
        }
        for user_id in OWNERS.into_iter().filter(|user_id| store.owners.contains_key(user_id)) {
            if let Ok(answer) = self.keys.get_owner(pb::GetOwnerRequest { user_id }).await {
                compare_owner(store, &answer.into_inner().owner.unwrap(), context);
            }
        }
        let ids: Vec<i64> = store.keys.keys().copied().collect();
        self.check_decisions(store, &ids, seen, context).await;
    }
}

fn given(etag: &Etag, fresh: &str) -> String {
    match etag {
        Etag::None => String::new(),
        Etag::Fresh => fresh.to_owned(),
        Etag::Stale => STALE.to_owned(),
    }
}

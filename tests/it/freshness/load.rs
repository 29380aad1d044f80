//! The load: askers that ask every replica round and round, and changers that stop things and take that back.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_request::Dimension;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::{Code, Request as Call, Status};

use super::fleet::{Directory, Pace};
use super::history::{Outcome, Promise, Request};
use super::recorder::{Recorder, request_id};
use super::world::{Grant, KEYS_PER_OWNER, KeyAt, OwnerAt, Question, Stop};
use crate::harness::denial;

pub const SCOPE: &str = "chat.completions";
pub const MODEL: &str = "gpt-4o";
pub const ENDPOINT: &str = "/v1/chat";

/// How many owners there are; each has a changer of its own.
pub const OWNERS: usize = 3;
/// How often each replica is asked, beside what is asked after each change.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How many requests to a replica may wait: enough to go on asking one that is stopped.
const WAITING_MAX: usize = 400;
/// How long an answer to a request is waited for: longer than any stop.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// How long a changer rests.
const CHANGE_EVERY: Duration = Duration::from_millis(60);
/// How long an answer to a change is waited for, beyond what the change waits for replicas. Nobody knows then whether
/// it happened.
const CHANGE_MAX: Duration = Duration::from_secs(4);
/// A change of which nobody could read how far it has come is certain after five minutes: nobody waits for that.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// What everybody of the load shares.
#[derive(Debug)]
pub struct Load {
    pub directory: Arc<Directory>,
    pub recorder: Recorder,
    /// Id and token of each key.
    pub keys: Vec<(i64, String)>,
    /// The owner's number of each owner.
    pub owners: Vec<i64>,
    pub seed: u64,
    pub pace: Pace,
    /// What a changer stops next: all kinds in turn, so that none is left out while a fault lasts.
    next_kind: AtomicUsize,
}

impl Load {
    pub fn new(
        directory: Arc<Directory>,
        recorder: Recorder,
        keys: Vec<(i64, String)>,
        owners: Vec<i64>,
        seed: u64,
        pace: Pace,
    ) -> Self {
        Self { directory, recorder, keys, owners, seed, pace, next_kind: AtomicUsize::new(0) }
    }

    /// Asks one replica at a steady rate until told to end, and then waits for the answers.
    pub async fn ask_on(self: Arc<Self>, replica: usize, mut ends: watch::Receiver<bool>) {
        let mut random = StdRng::seed_from_u64(self.seed ^ (0xa5c << 32) ^ u64::try_from(replica).unwrap());
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = JoinSet::new();
        loop {
            tokio::select! {
                _ended = ends.wait_for(|ends| *ends) => break,
                _tick = ticks.tick() => {}
            }
            while waiting.try_join_next().is_some() {}
            if waiting.len() < WAITING_MAX {
                let key = random.random_range(0..self.keys.len());
                let needs = Grant::ALL.into_iter().filter(|_| random.random_bool(0.8)).collect();
                let load = Arc::clone(&self);
                waiting.spawn(async move { load.ask(replica, Question { key, needs }).await });
            }
        }
        waiting.join_all().await;
    }

    /// Asks a replica, if it runs, and records what came of it.
    pub async fn ask(&self, replica: usize, question: Question) {
        let Some(mut client) = self.directory.authorize(replica) else { return };
        let request = self.request(&question);
        let sent = self.recorder.now();
        let outcome = match timeout(ANSWER_MAX, client.authorize(request)).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                let revision = Some(answer.revision).filter(|revision| *revision != 0);
                Outcome::Decided { answer: denial(&answer), revision }
            }
            Ok(Err(status)) => Outcome::Failed(format!("{:?}: {}", status.code(), status.message())),
            Err(_) => Outcome::Failed("no answer".to_owned()),
        };
        let answered = self.recorder.now();
        self.recorder.request(Request { replica, question, sent, answered, outcome });
    }

    fn request(&self, question: &Question) -> pb::AuthorizeRequest {
        let mut request = pb::AuthorizeRequest {
            token: self.keys[question.key].1.clone().into(),
            not_applicable: vec![Dimension::Chatbot.into()],
            ..Default::default()
        };
        if question.needs.contains(&Grant::Scope) {
            request.scopes.push(SCOPE.to_owned());
        }
        if question.needs.contains(&Grant::Model) {
            request.model = MODEL.into();
        } else {
            request.not_applicable.push(Dimension::Model.into());
        }
        if question.needs.contains(&Grant::Endpoint) {
            request.endpoint = ENDPOINT.into();
        } else {
            request.not_applicable.push(Dimension::Endpoint.into());
        }
        request
    }

    /// Stops things of one owner and takes that back, one after the other, until told to end.
    pub async fn change_on(self: Arc<Self>, owner: OwnerAt, ends: watch::Receiver<bool>) {
        let began = u64::try_from(self.recorder.now().as_nanos()).unwrap();
        let owner_seed = u64::try_from(owner).unwrap();
        let mut random = StdRng::seed_from_u64(self.seed ^ (0xc4a << 32) ^ owner_seed ^ (began << 40));
        let mut ticks = interval(CHANGE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = JoinSet::new();
        while !*ends.borrow() {
            ticks.tick().await;
            let (stop, is_on) = self.choose(owner, &mut random);
            let reachable = self.directory.reachable();
            let running = self.directory.running();
            // Now and then of one that may not be able to.
            let replicas = if random.random_bool(0.04) { &running } else { &reachable };
            let Some(replica) = replicas.choose(&mut random) else { continue };
            if let Some(promise) = self.change(*replica, stop, is_on).await {
                let load = Arc::clone(&self);
                looks.spawn(async move { load.look(stop, promise).await });
            }
            while looks.try_join_next().is_some() {}
        }
        looks.join_all().await;
    }

    /// What a changer does next: mostly it takes back what is stopped, so that most changes show.
    fn choose(&self, owner: OwnerAt, random: &mut StdRng) -> (Stop, bool) {
        let stopped: Vec<Stop> =
            self.recorder.believed().stops().filter(|stop| stop.owner() == owner).collect();
        if random.random_bool(0.8)
            && let Some(stop) = stopped.choose(random)
        {
            return (*stop, false);
        }
        let key = owner * KEYS_PER_OWNER + random.random_range(0..KEYS_PER_OWNER);
        let stop = match self.next_kind.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => Stop::Disabled(owner),
            1 => Stop::Revoked(key),
            2 => Stop::Without(key, *Grant::ALL.choose(random).unwrap()),
            _ => Stop::Deleted(key),
        };
        (stop, true)
    }

    /// Asks a replica for a change, and records what came of it.
    async fn change(&self, replica: usize, stop: Stop, is_on: bool) -> Option<Promise> {
        let change = self.recorder.asks(stop, is_on);
        let called = timeout(self.pace.wait + CHANGE_MAX, self.call(replica, stop, is_on, change)).await;
        let answer = match called {
            Ok(Ok((revision, propagation))) => {
                let propagation = propagation.expect("a change tells how far it has come");
                let after = propagation.certain_after.map(|it| Duration::try_from(it).unwrap());
                let is_complete = propagation.complete;
                assert!(is_complete || after.is_some(), "neither complete nor certain by a time");
                // From its arrival here, which is later than what the server meant.
                let from = self.recorder.now() + after.filter(|_| !is_complete).unwrap_or_default();
                Some(Ok(Promise { revision, from, is_complete }))
            }
            Ok(Err(status)) if status.code() == Code::FailedPrecondition => Some(Err(status.to_string())),
            Ok(Err(_)) | Err(_) => None,
        };
        self.recorder.answered(change, answer.clone());
        answer?.ok()
    }

    async fn call(
        &self,
        replica: usize,
        stop: Stop,
        is_on: bool,
        change: usize,
    ) -> Result<(i64, Option<pb::Propagation>), Status> {
        let gone = || Status::unavailable("it does not run");
        let mut keys = self.directory.keys(replica).ok_or_else(gone)?;
        let etag = String::new();
        if let Stop::Disabled(owner) = stop {
            let user_id = self.owners[owner];
            let answer = if is_on {
                keys.disable_owner(named(pb::DisableOwnerRequest { user_id, etag }, change)).await
            } else {
                keys.enable_owner(named(pb::EnableOwnerRequest { user_id, etag }, change)).await
            };
            let answer = answer?.into_inner();
            return Ok((answer.revision, answer.propagation));
        }
        let answer = match stop {
            Stop::Deleted(key) if is_on => {
                keys.delete_key(named(pb::DeleteKeyRequest { key_id: self.id(key), etag }, change)).await
            }
            Stop::Deleted(key) => {
                keys.undelete_key(named(pb::UndeleteKeyRequest { key_id: self.id(key), etag }, change)).await
            }
            Stop::Revoked(key) if is_on => {
                let request = pb::RevokeKeyRequest { key_id: self.id(key), reason: String::new(), etag };
                keys.revoke_key(named(request, change)).await
            }
            Stop::Revoked(key) => {
                let request = pb::ReactivateKeyRequest { key_id: self.id(key), etag };
                keys.reactivate_key(named(request, change)).await
            }
            Stop::Without(key, grant) if is_on => {
                let request =
                    pb::RemoveGrantsRequest { key_id: self.id(key), grants: Some(grants(grant)), etag };
                keys.remove_grants(named(request, change)).await
            }
            Stop::Without(key, grant) => {
                let request =
                    pb::AddGrantsRequest { key_id: self.id(key), grants: Some(grants(grant)), etag };
                keys.add_grants(named(request, change)).await
            }
            Stop::Disabled(_) => unreachable!("see above"),
        };
        let answer = answer?.into_inner();
        Ok((answer.revision, answer.propagation))
    }

    fn id(&self, key: KeyAt) -> i64 {
        self.keys[key].0
    }

    /// Asks every replica about what was changed, as soon as the change is certain.
    async fn look(self: Arc<Self>, stop: Stop, promise: Promise) {
        let remaining = promise.from.saturating_sub(self.recorder.now());
        if remaining > LOOK_MAX {
            return;
        }
        // The time itself is what is waited for.
        let _over = timeout(remaining, pending::<()>()).await;
        let mut asked = JoinSet::new();
        for replica in self.directory.running() {
            for key in stop.keys() {
                let load = Arc::clone(&self);
                let question = Question { key, needs: Grant::ALL.into() };
                asked.spawn(async move { load.ask(replica, question).await });
            }
        }
        asked.join_all().await;
    }
}

fn grants(grant: Grant) -> pb::Grants {
    match grant {
        Grant::Endpoint => pb::Grants { endpoints: vec![ENDPOINT.into()], ..Default::default() },
        Grant::Scope => pb::Grants { scopes: vec![SCOPE.into()], ..Default::default() },
        Grant::Model => pb::Grants { models: vec![MODEL.into()], ..Default::default() },
    }
}

/// A call that the audit log knows by its id.
fn named<T>(request: T, change: usize) -> Call<T> {
    let mut call = Call::new(request);
    call.metadata_mut().insert("x-request-id", request_id(change).parse().unwrap());
    call
}

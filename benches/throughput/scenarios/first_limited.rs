//! How long a request takes that has to wait for allowance: the first one about a key that was never used, and one about a
//! key whose allowance in memory has run out.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::client::try_out;
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::{Order, Question};
use crate::round::{Round, measure_one, run_dry};
use crate::scenarios::keys::once;
use crate::side::{Side, heading, line};
use crate::statistics::float;
use crate::subject::{FAR_AWAY, Gateway, Subject};
use crate::tokens::Tokens;

/// Each is a connection with one call under way.
const CLIENTS: usize = 64;
/// Keys that are asked about before anything is measured, for the server to have done all of it once.
const WARM_UP_KEYS: usize = 500;
/// Keys of a round of one client, and of one of all clients. Where they do not last, the round ends early.
const KEYS_OF_ONE: usize = 20_000;
const KEYS_OF_ALL: usize = 80_000;
/// Keys that are used again, one after the other.
const USED_AGAIN: usize = 6_000;
/// How long each of them is left alone: longer than allowance lasts in memory.
const LEFT_ALONE: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct Result {
    clients: usize,
    /// First requests, of one client that asks again when it is answered.
    first_of_one: Side,
    /// First requests, of all clients.
    first_of_all: Side,
    /// Requests about keys that were left alone, on a schedule.
    again: Side,
    again_keys: usize,
    again_per_second: f64,
}

/// Keys with limits, each of which is used once.
struct Fresh<'a> {
    plan: &'a Plan,
    subject: &'a Subject,
    gateway: &'a Gateway,
    tokens: Arc<Tokens>,
    next: usize,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let gateway = gateway.limited(&mut subject.admin().await?, FAR_AWAY).await?;
    let (of_one, of_all) = (plan.size(KEYS_OF_ONE, 200), plan.size(KEYS_OF_ALL, 2_000));
    let count = WARM_UP_KEYS + (of_one + of_all) * plan.pairs;
    let mut database = subject.database().await?;
    let tokens = Arc::new(database.write(gateway.key_id, count).await?.tokens);
    eprintln!("throughput: {count} keys are written");
    let mut fresh = Fresh { plan, subject: &subject, gateway: &gateway, tokens, next: 0 };
    let warm_up = fresh.load(CLIENTS, WARM_UP_KEYS)?;
    run_dry(plan, &warm_up).await?;
    let (mut first_of_one, mut first_of_all) = (Vec::new(), Vec::new());
    for _ in 0..plan.pairs {
        first_of_one.push(fresh.measure(1, of_one).await?);
        first_of_all.push(fresh.measure(CLIENTS, of_all).await?);
    }
    let again_keys = plan.size(USED_AGAIN, 600);
    let again_per_second = float(again_keys) / LEFT_ALONE.as_secs_f64();
    let tokens = Arc::new(database.write(gateway.key_id, again_keys).await?.tokens);
    let again = again(plan, &subject, &gateway, &tokens, again_per_second).await?;
    let result = Result {
        clients: CLIENTS,
        first_of_one: Side::of(&first_of_one)?,
        first_of_all: Side::of(&first_of_all)?,
        again: Side::of(&again)?,
        again_keys,
        again_per_second,
    };
    heading("requests that wait for allowance");
    result.first_of_one.say("first requests, 1 client");
    result.first_of_all.say(&format!("first requests, {CLIENTS} clients"));
    result.again.say(&format!("each of {again_keys} keys every 3 s, {CLIENTS} connections"));
    line("first-limited", &result)
}

impl Fresh<'_> {
    fn load(&mut self, clients: usize, keys: usize) -> std::result::Result<Load, Failure> {
        let (first, end) = (self.next, self.next + keys);
        self.next = end;
        let target = once(self.subject, self.gateway, &self.tokens, first, end)?;
        Ok(Load::closed(&target, clients, 1))
    }

    /// From the first request on: each key has only one.
    async fn measure(&mut self, clients: usize, keys: usize) -> std::result::Result<Round, Failure> {
        let load = self.load(clients, keys)?;
        let plan = Plan { warm_up: Duration::ZERO, ..self.plan.clone() };
        measure_one(&plan, &load, self.subject.meter()).await
    }
}

/// All of these keys, one after the other, so that each is left alone for as long as a turn takes.
async fn again(
    plan: &Plan,
    subject: &Subject,
    gateway: &Gateway,
    tokens: &Arc<Tokens>,
    per_second: f64,
) -> std::result::Result<Vec<Round>, Failure> {
    let first = once(subject, gateway, tokens, 0, tokens.len())?;
    run_dry(plan, &Load::closed(&first, CLIENTS, 1)).await?;
    // What they took for their first use is to run out as well.
    tokio::time::sleep(LEFT_ALONE).await;
    let order = Order::rounds(tokens.len(), usize::MAX);
    let target = subject.target(Question::about(gateway, subject.server.address(), tokens, order)?);
    try_out(&target).await?;
    let load = Load::open(&target, CLIENTS, per_second);
    let mut rounds = Vec::new();
    for _ in 0..plan.pairs {
        rounds.push(measure_one(plan, &load, subject.meter()).await?);
    }
    Ok(rounds)
}

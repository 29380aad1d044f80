//! From RevokeKey to refused everywhere: three replicas under load, one revocation after the other, and as soon as one
//! is answered `complete`, all replicas are asked about the key.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use keystile::clock::monotonic_now;
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::{Decision, Reason};
use prost::Message as _;
use serde::Serialize;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::call::{Call, End};
use crate::client::{Target, ask, connect, try_out, within};
use crate::database::{Database, Written};
use crate::drive::{Drive, Load};
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::{Order, Question, Turn};
use crate::replicas::Replicas;
use crate::round::{Round, measure};
use crate::side::{heading, line};
use crate::statistics::{float, micros, percentile, rounded};
use crate::subject::Gateway;

const REPLICAS: usize = 3;
/// Of the load, on each replica.
const CONNECTIONS: usize = 4;

#[derive(Debug, Default, Serialize)]
struct Result {
    replicas: usize,
    revocations: usize,
    complete: usize,
    /// Answered without being complete; then it was waited for `certain_after`.
    incomplete: usize,
    /// Answers that still allowed after that: each is a broken promise.
    allowed_afterwards: usize,
    load_per_second: f64,
    load_answered_per_second: f64,
    load_p99_us: f64,
    load_unanswered: usize,
    revoke_p50_us: f64,
    revoke_p99_us: f64,
    revoke_max_us: f64,
}

/// A replica, as whoever asks about single keys sees it.
struct Asked {
    target: Target,
    connection: SendRequest<Bytes>,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured; that a revoked key was allowed.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let replicas = Replicas::start(REPLICAS).await?;
    let first = replicas.first()?;
    let gateway = Gateway::make(first.address(), replicas.administrator.expose()).await?;
    let mut database = Database::open(&replicas.url()?).await?;
    let written = database.write(gateway.key_id, plan.size(1_000, 20)).await?;
    let mut targets = Vec::new();
    for server in &replicas.servers {
        let question = Arc::new(Question::to_keystile(&gateway, server.address())?);
        let target = Target { name: server.name(), address: server.address(), question };
        try_out(&target).await?;
        targets.push(target);
    }
    let most: Vec<Load> =
        targets.iter().map(|target| Load::closed(target, CONNECTIONS, plan.streams)).collect();
    let answered = |rounds: Vec<Round>| rounds.iter().map(|round| round.rps).sum::<f64>();
    let most = answered(measure(plan, &most, replicas.meter()).await?) / float(REPLICAS);
    let at_rate =
        |rate| targets.iter().map(|target| Load::open(target, CONNECTIONS, rate)).collect::<Vec<_>>();
    // Calls that come one by one cost more than those of a closed loop, which come together: what is answered of too many
    // is what can be done.
    let most = answered(measure(plan, &at_rate(most), replicas.meter()).await?) / float(REPLICAS);
    let each = most / 2.0;
    let loads = at_rate(each);
    let mut drive = Drive::start(plan.threads, &loads).await;
    let started = monotonic_now();
    let (result, took) = drive.beside(revoke_all(&replicas, &gateway, written)).await?;
    let lasted = monotonic_now() - started;
    let calls: Vec<Call> = drive.finish().await?.into_iter().flatten().collect();
    let result = with_load(with_times(result, took)?, each, lasted, &calls)?;
    report(&result)
}

/// Revokes each key, and asks everywhere at once.
async fn revoke_all(
    replicas: &Replicas,
    gateway: &Gateway,
    written: Written,
) -> std::result::Result<(Result, Vec<Duration>), Failure> {
    let Written { tokens, first_key } = written;
    let tokens = Arc::new(tokens);
    let (mut admins, mut asked) = (Vec::new(), Vec::new());
    for server in &replicas.servers {
        admins.push(Admin::connect(server.address(), replicas.administrator.expose()).await?);
        let everything = Order::Cycle((0..tokens.len()).collect());
        let question = Arc::new(Question::about(gateway, server.address(), &tokens, everything)?);
        let target = Target { name: server.name(), address: server.address(), question };
        let connection = connect(target.address).await.map_err(target.failure())?;
        asked.push(Asked { target, connection });
    }
    let mut result = Result { replicas: REPLICAS, revocations: tokens.len(), ..Result::default() };
    let mut took = Vec::with_capacity(tokens.len());
    for (at, key_id) in (0..tokens.len()).zip(first_key..) {
        // Each replica has it in memory.
        if everywhere(&mut asked, at).await? != REPLICAS {
            return Err(Failure::Unusable("a key is refused before it is revoked"));
        }
        let admin = admins.get_mut(at % REPLICAS).ok_or(Failure::Unusable("there is no replica"))?;
        let before = monotonic_now();
        let propagation = admin.revoke(key_id).await?;
        took.push(monotonic_now() - before);
        if propagation.complete {
            result.complete += 1;
        } else {
            result.incomplete += 1;
            sleep(certain_after(&propagation)?).await;
        }
        result.allowed_afterwards += everywhere(&mut asked, at).await?;
    }
    Ok((result, took))
}

fn certain_after(propagation: &pb::Propagation) -> std::result::Result<Duration, Failure> {
    let after = propagation.certain_after.and_then(|after| Duration::try_from(after).ok());
    after.ok_or(Failure::Unusable("an incomplete answer does not say when it is certain"))
}

/// Asks every replica at the same time; how many allow.
async fn everywhere(asked: &mut [Asked], at: usize) -> std::result::Result<usize, Failure> {
    let [a, b, c] = asked else { return Err(Failure::Unusable("there are not three replicas")) };
    let (a, b, c) = tokio::try_join!(a.allows(at), b.allows(at), c.allows(at))?;
    Ok([a, b, c].into_iter().filter(|allows| *allows).count())
}

impl Asked {
    /// Whether this replica allows the key at this place; if not, then because it was revoked.
    async fn allows(&mut self, at: usize) -> std::result::Result<bool, Failure> {
        let Self { target, connection } = self;
        let body = target.question.body(&mut Turn::at(at)).unwrap_or_default();
        let answer = within(ask(&target.question.head, body, connection)).await.map_err(target.failure())?;
        let answer = pb::AuthorizeResponse::decode(answer.message)
            .map_err(|_| Failure::Unusable("an answer is no message"))?;
        match (answer.decision(), answer.reason()) {
            (Decision::Allow, _) => Ok(true),
            (Decision::Deny, Reason::KeyRevoked) => Ok(false),
            (_, reason) => Err(Failure::Broken(format!("a key is refused for {reason:?}"))),
        }
    }
}

fn with_times(result: Result, mut took: Vec<Duration>) -> std::result::Result<Result, Failure> {
    let mut at = |percent| {
        percentile(&mut took, percent)
            .map(|took| rounded(micros(took)))
            .ok_or(Failure::Unusable("nothing was revoked"))
    };
    Ok(Result { revoke_p50_us: at(50)?, revoke_p99_us: at(99)?, revoke_max_us: at(100)?, ..result })
}

fn with_load(
    result: Result,
    each: f64,
    lasted: Duration,
    calls: &[Call],
) -> std::result::Result<Result, Failure> {
    let mut took: Vec<Duration> = calls.iter().map(Call::took).collect();
    let p99 = percentile(&mut took, 99).ok_or(Failure::NoAnswer)?;
    let unanswered = calls.iter().filter(|call| call.end() == End::Unanswered).count();
    Ok(Result {
        load_per_second: rounded(each * float(REPLICAS)),
        load_answered_per_second: rounded(float(calls.len() - unanswered) / lasted.as_secs_f64()),
        load_p99_us: rounded(micros(p99)),
        load_unanswered: unanswered,
        ..result
    })
}

fn report(result: &Result) -> std::result::Result<(), Failure> {
    let Result { revocations, complete, incomplete, allowed_afterwards, .. } = result;
    heading(&format!("{revocations} revocations, {REPLICAS} replicas"));
    eprintln!(
        "  {complete} answered complete, {incomplete} not; {allowed_afterwards} answers allowed a key afterwards"
    );
    eprintln!(
        "  RevokeKey: p50 {:.0} µs, p99 {:.0} µs, at most {:.0} µs",
        result.revoke_p50_us, result.revoke_p99_us, result.revoke_max_us
    );
    eprintln!(
        "  beside {:.0} calls/s, of which {:.0} were answered, p99 {:.0} µs",
        result.load_per_second, result.load_answered_per_second, result.load_p99_us
    );
    line("revoke", result)?;
    if *allowed_afterwards > 0 {
        return Err(Failure::Broken(format!("{allowed_afterwards} answers allowed a revoked key")));
    }
    Ok(())
}

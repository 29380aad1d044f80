//! Keys that were never seen before: each is asked about once. The most that is possible, and how long it takes at a
//! rate that is asked for.

use std::sync::Arc;

use serde::Serialize;

use crate::client::try_out;
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::Question;
use crate::round::measure_one;
use crate::scenarios::imported;
use crate::scenarios::keys::once;
use crate::side::{Side, heading, line};
use crate::statistics::float;
use crate::subject::Subject;

const CONNECTIONS: usize = 8;
/// Keys a second of the open loop.
const PER_SECOND: usize = 5_000;
const QUICK_PER_SECOND: usize = 200;

#[derive(Serialize)]
struct Result {
    keys: usize,
    per_second: usize,
    most: Side,
    open: Side,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let target = subject.target(Question::to_keystile(&gateway, subject.server.address())?);
    try_out(&target).await?;
    imported::run(plan, &subject, &gateway).await?;
    let (keys, per_second) = (plan.size(1_000_000, 20_000), plan.size(PER_SECOND, QUICK_PER_SECOND));
    let tokens = Arc::new(subject.database().await?.write(gateway.key_id, keys).await?.tokens);
    eprintln!("throughput: {keys} keys are written");
    let shares = Shares::of(plan, keys, per_second)?;
    let (mut most, mut open) = (Vec::new(), Vec::new());
    let mut next = 0;
    for _ in 0..plan.pairs {
        let target = once(&subject, &gateway, &tokens, next, next + shares.closed)?;
        next += shares.closed;
        // Where the keys do not last, the round ends early.
        let load = Load::closed(&target, CONNECTIONS, plan.streams);
        most.push(measure_one(plan, &load, subject.meter()).await?);
        let target = once(&subject, &gateway, &tokens, next, next + shares.open)?;
        next += shares.open;
        let load = Load::open(&target, CONNECTIONS, float(per_second));
        open.push(measure_one(plan, &load, subject.meter()).await?);
    }
    let result = Result { keys, per_second, most: Side::of(&most)?, open: Side::of(&open)? };
    heading("keys that were never seen before");
    result.most.say("as many as possible");
    result.open.say(&format!("{per_second} a second"));
    line("cold", &result)
}

/// How many keys each round may ask about.
struct Shares {
    closed: usize,
    open: usize,
}

impl Shares {
    /// An open round needs what its schedule has, and a fifth more, since that is random.
    fn of(plan: &Plan, keys: usize, per_second: usize) -> std::result::Result<Self, Failure> {
        let milliseconds = usize::try_from((plan.warm_up + plan.measured).as_millis()).unwrap_or(usize::MAX);
        let open = per_second.saturating_mul(milliseconds) / 1000 * 6 / 5;
        let closed = (keys / plan.pairs.max(1)).saturating_sub(open);
        if closed == 0 {
            return Err(Failure::Unusable("there are too few keys for so many or so long rounds"));
        }
        Ok(Self { closed, open })
    }
}

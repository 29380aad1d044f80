//! What limits on requests cost a decision: 1 000 keys with limits in all windows that no traffic reaches, against 1 000
//! like them without. Both are in use before they are measured, so that allowance is at hand as it is in steady traffic.

use std::sync::Arc;

use serde::Serialize;

use crate::client::{Target, try_out};
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::{Order, Question};
use crate::round::{in_turns, run_dry};
use crate::scenarios::keys::once;
use crate::side::{Side, heading, line, rps_ratio, say_ratio};
use crate::statistics::Spread;
use crate::subject::{FAR_AWAY, Gateway, Subject};

const CONNECTIONS: usize = 8;
const KEYS: usize = 1_000;

#[derive(Serialize)]
struct Result {
    keys: usize,
    connections: usize,
    streams: usize,
    unlimited: Side,
    limited: Side,
    ratio: Spread,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let limited = gateway.limited(&mut subject.admin().await?, FAR_AWAY).await?;
    let unlimited_load = load(plan, &subject, &gateway).await?;
    let limited_load = load(plan, &subject, &limited).await?;
    let sides = [(&unlimited_load, subject.meter()), (&limited_load, subject.meter())];
    let [unlimited, limited] = in_turns(plan, sides).await?;
    let result = Result {
        keys: KEYS,
        connections: CONNECTIONS,
        streams: plan.streams,
        ratio: rps_ratio(&limited, &unlimited)?,
        unlimited: Side::of(&unlimited)?,
        limited: Side::of(&limited)?,
    };
    heading(&format!("{KEYS} keys with limits against as many without"));
    result.unlimited.say("without limits");
    result.limited.say("with limits");
    say_ratio("decisions/s, with limits by without", &result.ratio);
    line("limits", &result)
}

/// All of so many keys like the gateway's, which have been asked about once.
async fn load(plan: &Plan, subject: &Subject, gateway: &Gateway) -> std::result::Result<Load, Failure> {
    let tokens = Arc::new(subject.database().await?.write(gateway.key_id, KEYS).await?.tokens);
    let first: Target = once(subject, gateway, &tokens, 0, KEYS)?;
    run_dry(plan, &Load::closed(&first, CONNECTIONS, plan.streams)).await?;
    let order = Order::Cycle((0..KEYS).collect());
    let target = subject.target(Question::about(gateway, subject.server.address(), &tokens, order)?);
    try_out(&target).await?;
    Ok(Load::closed(&target, CONNECTIONS, plan.streams))
}

//! Many decisions in one call, and on one stream, against one a call, on as many connections.

use serde::Serialize;

use crate::client::try_out;
use crate::drive::{Load, Pace};
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::Question;
use crate::round::in_turns;
use crate::side::{Side, heading, line, rps_ratio, say_ratio};
use crate::statistics::Spread;
use crate::subject::{Gateway, Subject};

const CONNECTIONS: usize = 8;
/// Requests in a batch.
const ITEMS: usize = 100;
/// Batches under way at once on each connection.
const BATCHES: usize = 2;
/// Requests under way at once on each stream; each connection has one stream.
const WINDOW: usize = 256;

#[derive(Serialize)]
struct Result {
    connections: usize,
    unary_streams: usize,
    /// Decisions under way at once on each connection.
    together_under_way: usize,
    unary: Side,
    together: Side,
    ratio: Spread,
}

/// BatchAuthorize of 100 items.
///
/// # Errors
/// What kept it from being measured.
pub async fn batch(plan: &Plan) -> std::result::Result<(), Failure> {
    let (subject, gateway) = start().await?;
    let question = Question::batch(&gateway, subject.server.address(), ITEMS)?;
    let target = subject.target(question);
    try_out(&target).await?;
    let load = Load::closed(&target, CONNECTIONS, BATCHES);
    compare(plan, &subject, &gateway, &load, ("batch", ITEMS * BATCHES)).await
}

/// AuthorizeStream.
///
/// # Errors
/// What kept it from being measured.
pub async fn stream(plan: &Plan) -> std::result::Result<(), Failure> {
    let (subject, gateway) = start().await?;
    let target = subject.target(Question::on_stream(&gateway, subject.server.address())?);
    let pace = Pace::Streamed { request: Box::new(gateway.question.clone()), window: WINDOW };
    let load = Load { target, streams: vec![1; CONNECTIONS], pace };
    compare(plan, &subject, &gateway, &load, ("stream", WINDOW)).await
}

async fn start() -> std::result::Result<(Subject, Gateway), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    Ok((subject, gateway))
}

async fn compare(
    plan: &Plan,
    subject: &Subject,
    gateway: &Gateway,
    together: &Load,
    (scenario, together_under_way): (&str, usize),
) -> std::result::Result<(), Failure> {
    let target = subject.target(Question::to_keystile(gateway, subject.server.address())?);
    try_out(&target).await?;
    let unary = Load::closed(&target, CONNECTIONS, plan.streams);
    let [unary, together] = in_turns(plan, [(&unary, subject.meter()), (together, subject.meter())]).await?;
    let result = Result {
        connections: CONNECTIONS,
        unary_streams: plan.streams,
        together_under_way,
        ratio: rps_ratio(&together, &unary)?,
        unary: Side::of(&unary)?,
        together: Side::of(&together)?,
    };
    heading(&format!(
        "{scenario}, {together_under_way} decisions under way on each of {CONNECTIONS} connections"
    ));
    result.unary.say("unary");
    result.together.say(scenario);
    say_ratio("decisions/s, by unary", &result.ratio);
    line(scenario, &result)
}

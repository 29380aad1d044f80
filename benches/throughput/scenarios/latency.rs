//! How long calls take where nobody waits for an answer before asking again: at half of what the echo can do, for the
//! echo and for Keystile at the same rate.

use serde::Serialize;

use crate::client::try_out;
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::{EchoKind, Plan};
use crate::question::Question;
use crate::report;
use crate::round::{in_turns, measure_one};
use crate::scenarios::echo_side::EchoSide;
use crate::side::{Side, heading, line, p99_ratio, say_ratio};
use crate::statistics::Spread;
use crate::subject::Subject;

/// Rounds that say what the echo can do.
const ROUNDS_OF_MOST: usize = 3;

#[derive(Serialize)]
struct Result {
    echo_kind: EchoKind,
    connections: usize,
    echo_closed_rps: Spread,
    per_second: f64,
    echo: Side,
    keystile: Side,
    p99_ratio: Spread,
}

/// Measures with each number of connections of the plan.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let keystile = subject.target(Question::to_keystile(&gateway, subject.server.address())?);
    let decision = try_out(&keystile).await?;
    report::sizes(&keystile, &decision);
    let echo = EchoSide::start(EchoKind::Default, &gateway, &decision).await?;
    for connections in &plan.connections {
        let closed = Load::closed(&echo.target, *connections, plan.streams);
        let mut most = Vec::new();
        for _ in 0..plan.pairs.min(ROUNDS_OF_MOST) {
            most.push(measure_one(plan, &closed, echo.meter()).await?);
        }
        let most = Side::of(&most)?.rps;
        let per_second = most.median / 2.0;
        let of_echo = Load::open(&echo.target, *connections, per_second);
        let of_keystile = Load::open(&keystile, *connections, per_second);
        let sides = [(&of_echo, echo.meter()), (&of_keystile, subject.meter())];
        let [of_echo, of_keystile] = in_turns(plan, sides).await?;
        let result = Result {
            echo_kind: echo.kind,
            connections: *connections,
            echo_closed_rps: most,
            per_second: per_second.round(),
            echo: Side::of(&of_echo)?,
            keystile: Side::of(&of_keystile)?,
            p99_ratio: p99_ratio(&of_keystile, &of_echo)?,
        };
        heading(&format!("open loop, {connections} connections, {per_second:.0} calls/s"));
        result.echo.say("echo");
        result.keystile.say("keystile");
        say_ratio("p99, Keystile's by the echo's", &result.p99_ratio);
        line("open-loop", &result)?;
    }
    Ok(())
}

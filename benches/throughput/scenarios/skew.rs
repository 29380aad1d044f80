//! One heavy connection and three light ones, against four even ones with as many streams together: a server that binds
//! connections to cores must not leave the others idle.

use serde::Serialize;

use crate::client::try_out;
use crate::drive::{Load, Pace};
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::Question;
use crate::round::in_turns;
use crate::side::{Side, heading, line, rps_ratio, say_ratio};
use crate::statistics::Spread;
use crate::subject::Subject;

#[derive(Serialize)]
struct Result {
    even_streams: Vec<usize>,
    skewed_streams: Vec<usize>,
    even: Side,
    skewed: Side,
    ratio: Spread,
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
    let light = (plan.streams / 4).max(1);
    let heavy = (4 * plan.streams).saturating_sub(3 * light).max(1);
    let load =
        |streams: &[usize]| Load { target: target.clone(), streams: streams.to_vec(), pace: Pace::Closed };
    let even_load = load(&[plan.streams; 4]);
    let skewed_load = load(&[heavy, light, light, light]);
    let sides = [(&even_load, subject.meter()), (&skewed_load, subject.meter())];
    let [even, skewed] = in_turns(plan, sides).await?;
    let result = Result {
        even_streams: even_load.streams,
        skewed_streams: skewed_load.streams,
        ratio: rps_ratio(&skewed, &even)?,
        even: Side::of(&even)?,
        skewed: Side::of(&skewed)?,
    };
    heading(&format!("{:?} streams against {:?}", result.skewed_streams, result.even_streams));
    result.even.say("even");
    result.skewed.say("skewed");
    say_ratio("decisions/s, skewed by even", &result.ratio);
    line("skew", &result)
}

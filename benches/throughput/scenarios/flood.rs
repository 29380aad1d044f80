//! Wrong tokens beside good traffic: what the good traffic keeps, against what it keeps where the same calls cost as
//! little as a call can, at the echo.

use serde::Serialize;

use crate::client::{Target, try_out};
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::{EchoKind, Plan};
use crate::question::Question;
use crate::round::{Round, measure, measure_one};
use crate::scenarios::echo_side::EchoSide;
use crate::side::{Side, heading, line, p99_ratio, rps_ratio, say_ratio};
use crate::statistics::{Spread, float};
use crate::subject::{Gateway, Subject};
use crate::tokens::Forgery;

const CONNECTIONS: usize = 8;
/// Wrong tokens a second.
const PER_SECOND: usize = 10_000;
const QUICK_PER_SECOND: usize = 500;
/// Of what the service can do, for times: calls that come one by one cost about twice as much, and the flood has to find
/// room beside them.
const SHARE: f64 = 1.0 / 3.0;
/// Brand, underscore and public id of an own token.
const OWN_PREFIX: usize = 15;
/// What of an imported token is its prefix.
const IMPORTED_PREFIX: usize = 8;

/// Beside one kind of wrong tokens.
struct Beside {
    name: &'static str,
    flood: Load,
    /// Good traffic, as much as possible, and the flood beside it.
    closed: Vec<Round>,
    flooding: Vec<Round>,
    /// Good traffic at a rate that leaves room.
    open: Vec<Round>,
}

/// What all kinds are compared with.
#[derive(Default)]
struct Alone {
    echo: Vec<Round>,
    echo_beside: Vec<Round>,
    closed: Vec<Round>,
    open: Vec<Round>,
}

#[derive(Serialize)]
struct Result<'a> {
    flood: &'a str,
    flood_per_second: usize,
    echo_alone: Side,
    echo_beside: Side,
    alone: Side,
    beside: Side,
    /// The flood's own calls.
    flooding: Side,
    kept: Spread,
    echo_kept: Spread,
    /// What good traffic keeps, by what the echo keeps.
    ratio: Spread,
    open_per_second: f64,
    open_alone: Side,
    open_beside: Side,
    p99_ratio: Spread,
    /// The same of as much good traffic as possible.
    closed_p99_ratio: Spread,
}

/// Measures beside each kind of wrong tokens.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let good = subject.target(Question::to_keystile(&gateway, subject.server.address())?);
    let decision = try_out(&good).await?;
    let echo = EchoSide::start(EchoKind::Default, &gateway, &decision).await?;
    let per_second = plan.size(PER_SECOND, QUICK_PER_SECOND);
    let flood = |target: &Target| Load::open(target, CONNECTIONS, float(per_second));
    let most = Load::closed(&good, CONNECTIONS, plan.streams);
    let rate = measure_one(plan, &most, subject.meter()).await?.rps * SHARE;
    let some = Load::open(&good, CONNECTIONS, rate);
    let of_echo = Load::closed(&echo.target, CONNECTIONS, plan.streams);
    let echo_flood = flood(&echo.target);
    let mut alone = Alone::default();
    let mut kinds = Vec::new();
    for (name, forgery) in forgeries(&subject, &gateway).await? {
        let target = subject.target(Question::forged(&gateway, subject.server.address(), forgery)?);
        let (closed, flooding, open) = (Vec::new(), Vec::new(), Vec::new());
        kinds.push(Beside { name, flood: flood(&target), closed, flooding, open });
    }
    for _ in 0..plan.pairs {
        alone.echo.push(measure_one(plan, &of_echo, echo.meter()).await?);
        let [beside, _] = both(plan, &of_echo, &echo_flood, &echo.meter()).await?;
        alone.echo_beside.push(beside);
        alone.closed.push(measure_one(plan, &most, subject.meter()).await?);
        alone.open.push(measure_one(plan, &some, subject.meter()).await?);
        for kind in &mut kinds {
            let [closed, flooding] = both(plan, &most, &kind.flood, &subject.meter()).await?;
            kind.closed.push(closed);
            kind.flooding.push(flooding);
            let [open, _] = both(plan, &some, &kind.flood, &subject.meter()).await?;
            kind.open.push(open);
        }
    }
    kinds.iter().try_for_each(|kind| report(kind, &alone, per_second, rate))
}

/// The kinds of wrong tokens, by name.
async fn forgeries(
    subject: &Subject,
    gateway: &Gateway,
) -> std::result::Result<[(&'static str, Forgery); 3], Failure> {
    let imported = subject.database().await?.write_imported(gateway.key_id, 1).await?;
    let imported = imported.tokens.get(0).unwrap_or_default();
    let prefix = |token: &[u8], bytes: usize| {
        String::from_utf8_lossy(token.get(..bytes).unwrap_or_default()).into_owned()
    };
    let imported =
        Forgery::WrongImported { prefix: prefix(imported, IMPORTED_PREFIX), length: imported.len() };
    Ok([
        ("nobodys", Forgery::Nobodys),
        ("wrong-secret", Forgery::WrongSecret(prefix(&gateway.question.token, OWN_PREFIX))),
        ("wrong-imported", imported),
    ])
}

async fn both(
    plan: &Plan,
    good: &Load,
    flood: &Load,
    meter: &crate::cpu::Meter,
) -> std::result::Result<[Round; 2], Failure> {
    let rounds = measure(plan, &[good.clone(), flood.clone()], meter.clone()).await?;
    rounds.try_into().map_err(|_| Failure::Unusable("there are not two rounds"))
}

fn report(kind: &Beside, alone: &Alone, per_second: usize, rate: f64) -> std::result::Result<(), Failure> {
    let kept_by = |beside: &[Round], alone: &[Round]| -> Vec<f64> {
        beside.iter().zip(alone).map(|(beside, alone)| beside.rps / alone.rps).collect()
    };
    let kept = kept_by(&kind.closed, &alone.closed);
    let echo_kept = kept_by(&alone.echo_beside, &alone.echo);
    let ratio = Spread::of_ratios(kept.into_iter().zip(echo_kept));
    let result = Result {
        flood: kind.name,
        flood_per_second: per_second,
        echo_alone: Side::of(&alone.echo)?,
        echo_beside: Side::of(&alone.echo_beside)?,
        alone: Side::of(&alone.closed)?,
        beside: Side::of(&kind.closed)?,
        flooding: Side::of(&kind.flooding)?,
        kept: rps_ratio(&kind.closed, &alone.closed)?,
        echo_kept: rps_ratio(&alone.echo_beside, &alone.echo)?,
        ratio: ratio.ok_or(Failure::Unusable("nothing was measured"))?,
        open_per_second: rate.round(),
        open_alone: Side::of(&alone.open)?,
        open_beside: Side::of(&kind.open)?,
        p99_ratio: p99_ratio(&kind.open, &alone.open)?,
        closed_p99_ratio: p99_ratio(&kind.closed, &alone.closed)?,
    };
    heading(&format!("{per_second} tokens/s that are wrong ({}) beside good traffic", kind.name));
    result.alone.say("good traffic alone");
    result.beside.say("good traffic beside the flood");
    result.flooding.say("the flood");
    say_ratio("good traffic keeps", &result.kept);
    say_ratio("the echo keeps", &result.echo_kept);
    say_ratio("the one by the other", &result.ratio);
    say_ratio("its p99, beside by alone", &result.closed_p99_ratio);
    result.open_alone.say(&format!("good traffic of {rate:.0} calls/s alone"));
    result.open_beside.say("the same beside the flood");
    say_ratio("its p99, beside by alone", &result.p99_ratio);
    line("flood", &result)
}

//! What a decision costs as keys and connections grow: two charts, drawn by this command.
//!
//! Decisions a second are those of a closed loop; p99 is that of an open loop at half of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::client::{Target, try_out};
use crate::cpu::Meter;
use crate::database::Database;
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::{EchoKind, Plan};
use crate::question::Question;
use crate::round::{measure_one, run_dry};
use crate::scenarios::echo_side::EchoSide;
use crate::scenarios::keys::{once, zipf};
use crate::side::{Side, heading, line};
use crate::statistics::{Spread, float};
use crate::subject::{Gateway, Subject};
use crate::svg::{Chart, Panel, Series};
use crate::tokens::Tokens;

const CONNECTIONS: usize = 8;
/// Rounds of each point: a chart needs less than a comparison.
const ROUNDS: usize = 3;
const KEYS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const QUICK_KEYS: [usize; 2] = [100, 1_000];
const GROWING_CONNECTIONS: [usize; 5] = [1, 4, 16, 64, 256];
const QUICK_CONNECTIONS: [usize; 2] = [1, 4];

#[derive(Serialize)]
struct Point<'a> {
    by: &'a str,
    server: &'a str,
    at: usize,
    closed: Side,
    open_per_second: f64,
    open: Side,
}

/// Measures, and draws.
///
/// # Errors
/// What kept it from being measured, or the charts from being written.
pub async fn run(plan: &Plan) -> Result<(), Failure> {
    let plan = &Plan { pairs: plan.pairs.min(ROUNDS), ..plan.clone() };
    fs::create_dir_all(&plan.charts).map_err(Failure::io("make the directory of the charts"))?;
    let by_keys = by_keys(plan).await?;
    let title = format!("Decisions against keys ({CONNECTIONS} connections of {} streams)", plan.streams);
    draw(&plan.charts.join("keys.svg"), title, "keys in the database", &[("Keystile", by_keys)])?;
    let (keystile, echo) = by_connections(plan).await?;
    let title = format!("Decisions against connections ({} streams each)", plan.streams);
    let series = [("Keystile", keystile), ("echo", echo)];
    draw(&plan.charts.join("connections.svg"), title, "connections", &series)
}

async fn by_keys<'a>(plan: &Plan) -> Result<Vec<Point<'a>>, Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let mut database = subject.database().await?;
    let mut all = Tokens::default();
    let mut points = Vec::new();
    let sizes = if plan.quick { QUICK_KEYS.as_slice() } else { KEYS.as_slice() };
    for size in sizes {
        all = grow(plan, &subject, &gateway, &mut database, (all, *size)).await?;
        // Traffic goes to all keys: more than fit into memory would show here.
        let tokens = Arc::new(all);
        let target = zipf(plan, &subject, &gateway, &tokens, *size)?;
        try_out(&target).await?;
        points.push(point(plan, ("keys", "keystile", *size), &target, CONNECTIONS, &subject.meter()).await?);
        drop(target);
        all = Arc::into_inner(tokens).ok_or(Failure::Unusable("tokens are still in use"))?;
    }
    Ok(points)
}

/// Adds keys up to `size`, and asks about each new one once.
async fn grow(
    plan: &Plan,
    subject: &Subject,
    gateway: &Gateway,
    database: &mut Database,
    (mut all, size): (Tokens, usize),
) -> Result<Tokens, Failure> {
    let missing = size.saturating_sub(all.len());
    let new = Arc::new(database.write(gateway.key_id, missing).await?.tokens);
    eprintln!("throughput: {size} keys are written");
    let target = once(subject, gateway, &new, 0, new.len())?;
    run_dry(plan, &Load::closed(&target, CONNECTIONS, plan.streams)).await?;
    all.append(&new);
    Ok(all)
}

async fn by_connections<'a>(plan: &Plan) -> Result<(Vec<Point<'a>>, Vec<Point<'a>>), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let target = subject.target(Question::to_keystile(&gateway, subject.server.address())?);
    let decision = try_out(&target).await?;
    let echo = EchoSide::start(EchoKind::Default, &gateway, &decision).await?;
    let (mut of_keystile, mut of_echo) = (Vec::new(), Vec::new());
    let numbers = if plan.quick { QUICK_CONNECTIONS.as_slice() } else { GROWING_CONNECTIONS.as_slice() };
    for number in numbers {
        let of = ("connections", "keystile", *number);
        of_keystile.push(point(plan, of, &target, *number, &subject.meter()).await?);
        let of = ("connections", "echo", *number);
        of_echo.push(point(plan, of, &echo.target, *number, &echo.meter()).await?);
    }
    Ok((of_keystile, of_echo))
}

async fn point<'a>(
    plan: &Plan,
    (by, server, at): (&'a str, &'a str, usize),
    target: &Target,
    connections: usize,
    meter: &Meter,
) -> Result<Point<'a>, Failure> {
    let load = Load::closed(target, connections, plan.streams);
    let mut closed = Vec::new();
    for _ in 0..plan.pairs {
        closed.push(measure_one(plan, &load, meter.clone()).await?);
    }
    let closed = Side::of(&closed)?;
    let half = closed.rps.median / 2.0;
    let load = Load::open(target, connections, half);
    let mut open = Vec::new();
    for _ in 0..plan.pairs {
        open.push(measure_one(plan, &load, meter.clone()).await?);
    }
    let open_per_second = half.round();
    let point = Point { by, server, at, closed, open_per_second, open: Side::of(&open)? };
    heading(&format!("{server}, {by}: {at}"));
    point.closed.say("closed loop");
    point.open.say(&format!("{half:.0} calls/s"));
    line("growth", &point)?;
    Ok(point)
}

fn draw(path: &Path, title: String, across: &str, lines: &[(&str, Vec<Point<'_>>)]) -> Result<(), Failure> {
    let panel = |up: &str, value: fn(&Point<'_>) -> Spread| {
        let series = lines.iter().map(|(name, points)| Series {
            name: (*name).to_owned(),
            points: points.iter().map(|point| (float(point.at), value(point))).collect(),
        });
        Panel { up: up.to_owned(), series: series.collect() }
    };
    let panels = vec![
        panel("decisions/s", |point| point.closed.rps),
        panel("p99 at half of that, in ms", |point| point.open.p99_us.times(0.001)),
    ];
    let chart = Chart { title, across: across.to_owned(), panels };
    let svg = chart.svg().ok_or(Failure::Unusable("there are too few points for a chart"))?;
    fs::write(path, svg).map_err(Failure::io("write a chart"))?;
    eprintln!("throughput: {} is drawn", path.display());
    Ok(())
}

//! One key that all traffic is about, with limits that it does not reach, against one without: on one replica, whose cores
//! meet at the key, and on three, which share what it may have.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::Admin;
use crate::client::{Target, try_out};
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::Question;
use crate::replicas::Replicas;
use crate::round::{Round, measure};
use crate::side::{Side, heading, line, rps_ratio, say_ratio};
use crate::statistics::Spread;
use crate::subject::{FAR_AWAY, Gateway};

const REPLICAS: [usize; 2] = [1, 3];
/// On all replicas together.
const CONNECTIONS: usize = 12;

#[derive(Serialize)]
struct Result {
    replicas: usize,
    connections: usize,
    streams: usize,
    unlimited: Side,
    limited: Side,
    ratio: Spread,
}

/// Measures with each number of replicas.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    for count in REPLICAS {
        with(plan, count).await?;
    }
    Ok(())
}

async fn with(plan: &Plan, count: usize) -> std::result::Result<(), Failure> {
    let replicas = Replicas::start(count).await?;
    let (address, administrator) = (replicas.first()?.address(), replicas.administrator.expose());
    let gateway = Gateway::make(address, administrator).await?;
    let mut admin = Admin::connect(address, administrator).await?;
    let limited = gateway.limited(&mut admin, FAR_AWAY).await?;
    let unlimited_loads = loads(plan, &replicas, &gateway).await?;
    let limited_loads = loads(plan, &replicas, &limited).await?;
    let (mut unlimited, mut limited) = (Vec::new(), Vec::new());
    for _ in 0..plan.pairs {
        unlimited.push(together(plan, &replicas, &unlimited_loads).await?);
        limited.push(together(plan, &replicas, &limited_loads).await?);
    }
    let result = Result {
        replicas: count,
        connections: CONNECTIONS,
        streams: plan.streams,
        ratio: rps_ratio(&limited, &unlimited)?,
        unlimited: Side::of(&unlimited)?,
        limited: Side::of(&limited)?,
    };
    heading(&format!("one key, {count} replica(s)"));
    result.unlimited.say("without limits");
    result.limited.say("with limits");
    say_ratio("decisions/s, with limits by without", &result.ratio);
    line("hot", &result)
}

/// A load for each replica, about the gateway's key.
async fn loads(
    plan: &Plan,
    replicas: &Replicas,
    gateway: &Gateway,
) -> std::result::Result<Vec<Load>, Failure> {
    let connections = CONNECTIONS / replicas.servers.len().max(1);
    let mut loads = Vec::new();
    for server in &replicas.servers {
        let question = Arc::new(Question::to_keystile(gateway, server.address())?);
        let target = Target { name: server.name(), address: server.address(), question };
        try_out(&target).await?;
        loads.push(Load::closed(&target, connections, plan.streams));
    }
    Ok(loads)
}

async fn together(plan: &Plan, replicas: &Replicas, loads: &[Load]) -> std::result::Result<Round, Failure> {
    Round::together(&measure(plan, loads, replicas.meter()).await?)
}

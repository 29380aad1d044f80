//! Whether limits on requests are exact across replicas: the matrix of numbers of replicas, limits, ways to spread
//! clients and faults. In each cell 64 clients ask for more than the limit gives, about one new key, and note when they
//! asked and were answered; a cell is broken if some window certainly holds more admissions than the limit.
//!
//! All clients are in this process and read one clock, the monotonic one. The service's windows are counted by the
//! database's clock, on the same machine: they run at the same rate unless somebody sets the clock meanwhile.

mod clients;
mod faults;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use keystile::clock::monotonic_now;
use keystile::grpc::pb;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::admissions::Steady;
use crate::cells::{Cell, Matrix};
use crate::client::{Target, try_out};
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::Question;
use crate::replicas::Replicas;
use crate::side::heading;
use crate::statistics::float;
use crate::subject::Gateway;

use clients::{Clients, Demand};
use faults::Stage;
use outcome::{Outcome, Summary};

/// As many connections, with one call under way on each.
const CLIENTS: usize = 64;
/// What clients ask for, by what the limit gives.
const DEMAND: f64 = 2.0;
/// What they ask for at least, so that each boundary of a part has somebody waiting for it.
const DEMAND_MIN: f64 = 1_280.0;
/// How long replicas may take to decide again after what befell them in the cell before.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
const RECOVERY_POLL: Duration = Duration::from_millis(200);

/// Replicas, and a gateway that may ask them.
struct Ground {
    stage: Stage,
    gateway: Gateway,
}

/// Measures each cell.
///
/// # Errors
/// What kept it from being measured; in the end, that a limit did not hold in some cell.
pub async fn run(plan: &Plan) -> Result<(), Failure> {
    let matrix = &plan.matrix;
    let mut summary = Summary::default();
    let mut ground: Option<Ground> = None;
    for cell in &matrix.cells {
        // Those of another number end before the next ones start.
        let same = ground.take_if(|ground| ground.stage.replicas.servers.len() == cell.replicas);
        drop(ground.take());
        let mut here = match same {
            Some(ground) => ground,
            None => Ground::start(cell.replicas).await?,
        };
        heading(&format!(
            "{} replica(s), {} a minute of {} s, {} load, fault {}",
            cell.replicas,
            cell.limit,
            matrix.window.as_secs(),
            cell.load,
            cell.fault
        ));
        let outcome = here.measure(plan, matrix, *cell).await?;
        outcome.report()?;
        summary.add(&outcome);
        ground = Some(here);
    }
    summary.report()
}

impl Ground {
    async fn start(replicas: usize) -> Result<Self, Failure> {
        let replicas = Replicas::start(replicas).await?;
        let administrator = replicas.administrator.expose();
        let gateway = Gateway::make(replicas.first()?.address(), administrator).await?;
        Ok(Self { stage: Stage::new(replicas), gateway })
    }

    async fn measure(&mut self, plan: &Plan, matrix: &Matrix, cell: Cell) -> Result<Outcome, Failure> {
        self.all_decide().await?;
        let replicas = &self.stage.replicas;
        let administrator = replicas.administrator.expose();
        let mut admin = Admin::connect(replicas.first()?.address(), administrator).await?;
        let limits =
            pb::RateLimitWindows { per_minute: Some(cell.limit.into()), ..pb::RateLimitWindows::default() };
        let gateway = self.gateway.limited(&mut admin, limits).await?;
        let lasts = matrix.window * matrix.windows;
        let steady = Steady::of(nanoseconds(lasts), nanoseconds(matrix.window));
        let steady = steady.ok_or(Failure::Unusable("a cell is too short for its window"))?;
        let per_second = f64::from(cell.limit) / matrix.window.as_secs_f64() * DEMAND;
        let demand = Demand {
            gateway,
            addresses: self.stage.addresses(&cell.load.replicas(CLIENTS, cell.replicas)),
            every: Duration::from_secs_f64(float(CLIENTS) / per_second.max(DEMAND_MIN)),
            steady,
            began: monotonic_now(),
        };
        let ends = demand.began + lasts;
        let mut clients = Clients::start(plan.threads, demand);
        let befell = clients.beside(self.stage.befall(cell.fault, ends)).await?;
        let log = clients.finish().await?;
        Ok(Outcome::of(cell, matrix, steady, befell, &log))
    }

    /// Waits until each replica decides.
    async fn all_decide(&self) -> Result<(), Failure> {
        let deadline = monotonic_now() + RECOVERY_MAX;
        for server in &self.stage.replicas.servers {
            let question = Question::to_keystile(&self.gateway, server.address())?;
            let (name, address, question) = (server.name(), server.address(), Arc::new(question));
            let target = Target { name, address, question };
            while let Err(failure) = try_out(&target).await {
                if monotonic_now() > deadline {
                    return Err(failure);
                }
                sleep(RECOVERY_POLL).await;
            }
        }
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

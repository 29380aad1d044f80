//! Keystile beside an echo server: each comparison has two sides, measured in turns.

use crate::client::try_out;
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::{Plan, Row};
use crate::question::Question;
use crate::report;
use crate::round::{Round, in_turns};
use crate::scenarios::echo_side::EchoSide;
use crate::subject::Subject;

/// Both sides, measured one right after the other.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The echo server.
    pub echo: Round,
    /// Keystile.
    pub keystile: Round,
}

/// All pairs of one comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// With what, on what.
    pub row: Row,
    /// In their order.
    pub pairs: Vec<Pair>,
}

/// Makes every comparison of the plan and reports each.
///
/// # Errors
/// What kept it from being measured; the servers have ended all the same.
pub async fn run(plan: &Plan) -> Result<(), Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let keystile = subject.target(Question::to_keystile(&gateway, subject.server.address())?);
    let decision = try_out(&keystile).await?;
    report::sizes(&keystile, &decision);
    let mut echo: Option<EchoSide> = None;
    for row in &plan.rows {
        // One that is not needed any more ends before the next one starts.
        let same = echo.take_if(|echo| echo.kind == row.echo);
        drop(echo.take());
        let side = match same {
            Some(side) => side,
            None => EchoSide::start(row.echo, &gateway, &decision).await?,
        };
        let of_echo = Load::closed(&side.target, row.connections, row.streams);
        let of_keystile = Load::closed(&keystile, row.connections, row.streams);
        let sides = [(&of_echo, side.meter()), (&of_keystile, subject.meter())];
        let [of_echo, of_keystile] = in_turns(plan, sides).await?;
        let pairs = of_echo.into_iter().zip(of_keystile).map(|(echo, keystile)| Pair { echo, keystile });
        report::comparison(&Comparison { row: *row, pairs: pairs.collect() })?;
        echo = Some(side);
    }
    Ok(())
}

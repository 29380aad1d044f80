//! The order of a run: servers up, then each comparison, its two sides in turns.

use std::sync::Arc;

use crate::client::{Answer, Question, Target, connect};
use crate::cpu::Meter;
use crate::failure::Failure;
use crate::options::{EchoKind, Plan, Role};
use crate::report;
use crate::round::{Round, measure};
use crate::server::Server;
use crate::subject::{Gateway, Subject};

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
    /// With what.
    pub echo: EchoKind,
    /// Connections.
    pub connections: usize,
    /// Calls under way at once on each.
    pub streams: usize,
    /// In their order.
    pub pairs: Vec<Pair>,
}

/// A server that is ready to be measured.
struct Side {
    target: Target,
    meter: Meter,
}

/// Makes every comparison of the plan and reports each.
///
/// # Errors
/// What kept it from being measured; the servers have ended all the same.
pub async fn run(plan: &Plan) -> Result<(), Failure> {
    report::plan(plan);
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let keystile = keystile_side(&subject, &gateway)?;
    let decision = try_out(&keystile.target).await?;
    report::sizes(&keystile.target, &decision);
    for kind in &plan.echoes {
        let answer_bytes = decision.message.len();
        let server = Server::start(Role::Echo(*kind), |command| {
            command.arg(format!("--answer-bytes={answer_bytes}"));
        })
        .await?;
        let echo = echo_side(&server, &gateway, answer_bytes)?;
        report::sizes(&echo.target, &try_out(&echo.target).await?);
        for connections in &plan.connections {
            let comparison = compare(plan, *kind, *connections, &echo, &keystile).await?;
            report::comparison(&comparison)?;
        }
    }
    Ok(())
}

async fn compare(
    plan: &Plan,
    kind: EchoKind,
    connections: usize,
    echo: &Side,
    keystile: &Side,
) -> Result<Comparison, Failure> {
    let mut pairs = Vec::with_capacity(plan.pairs);
    for _ in 0..plan.pairs {
        let echo = measure(plan, connections, &echo.target, echo.meter).await?;
        let keystile = measure(plan, connections, &keystile.target, keystile.meter).await?;
        pairs.push(Pair { echo, keystile });
    }
    Ok(Comparison { echo: kind, connections, streams: plan.streams, pairs })
}

fn keystile_side(subject: &Subject, gateway: &Gateway) -> Result<Side, Failure> {
    let question = Question::to_keystile(gateway, subject.server.address());
    side(&subject.server, question, Some(subject.postmaster.pid))
}

fn echo_side(server: &Server, gateway: &Gateway, answer_bytes: usize) -> Result<Side, Failure> {
    side(server, Question::to_echo(gateway, server.address(), answer_bytes), None)
}

fn side(
    server: &Server,
    question: Result<Question, http::Error>,
    postmaster: Option<u32>,
) -> Result<Side, Failure> {
    let question = question.map_err(|_| Failure::Unusable("the service token is no header value"))?;
    let target = Target { name: server.name(), address: server.address(), question: Arc::new(question) };
    Ok(Side { target, meter: Meter { server: server.pid(), postmaster } })
}

/// One call, whose answer must be right.
async fn try_out(target: &Target) -> Result<Answer, Failure> {
    let call = async {
        let mut connection = connect(target.address).await?;
        let answer = target.question.ask(&mut connection).await?;
        target.question.check(&answer, 0)?;
        Ok(answer)
    };
    call.await.map_err(|source| Failure::Call { target: target.name.to_owned(), source })
}

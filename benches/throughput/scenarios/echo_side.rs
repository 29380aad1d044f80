//! An echo server, asked what is as large as the gateway's question to Keystile.

use std::sync::Arc;

use crate::client::{Answer, Target, try_out};
use crate::cpu::Meter;
use crate::failure::Failure;
use crate::options::{EchoKind, Role};
use crate::question::Question;
use crate::report;
use crate::server::Server;
use crate::subject::Gateway;

/// One that runs.
#[derive(Debug)]
pub struct EchoSide {
    /// Which.
    pub kind: EchoKind,
    /// What it is asked.
    pub target: Target,
    server: Server,
}

impl EchoSide {
    /// Starts one whose answers are as large as this one of Keystile's, message and metadata, and tries it out.
    ///
    /// # Errors
    /// It did not start, or does not answer.
    pub async fn start(kind: EchoKind, gateway: &Gateway, like: &Answer) -> Result<Self, Failure> {
        let (bare, answer) = Self::with_filler(kind, gateway, like, 0).await?;
        let filler_bytes = like.metadata_bytes.saturating_sub(answer.metadata_bytes);
        let (side, answer) = if filler_bytes == 0 {
            (bare, answer)
        } else {
            drop(bare);
            Self::with_filler(kind, gateway, like, filler_bytes).await?
        };
        report::sizes(&side.target, &answer);
        Ok(side)
    }

    async fn with_filler(
        kind: EchoKind,
        gateway: &Gateway,
        like: &Answer,
        filler_bytes: usize,
    ) -> Result<(Self, Answer), Failure> {
        let answer_bytes = like.message.len();
        let server = Server::start(Role::Echo(kind), |command| {
            command.arg(format!("--answer-bytes={answer_bytes}"));
            command.arg(format!("--filler-bytes={filler_bytes}"));
        })
        .await?;
        let question = Arc::new(Question::to_echo(gateway, server.address(), answer_bytes)?);
        let target = Target { name: server.name(), address: server.address(), question };
        let answer = try_out(&target).await?;
        Ok((Self { kind, target, server }, answer))
    }

    /// Whose CPU time is read.
    pub fn meter(&self) -> Meter {
        Meter { servers: vec![self.server.pid()], postmaster: None }
    }
}

//! An echo server, asked what is as large as the gateway's question to Keystile.

use std::sync::Arc;

use crate::client::{Target, try_out};
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
    /// Starts it and tries it out; it answers in so many bytes.
    ///
    /// # Errors
    /// It did not start, or does not answer.
    pub async fn start(kind: EchoKind, gateway: &Gateway, answer_bytes: usize) -> Result<Self, Failure> {
        let server = Server::start(Role::Echo(kind), |command| {
            command.arg(format!("--answer-bytes={answer_bytes}"));
        })
        .await?;
        let question = Arc::new(Question::to_echo(gateway, server.address(), answer_bytes)?);
        let target = Target { name: server.name(), address: server.address(), question };
        report::sizes(&target, &try_out(&target).await?);
        Ok(Self { kind, target, server })
    }

    /// Whose CPU time is read.
    pub fn meter(&self) -> Meter {
        Meter { server: self.server.pid(), postmaster: None }
    }
}

//! `keystile health`: one probe of a server, for people, containers and load balancers.

use std::process::ExitCode;

use clap::Args;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::NOT_SERVING;
use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{Format, Output, OutputArgs};

const EXAMPLES: &str = "\
Examples:
  keystile health
  keystile health --service liveness --server http://10.0.0.7:50051 --timeout 1s
  keystile health --server https://keystile.internal:50051 --ca-file ca.pem

Exit code: 0 serving, 1 not serving, 2 unreachable, or no such service.";

/// Asks whether a server is ready
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Health {
    /// What to ask about: keystile.v1.AuthorizeService (ready to decide), liveness (the process works),
    /// keystile.store (the database answers) [default: ready to decide]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Health {
    /// Asks, and answers by the exit code.
    ///
    /// # Errors
    /// What the person needs to know: the server cannot be reached.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let mut health = HealthClient::new(self.server.connect().await?);
        let answer = health.check(HealthCheckRequest { service: self.service.clone() }).await;
        let status = match answer {
            Ok(answer) => answer.into_inner().status(),
            Err(status) if status.code() == Code::NotFound => {
                let failure = Failure::new(format!("The server knows no service {}.", self.service));
                return Err(failure.next("`keystile health --help` names those that there are.").into());
            }
            Err(status) => return Err(Failure::of_status(&status, false).into()),
        };
        match output.format() {
            Format::Json => {
                let answer = serde_json::json!({ "service": self.service, "status": status.as_str_name() });
                output.show_json(&answer)?;
            }
            Format::Table if status == ServingStatus::Serving => {
                output.show(&output.good(status.as_str_name()))?;
            }
            Format::Table => output.show(&output.bad(status.as_str_name()))?,
        }
        let serving = status == ServingStatus::Serving;
        Ok(if serving { ExitCode::SUCCESS } else { ExitCode::from(NOT_SERVING) })
    }
}

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
use super::output::{Format, Look, Output, OutputArgs, Tone};
use super::watch::{Shown, WatchArgs};

const EXAMPLES: &str = "\
Examples:
  keystile health
  keystile health --service liveness --server http://10.0.0.7:50051 --timeout 1s
  keystile health --watch
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
    #[command(flatten)]
    watch: WatchArgs,
}

impl Health {
    /// Asks, and answers by the exit code.
    ///
    /// # Errors
    /// What the person needs to know: the server cannot be reached.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        if self.watch.watch {
            let (format, look) = (output.format(), output.look());
            // A server that is not there is what one watches for.
            let ask = async || match self.ask().await {
                Ok(status) => Ok(self.shown(status.as_str_name(), tone(status), format, look)),
                Err(_) => Ok(self.shown("UNREACHABLE", Tone::Bad, format, look)),
            };
            self.watch.show(output, ask).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let status = self.ask().await?;
        let shown = self.shown(status.as_str_name(), tone(status), output.format(), output.look());
        output.show(&shown.text)?;
        let serving = status == ServingStatus::Serving;
        Ok(if serving { ExitCode::SUCCESS } else { ExitCode::from(NOT_SERVING) })
    }

    async fn ask(&self) -> anyhow::Result<ServingStatus> {
        let mut health = HealthClient::new(self.server.connect().await?);
        match health.check(HealthCheckRequest { service: self.service.clone() }).await {
            Ok(answer) => Ok(answer.into_inner().status()),
            Err(status) if status.code() == Code::NotFound => {
                let failure = Failure::new(format!("The server knows no service {}.", self.service));
                Err(failure.next("`keystile health --help` names those that there are.").into())
            }
            Err(status) => Err(Failure::of_status(&status, false).into()),
        }
    }

    fn shown(&self, status: &str, tone: Tone, format: Format, look: Look) -> Shown {
        let text = match format {
            Format::Json => format!("{:#}", serde_json::json!({ "service": self.service, "status": status })),
            Format::Table if look.colour => tone.paint(status),
            Format::Table => status.to_owned(),
        };
        Shown { text, note: String::new() }
    }
}

fn tone(status: ServingStatus) -> Tone {
    if status == ServingStatus::Serving { Tone::Good } else { Tone::Bad }
}

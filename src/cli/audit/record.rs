//! `keystile audit record`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::time::parse_duration;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile audit record --plugin-id billing --event-type sync --action write --resource invoices/9
  keystile audit record --plugin-id billing --event-type sync --error 'no route to host' --key-id 17";

/// Records an event of a plugin
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Record {
    /// Which plugin
    #[arg(long, value_name = "ID")]
    plugin_id: String,
    /// Which instance of it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    plugin_instance: String,
    /// What kind of event
    #[arg(long, value_name = "TEXT")]
    event_type: String,
    /// What was done
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    action: String,
    /// To what
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    resource: String,
    /// For which user; 0 is the operator
    #[arg(long, value_name = "ID")]
    user_id: Option<i64>,
    /// With which key
    #[arg(long, value_name = "KEY")]
    key_id: Option<i64>,
    /// From where
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    client_ip: String,
    /// With which program
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    user_agent: String,
    /// The HTTP status that was answered
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    http_status: i32,
    /// How long it took: 120ms, 2s
    #[arg(long, value_name = "LENGTH", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// It failed
    #[arg(long)]
    failed: bool,
    /// It failed, and this went wrong
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    error: String,
    /// Your id of the request, at most 128 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    request_id: String,
}

impl Record {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let answer = client.audit().record_plugin_event(self.to_request()?).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        match output.format() {
            Format::Json => output.show_json(&to_json("RecordPluginEventResponse", &answer)?)?,
            Format::Table => output.show(&format!("event  {}", answer.event_id))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn to_request(&self) -> anyhow::Result<pb::RecordPluginEventRequest> {
        let duration = self.duration.map(prost_types::Duration::try_from).transpose();
        let event = pb::PluginEvent {
            plugin_id: self.plugin_id.clone(),
            plugin_instance: self.plugin_instance.clone(),
            event_type: self.event_type.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            user_id: self.user_id,
            key_id: self.key_id,
            client_ip: self.client_ip.clone(),
            user_agent: self.user_agent.clone(),
            http_status: self.http_status,
            duration: duration.map_err(|_| Failure::new("--duration is too long."))?,
            success: !self.failed && self.error.is_empty(),
            error_message: self.error.clone(),
        };
        Ok(pb::RecordPluginEventRequest { event: Some(event), request_id: self.request_id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        record: Record,
    }

    fn request(args: &[&str]) -> pb::RecordPluginEventRequest {
        let args = ["record", "--plugin-id=p", "--event-type=t"].iter().chain(args);
        Program::try_parse_from(args).unwrap().record.to_request().unwrap()
    }

    #[test]
    fn every_flag_reaches_the_event() {
        let given = request(&[
            "--plugin-instance=i",
            "--action=a",
            "--resource=r",
            "--user-id=0",
            "--key-id=17",
            "--client-ip=10.0.0.7",
            "--user-agent=u",
            "--http-status=502",
            "--duration=120ms",
            "--error=e",
            "--request-id=q",
        ]);
        let event = pb::PluginEvent {
            plugin_id: "p".into(),
            plugin_instance: "i".into(),
            event_type: "t".into(),
            action: "a".into(),
            resource: "r".into(),
            user_id: Some(0),
            key_id: Some(17),
            client_ip: "10.0.0.7".into(),
            user_agent: "u".into(),
            http_status: 502,
            duration: Some(prost_types::Duration { seconds: 0, nanos: 120_000_000 }),
            success: false,
            error_message: "e".into(),
        };
        assert_eq!(given, pb::RecordPluginEventRequest { event: Some(event), request_id: "q".into() });
    }

    #[test]
    fn an_event_is_a_success_unless_it_says_otherwise() {
        let success = |args: &[&str]| request(args).event.unwrap().success;
        assert!(success(&[]) && !success(&["--failed"]) && !success(&["--error=e"]));
    }
}

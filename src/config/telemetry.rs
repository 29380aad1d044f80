//! What the service tells of itself, beside its log.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--slow-call` | `KEYSTILE_SLOW_CALL` | `500ms` | 1 ms to 60 minutes, or `off` |
//! | `--ops-listen` | `KEYSTILE_OPS_LISTEN` | `127.0.0.1:9464` | an IP address and a port, or `off` |
//! | `--otlp-endpoint` | `KEYSTILE_OTLP_ENDPOINT` | none: traces are not exported | `http://host:port` |
//! | `--otlp-sampling` | `KEYSTILE_OTLP_SAMPLING` | 1 | 0 to 1 |
//! | `--otlp-service-name` | `KEYSTILE_OTLP_SERVICE_NAME` | `keystile` | 1 to 255 bytes |
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is not read: platforms set it for every program, and a hot path must not be traced
//! because of where it runs. Headers for the collector (`OTEL_EXPORTER_OTLP_HEADERS`) and attributes of the process
//! (`OTEL_RESOURCE_ATTRIBUTES`) are, by OpenTelemetry's own library.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::{Fault, duration};

/// The variable that says where the operations port is.
pub const OPS_LISTEN: &str = "KEYSTILE_OPS_LISTEN";
const OTLP_ENDPOINT: &str = "KEYSTILE_OTLP_ENDPOINT";

/// Settings of metrics, traces, and slow calls.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Telemetry")]
pub struct Telemetry {
    /// Calls that take longer are logged as warnings: 500ms or 2s, say, or off
    #[arg(long, value_name = "TIME", env = "KEYSTILE_SLOW_CALL", default_value = "500ms",
          value_parser = SlowCall::parse)]
    pub slow_call: SlowCall,

    /// Address and port of the operations port (HTTP): /healthz, /readyz and /metrics; off for none
    #[arg(long, value_name = "ADDRESS:PORT", env = OPS_LISTEN, default_value = "127.0.0.1:9464",
          value_parser = OpsListen::parse)]
    pub ops_listen: OpsListen,

    /// Collector to send traces to, by OTLP over gRPC: http://host:4317, say
    #[arg(long, value_name = "URL", env = OTLP_ENDPOINT)]
    pub otlp_endpoint: Option<String>,

    /// Share of calls that are traced, 0 to 1, where their caller has not decided (by `traceparent`)
    #[arg(long, value_name = "SHARE", env = "KEYSTILE_OTLP_SAMPLING", default_value = "1",
          value_parser = sampling)]
    pub otlp_sampling: f64,

    /// Name of the service in traces
    #[arg(long, value_name = "NAME", env = "KEYSTILE_OTLP_SERVICE_NAME", default_value = "keystile",
          value_parser = service_name)]
    pub otlp_service_name: String,
}

impl Telemetry {
    /// `taken`: where else the service listens.
    pub(super) fn faults(&self, taken: [Option<SocketAddr>; 2]) -> Vec<Fault> {
        let mut faults = Vec::new();
        match self.ops_listen {
            OpsListen::At(address) if address.port() != 0 && taken.contains(&Some(address)) => {
                let problem = format!("{address} is taken by gRPC; give operations a port of its own");
                faults.push(Fault::new(OPS_LISTEN, problem));
            }
            OpsListen::At(_) | OpsListen::Off => {}
        }
        let endpoint = self.otlp_endpoint.as_deref().and_then(endpoint_fault);
        faults.extend(endpoint.map(|problem| Fault::new(OTLP_ENDPOINT, problem)));
        faults
    }
}

/// From when on a call is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowCall(Option<Duration>);

impl SlowCall {
    const MAX: Duration = Duration::from_secs(3_600);

    /// A call that takes longer is slow; `None`: none is.
    #[must_use]
    pub fn threshold(self) -> Option<Duration> {
        self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let length = duration::at_most(text, Self::MAX).ok().filter(|length| !length.is_zero());
        let wanted = || "must be a length of time from 1ms to 60m, as in 500ms or 2s, or off".to_owned();
        length.map(|length| Self(Some(length))).ok_or_else(wanted)
    }
}

impl fmt::Display for SlowCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(length) => f.write_str(&duration::write(length)),
        }
    }
}

/// Where the operations port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpsListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl OpsListen {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "off" => Ok(Self::Off),
            address => address
                .parse()
                .map(Self::At)
                .map_err(|_| "must be an IP address and a port, as in 127.0.0.1:9464, or off".to_owned()),
        }
    }
}

impl fmt::Display for OpsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Never repeats the value: an address may hold a password. clap would, so that it takes any text.
fn endpoint_fault(text: &str) -> Option<String> {
    let is_authority = |rest: &str| {
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        !authority.is_empty()
            && !authority.contains(['/', '@', '?', '#'])
            && !authority.contains(char::is_whitespace)
    };
    match text.strip_prefix("http://") {
        Some(rest) if is_authority(rest) => None,
        _ if text.starts_with("https://") => {
            let problem = "speaks TLS, which this version does not with a collector: send to one on this machine \
                           or in a private network";
            Some(problem.to_owned())
        }
        _ => Some("must be http://host:port, without a path, a user or a password".to_owned()),
    }
}

fn sampling(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

fn service_name(text: &str) -> Result<String, String> {
    let is_fit = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    is_fit
        .then(|| text.to_owned())
        .ok_or_else(|| "must be 1 to 255 bytes without control characters".to_owned())
}

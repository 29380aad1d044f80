//! `keystile keys expire` and `keystile keys extend`: the end of one key or of several.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;

use super::states::Which;
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::cli::time::{parse_days, to_timestamp};
use crate::grpc::pb;
use crate::grpc::pb::set_expiration_request::Expiration;

const EXPIRE_EXAMPLES: &str = "\
Examples:
  keystile keys expire 17 --in 90d
  keystile keys expire 17 --at 2030-01-31T00:00:00Z
  keystile keys expire 17 --never";
const EXTEND_EXAMPLES: &str = "\
Examples:
  keystile keys extend 17 --by 30d
  keystile keys list --tag ci -o json | jq '.keys[].key_id' | xargs keystile keys extend --by 30d";

/// Sets when keys end, or that they never do
///
/// Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXPIRE_EXAMPLES)]
pub struct Expire {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    end: End,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct End {
    /// At this instant: 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
    /// So many days from now, 1 to 3650: 90d
    #[arg(long = "in", value_name = "DAYS", value_parser = parse_days)]
    days: Option<i32>,
    /// Never
    #[arg(long)]
    never: bool,
}

/// Lets keys live longer: adds days to their end, or to now where that has passed or there is none
///
/// Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXTEND_EXAMPLES)]
pub struct Extend {
    #[command(flatten)]
    which: Which,
    /// So many days, 1 to 3650: 30d
    #[arg(long = "by", value_name = "DAYS", value_parser = parse_days)]
    days: i32,
}

impl Expire {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let ask = async |key_id: i64, etag: String| match self.end.expiration() {
            Some(expiration) => {
                let expiration = Some(expiration);
                client.keys().set_expiration(pb::SetExpirationRequest { key_id, expiration, etag }).await
            }
            None => client.keys().clear_expiration(pb::ClearExpirationRequest { key_id, etag }).await,
        };
        self.which.each_or_whole(client, output, ask).await
    }
}

impl End {
    /// `None`: never.
    fn expiration(&self) -> Option<Expiration> {
        let at = self.at.map(|at| Expiration::ExpireTime(to_timestamp(at)));
        at.or(self.days.map(Expiration::Days))
    }
}

impl Extend {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let ask = async |key_id: i64, etag: String| {
            let days = self.days;
            client.keys().extend_expiration(pb::ExtendExpirationRequest { key_id, days, etag }).await
        };
        self.which.each_or_whole(client, output, ask).await
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        expire: Expire,
    }

    #[test]
    fn an_end_is_an_instant_days_or_never_and_one_of_them() {
        let end = |args: &[&str]| {
            let args = ["expire", "17"].iter().chain(args);
            Program::try_parse_from(args).map(|program| program.expire.end.expiration())
        };
        let instant = prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 };
        assert_eq!(end(&["--at=2030-03-17T17:46:40Z"]).unwrap(), Some(Expiration::ExpireTime(instant)));
        assert_eq!(end(&["--in=90d"]).unwrap(), Some(Expiration::Days(90)));
        assert_eq!(end(&["--in=90"]).unwrap(), Some(Expiration::Days(90)));
        assert_eq!(end(&["--never"]).unwrap(), None);
        for wrong in
            [&[][..], &["--never", "--in=1"], &["--at=soon"], &["--in=12h"], &["--in=0"], &["--in=3651"]]
        {
            assert!(end(wrong).is_err(), "{wrong:?}");
        }
    }
}

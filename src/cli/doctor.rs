//! `keystile doctor`: looks at everything that serving rests on, and says what to do about what is wrong.
//!
//! It changes nothing: what it writes to the database, to see that it can, is rolled back. It works before the
//! first start, and beside a running server.

mod data_dir;
mod database;
mod judge;
mod peppers;
mod report;
mod service;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use self::database::Context;
use self::report::{Level, Report};
use super::client::{ClientArgs, Private, reachable};
use super::output::{Output, OutputArgs};
use crate::config::Serve;

const EXAMPLES: &str = "\
Examples:
  keystile doctor
  keystile doctor --replicas 3
  keystile doctor -o json | jq '.checks[] | select(.level == \"fail\")'

Exit code: 0 all well, or only warnings; 1 something failed; 2 it could not be looked at.";

/// The exit code where something failed.
const UNWELL: u8 = 1;

/// Looks at everything that `serve` rests on, and says what to do
///
/// Give it the flags and variables that `serve` has. It looks at the configuration, the database (version,
/// durability, schema, rights, connections, clock), the peppers, the data directory, and asks a running
/// server, where one answers. Nothing is changed.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    /// Replicas that share the database, for its limit of connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    replicas: u32,
    #[command(flatten)]
    serve: Serve,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Doctor {
    /// Looks at everything, one finding a check.
    ///
    /// # Errors
    /// What writing fails with.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let mut report = Report::default();
        self.configuration(&mut report);
        let (url, is_embedded) = match &self.serve.database.database_url {
            Some(url) => (has_scheme(url).then(|| url.clone()), false),
            None if self.serve.database.data_dir.as_os_str().is_empty() => (None, true),
            None => (data_dir::examine(&self.serve.database.data_dir, &mut report), true),
        };
        if let Some(url) = url {
            let context = Context { serve: &self.serve, replicas: self.replicas, is_embedded };
            database::examine(&url, &context, &mut report).await;
        } else {
            database::skip_rest(is_embedded, database::AWAY, &mut report);
        }
        service::examine(&self.client(), &self.serve.tokens.brand, output, &mut report).await;
        let is_well = report.count(Level::Fail) == 0;
        report.show(output, io::stdout().is_terminal())?;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(UNWELL) })
    }

    /// Asks the server that the configuration describes, where no other is named.
    fn client(&self) -> ClientArgs {
        let mut client = self.client.clone();
        if client.server.server.is_none() {
            client.server.server = own_server(self.serve.listen, self.serve.tls.files().is_some());
        }
        if self.serve.database.database_url.is_none() {
            let data_dir = self.serve.database.data_dir.clone();
            client.private = Some(Private { listen: self.serve.listen, data_dir });
        }
        client
    }

    fn configuration(&self, report: &mut Report) {
        match self.serve.validate() {
            Ok(()) => report.ok("configuration", "without faults"),
            Err(faults) => {
                for fault in faults.iter() {
                    report.fail("configuration", fault.to_string(), "");
                }
            }
        }
    }
}

/// Where a server that listens so is reached from this machine.
fn own_server(listen: SocketAddr, speaks_tls: bool) -> Option<Uri> {
    let scheme = if speaks_tls { "https" } else { "http" };
    format!("{scheme}://{}", reachable(listen)).parse().ok()
}

/// Any other is a fault of the configuration, and told as such.
fn has_scheme(url: &SecretString) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.expose_secret().starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_where_the_configuration_listens() {
        for (listen, speaks_tls, server) in [
            ("127.0.0.1:50051", false, "http://127.0.0.1:50051/"),
            ("0.0.0.0:6000", true, "https://127.0.0.1:6000/"),
            ("[::]:6000", true, "https://[::1]:6000/"),
            ("10.0.0.7:443", false, "http://10.0.0.7:443/"),
        ] {
            let own = own_server(listen.parse().unwrap(), speaks_tls);
            assert_eq!(own.map(|it| it.to_string()).as_deref(), Some(server));
        }
    }
}

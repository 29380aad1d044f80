//! Every fault of flags and environment is told at once.

use super::*;

fn stop(args: &[&str]) -> Stop {
    let args: Vec<_> = ["keystile"].iter().chain(args).map(OsString::from).collect();
    parse(&args).unwrap_err()
}

fn faults(args: &[&str]) -> String {
    match stop(args) {
        Stop::Arguments(faults) | Stop::Settings(faults) => faults.to_string(),
        Stop::Clap(error) => panic!("{error}"),
    }
}

#[test]
fn all_refused_values_are_told_at_once() {
    let told =
        faults(&["check-config", "--listen=here", "--pool-size=1", "--log-format=xml", "--observe=ips,all"]);
    assert_eq!(
        told,
        "4 settings are wrong:
  --listen: \"here\": must be an IP address and a port, as in 127.0.0.1:50051 or [::]:50051
  --pool-size: 1 is not in 2..=1000
  --log-format: \"xml\": must be one of pretty, json
  --observe: \"ips,all\": all is no check; the checks are ips, endpoints, scopes, permissions, models, chatbots, \
         rate_limits, budgets"
    );
}

#[test]
fn what_takes_several_values_is_checked_too() {
    let told =
        faults(&["check-config", "--listen=0.0.0.0:1", "--no-auth", "--database-url=mysql://me:sesame@h/d"]);
    assert!(told.starts_with("2 settings are wrong:\n  --no-auth: "), "{told}");
    assert!(!told.contains("sesame"), "{told}");
}

#[test]
fn a_single_refused_argument_is_told_by_clap_with_its_usage() {
    for args in [
        vec!["check-config", "--pool-size=1"],
        vec!["keys", "get", "first"],
        vec!["keys", "list", "--limit", "0"],
        vec!["keys", "list", "--nothing"],
        vec!["nothing"],
        vec![],
    ] {
        let Stop::Clap(error) = stop(&args) else { panic!("{args:?}") };
        assert_eq!(error.exit_code(), 2, "{args:?}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for args in
        [vec!["--help"], vec!["--version"], vec!["keys", "create", "--help"], vec!["help", "authorize"]]
    {
        let Stop::Clap(error) = stop(&args) else { panic!("{args:?}") };
        assert_eq!(error.exit_code(), 0, "{args:?}");
    }
    let Stop::Clap(error) = stop(&["--version"]) else { panic!() };
    assert_eq!(error.to_string(), concat!("keystile ", env!("CARGO_PKG_VERSION"), "\n"));
}

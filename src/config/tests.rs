//! Settings have the defaults, bounds and faults that are documented.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser};
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::policy::{Check, CheckSet};

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    serve: Serve,
}

/// Without the environment of whoever runs the tests.
fn parse(args: &[&str]) -> Result<Serve, clap::Error> {
    let command = Program::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(["keystile"].iter().chain(args))?;
    Serve::from_arg_matches(&matches)
}

fn serve(args: &[&str]) -> Serve {
    parse(args).unwrap()
}

fn refusal(args: &[&str]) -> String {
    parse(args).unwrap_err().to_string()
}

fn listens(address: &str) -> SocketAddr {
    serve(&["--listen", address]).listen
}

#[test]
fn defaults_are_the_documented_ones() {
    let serve = serve(&[]);
    assert_eq!(serve.listen, "127.0.0.1:50051".parse().unwrap());
    assert!(!serve.no_auth);
    assert!(serve.bootstrap_token_file.is_none());
    assert!(serve.database.database_url.is_none());
    assert_eq!(serve.database.data_dir, crate::embedded::default_data_dir().unwrap());
    assert!(!serve.database.auto_migrate);
    assert_eq!(serve.database.pool_size, 16);
    assert!(serve.tokens.peppers_file.is_none());
    assert_eq!(serve.tokens.bcrypt_cost.get(), 10);
    assert_eq!(serve.tokens.brand.as_str(), "ks");
    assert_eq!(Ok(serve.tokens.bcrypt_threads), std::thread::available_parallelism().map_err(|_| ()));
    assert_eq!(serve.tokens.bcrypt_queue, 256);
    assert_eq!(serve.decisions.observe, CheckSet::EMPTY);
    assert_eq!(serve.freshness.max_staleness, Duration::from_secs(30));
    assert_eq!(serve.freshness.propagation_wait, crate::cache::PROPAGATION_WAIT);
    assert_eq!((serve.cache.keys, serve.cache.bytes()), (1_000_000, 512 << 20));
    assert_eq!((serve.cache.unknown, serve.cache.warm_up), (100_000, 0));
    assert_eq!(serve.cache.refresh, std::time::Duration::from_secs(600));
    assert_eq!((serve.cache.load_queue, serve.cache.load_queue_each), (8_192, 4_096));
    assert_eq!(serve.cache.load_unknown_each, 250);
    assert_eq!(serve.log.filter, "info");
    assert_eq!(serve.validate(), Ok(()));
}

#[test]
fn every_setting_has_a_variable_that_kubernetes_does_not_inject() {
    for arg in Program::command().get_arguments() {
        let variable = arg.get_env().and_then(|name| name.to_str()).unwrap();
        assert!(variable.starts_with("KEYSTILE_"), "{variable}");
        assert!(!variable.starts_with("KEYSTILE_PORT"), "{variable}");
        assert!(!variable.starts_with("KEYSTILE_SERVICE_"), "{variable}");
        assert!(arg.get_long().is_some(), "{variable}");
        assert!(arg.get_help().is_some(), "{variable}");
    }
}

#[test]
fn bounds_are_inclusive() {
    for (flag, low, high) in [
        ("--pool-size", "2", "1000"),
        ("--bcrypt-cost", "4", "14"),
        ("--bcrypt-threads", "1", "256"),
        ("--bcrypt-queue", "0", "65536"),
        ("--token-brand", "k", "k2345678"),
        ("--cache-keys", "1000", "100000000"),
        ("--cache-mib", "1", "1048576"),
        ("--cache-unknown", "0", "10000000"),
        ("--cache-refresh", "1s", "1440m"),
        ("--cache-warm-up", "0", "1000000"),
        ("--load-queue", "1", "1000000"),
        ("--load-queue-each", "1", "1000000"),
    ] {
        serve(&[flag, low]);
        serve(&[flag, high]);
    }
    for (flag, below, above) in [
        ("--pool-size", "1", "1001"),
        ("--bcrypt-cost", "3", "15"),
        ("--bcrypt-threads", "0", "257"),
        ("--bcrypt-queue", "-1", "65537"),
        ("--token-brand", "1k", "k23456789"),
        ("--cache-keys", "999", "100000001"),
        ("--cache-mib", "0", "1048577"),
        ("--cache-unknown", "-1", "10000001"),
        ("--cache-refresh", "999ms", "1441m"),
        ("--cache-warm-up", "-1", "1000001"),
        ("--load-queue", "0", "1000001"),
        ("--load-queue-each", "0", "1000001"),
    ] {
        for value in [below, above] {
            let refusal = refusal(&[&format!("{flag}={value}")]);
            assert!(refusal.contains(flag), "{refusal}");
        }
    }
}

#[test]
fn no_caller_has_more_places_than_there_are() {
    let faults = serve(&["--load-queue=10", "--load-queue-each=11"]).validate().unwrap_err().to_string();
    assert!(faults.contains("KEYSTILE_LOAD_QUEUE_EACH"), "{faults}");
    assert_eq!(serve(&["--load-queue=10", "--load-queue-each=10"]).validate(), Ok(()));
}

#[test]
fn observed_checks_are_a_list_by_commas() {
    let observe = serve(&["--observe", "rate_limits, endpoints"]).decisions.observe;
    assert_eq!(observe, CheckSet::EMPTY.with(Check::RateLimits).with(Check::Endpoints));
    let refusal = refusal(&["--observe", "ips,limits"]);
    assert!(refusal.contains("limits is no check; the checks are ips, endpoints, scopes,"), "{refusal}");
}

#[test]
fn addresses_are_numbers_v4_or_v6() {
    assert_eq!(listens("0.0.0.0:1").to_string(), "0.0.0.0:1");
    assert_eq!(listens("[::1]:50051").to_string(), "[::1]:50051");
    assert!(refusal(&["--listen", "localhost:50051"]).contains("must be an IP address and a port"));
}

#[test]
fn no_auth_works_on_loopback_only() {
    for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(serve(&["--no-auth", "--listen", loopback]).validate(), Ok(()), "{loopback}");
    }
    for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        let faults = serve(&["--no-auth", "--listen", open]).validate().unwrap_err().to_string();
        assert!(faults.contains("KEYSTILE_NO_AUTH: lets every caller do everything"), "{faults}");
        assert!(faults.contains(open), "{faults}");
        assert_eq!(serve(&["--listen", open]).validate(), Ok(()), "{open}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let faults = serve(&[
        "--no-auth",
        "--listen=0.0.0.0:50051",
        "--bootstrap-token-file",
        &path(dir.path()),
        "--database-url=mysql://me:sesame@host/keys",
        "--peppers-file",
        &path(&missing),
    ])
    .validate()
    .unwrap_err();
    let expected = format!(
        "4 settings are wrong:
  KEYSTILE_NO_AUTH: lets every caller do everything, so it works on a loopback address only; 0.0.0.0:50051 can be reached from other machines
  KEYSTILE_BOOTSTRAP_TOKEN_FILE: {dir} is a directory, not a file
  KEYSTILE_DATABASE_URL: must start with postgres:// or postgresql://
  KEYSTILE_PEPPERS_FILE: cannot read {missing}: No such file or directory (os error 2)",
        dir = dir.path().display(),
        missing = missing.display(),
    );
    assert_eq!(faults.to_string(), expected);
}

#[test]
fn a_pepper_file_that_says_nothing_is_a_fault() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let faults = serve(&["--peppers-file", file.path().to_str().unwrap()]).validate().unwrap_err();
    assert_eq!(faults.iter().count(), 1);
    assert!(faults.to_string().contains("KEYSTILE_PEPPERS_FILE: "), "{faults}");
}

#[test]
fn a_database_url_is_never_shown() {
    let url = "postgresql://me:sesame@host/keys";
    let serve = serve(&["--database-url", url]);
    assert_eq!(serve.database.database_url.as_ref().map(SecretString::expose_secret), Some(url));
    assert!(!format!("{serve:?}").contains("sesame"));
    assert_eq!(serve.validate(), Ok(()));
}

#[test]
fn without_a_home_a_data_directory_must_be_named_or_a_database() {
    let faults = serve(&["--data-dir="]).validate().unwrap_err().to_string();
    assert!(faults.contains("KEYSTILE_DATA_DIR: there is no home directory"), "{faults}");
    assert_eq!(serve(&["--data-dir=", "--database-url=postgres://h/d"]).validate(), Ok(()));
    assert_eq!(serve(&["--data-dir=/srv/keys"]).database.data_dir, Path::new("/srv/keys"));
}

#[test]
fn log_filters_are_checked() {
    assert_eq!(serve(&["--log", "warn,keystile::storage=debug"]).log.filter, "warn,keystile::storage=debug");
    assert!(refusal(&["--log", "keystile=loud"]).contains("--log"));
    assert_eq!(serve(&["--log-format", "json"]).log.format, LogFormat::Json);
    assert!(refusal(&["--log-format", "xml"]).contains("pretty, json"));
}

#[test]
fn a_collectors_address_that_is_refused_is_not_repeated() {
    assert_eq!(serve(&["--otlp-endpoint=http://collector:4317/"]).validate(), Ok(()));
    for endpoint in
        ["http://me:sesame@collector:4317", "https://me:sesame@collector", "http://c?key=sesame", "sesame"]
    {
        let faults = serve(&["--otlp-endpoint", endpoint]).validate().unwrap_err().to_string();
        assert!(faults.contains("KEYSTILE_OTLP_ENDPOINT: ") && !faults.contains("sesame"), "{faults}");
    }
}

#[test]
fn every_port_is_another_one() {
    let taken = "127.0.0.1:50051";
    for ports in [&["--ops-listen", taken][..], &["--health-listen=[::1]:1", "--ops-listen=[::1]:1"]] {
        let faults = serve(ports).validate().unwrap_err().to_string();
        assert!(faults.contains("KEYSTILE_OPS_LISTEN: "), "{faults}");
        assert!(faults.contains("is taken by gRPC; give operations a port of its own"), "{faults}");
    }
    // Zero is any port that is free.
    assert_eq!(serve(&["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0"]).validate(), Ok(()));
}

#[test]
fn a_slow_call_takes_a_length_of_time_or_is_off() {
    let slow = |text: &str| serve(&["--slow-call", text]).telemetry.slow_call;
    for (text, threshold, shown) in [
        ("off", None, "off"),
        ("1ms", Some(1), "1ms"),
        ("1500ms", Some(1_500), "1500ms"),
        ("2s", Some(2_000), "2s"),
        ("3600s", Some(3_600_000), "60m"),
    ] {
        assert_eq!(slow(text).threshold(), threshold.map(Duration::from_millis), "{text}");
        assert_eq!(slow(text).to_string(), shown);
    }
    for bad in ["", "0s", "3601s", "5", "1h", "-1s", "Off"] {
        assert!(refusal(&[&format!("--slow-call={bad}")]).contains("from 1ms to 60m"), "{bad}");
    }
}

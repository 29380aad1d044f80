//! Settings of TLS that do not go together, or whose files cannot be used, are told at once.

use std::fs;
use std::path::Path;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser};

use super::*;
use crate::config::Serve;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    serve: Serve,
}

/// Without the environment of whoever runs the tests.
fn parse(args: &[&str]) -> Result<Serve, String> {
    let command = Program::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(["keystile"].iter().chain(args));
    Ok(Serve::from_arg_matches(&matches.map_err(|error| error.to_string())?).unwrap())
}

fn faults(args: &[&str]) -> String {
    parse(args).unwrap().validate().unwrap_err().to_string()
}

/// A certificate and its key in two files.
fn identity(dir: &Path, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned())
}

#[test]
fn a_pair_with_a_client_ca_is_mutual_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = identity(dir.path(), "a");
    let pair = ["--tls-cert-file", &cert, "--tls-key-file", &key];
    let serve = parse(&pair).unwrap();
    assert_eq!(serve.validate(), Ok(()));
    assert!(serve.tls.files().unwrap().clients.is_none());
    let mutual = [&pair[..], &["--tls-client-ca-file", &cert]].concat();
    assert_eq!(parse(&mutual).unwrap().tls.client_auth(), Some(ClientAuth::Required));
    let optional = [&mutual[..], &["--tls-client-auth=optional"]].concat();
    assert_eq!(parse(&optional).unwrap().tls.files().unwrap().clients.unwrap().1, ClientAuth::Optional);
    assert!(parse(&[]).unwrap().tls.files().is_none());
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_setting() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = identity(dir.path(), "a");
    let (_, other_key) = identity(dir.path(), "b");
    let garbage = dir.path().join("garbage").to_str().unwrap().to_owned();
    fs::write(&garbage, "no PEM").unwrap();
    let broken = dir.path().join("broken").to_str().unwrap().to_owned();
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for (cert_file, key_file, told) in [
        (&cert, &other_key, format!("KEYSTILE_TLS_CERT_FILE: the key in {other_key} is not that of the")),
        (&cert, &garbage, format!("KEYSTILE_TLS_KEY_FILE: {garbage} holds no private key in PEM")),
        (&cert, &cert, format!("KEYSTILE_TLS_KEY_FILE: {cert} holds no private key in PEM")),
        (&garbage, &key, format!("KEYSTILE_TLS_CERT_FILE: {garbage} holds no certificate in PEM")),
        (&broken, &key, format!("KEYSTILE_TLS_CERT_FILE: {broken} cannot be used: ")),
        (&cert, &"/nowhere/key".to_owned(), "KEYSTILE_TLS_KEY_FILE: cannot read /nowhere/key: ".to_owned()),
    ] {
        let faults = faults(&["--tls-cert-file", cert_file, "--tls-key-file", key_file]);
        assert!(faults.contains(&told), "{told}: {faults}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = identity(dir.path(), "a");
    let told = faults(&["--tls-cert-file", &cert, "--tls-client-auth=optional", "--tls-client-caller=a=1"]);
    assert_eq!(
        told,
        "3 settings are wrong:
  KEYSTILE_TLS_CERT_FILE: needs KEYSTILE_TLS_KEY_FILE, its key
  KEYSTILE_TLS_CLIENT_AUTH: means nothing without KEYSTILE_TLS_CLIENT_CA_FILE, the authorities of the certificates
  KEYSTILE_TLS_CLIENT_CALLER: means nothing without KEYSTILE_TLS_CLIENT_CA_FILE, the authorities of the certificates"
    );
    assert!(
        faults(&["--tls-key-file", &key]).contains("KEYSTILE_TLS_KEY_FILE: needs KEYSTILE_TLS_CERT_FILE")
    );
    let told = faults(&["--tls-client-ca-file", &cert]);
    assert!(told.contains("KEYSTILE_TLS_CLIENT_CA_FILE: asks clients for certificates"), "{told}");
    let told = faults(&["--health-listen=127.0.0.1:50051"]);
    assert!(told.contains("KEYSTILE_HEALTH_LISTEN: 127.0.0.1:50051 is where gRPC is served"), "{told}");
}

#[test]
fn client_callers_are_names_and_keys() {
    let callers = "--tls-client-caller=spiffe://c/ns?a=b=1000007, gateway.internal=2";
    let tls = parse(&[callers, "--tls-client-caller=urn:x=3"]).unwrap().tls;
    let told: Vec<String> = tls.client_callers.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["spiffe://c/ns?a=b=1000007", "gateway.internal=2", "urn:x=3"]);
    for (text, problem) in [
        ("gateway", "must be SAN=KEY_ID"),
        ("*.internal=1", "without `*`"),
        ("=1", "must be a URI"),
        ("gateway=0", "0 is no key"),
        ("gateway=x", "x is no key"),
    ] {
        let refusal = parse(&[&format!("--tls-client-caller={text}")]).unwrap_err();
        assert!(refusal.contains(problem), "{text}: {refusal}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = identity(dir.path(), "a");
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-client-ca-file", &cert];
    let told = faults(&[&files[..], &["--tls-client-caller=a=1,A=2"]].concat());
    assert!(told.contains("KEYSTILE_TLS_CLIENT_CALLER: a stands for key 1 and for key 2"), "{told}");
}

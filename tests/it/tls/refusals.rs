//! Who is refused, what its user is told, and what the log of the server says.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::authority::{Authority, Leaf};
use super::{SERVER_NAMES, Stage, told};
use crate::harness::Process;

const LIST: [&str; 2] = ["keys", "list"];

/// Runs a command that fails, and returns what it tells.
fn refused(mut command: Command) -> String {
    let output = Process::run({
        command.env_remove("RUST_BACKTRACE");
        command
    });
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    told(&output)
}

fn showing(stage: &Stage, mut command: Command, leaf: &Leaf) -> Command {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("shown-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    stage.put_leaf(&name, leaf);
    command.env("KEYSTILE_CLIENT_CERT_FILE", stage.path(&format!("{name}.crt")));
    command.env("KEYSTILE_CLIENT_KEY_FILE", stage.path(&format!("{name}.key")));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_why_it_does_not_trust_the_server() {
    let stage = Stage::set().await;
    let mut server = stage.serve(&[]);
    let https = format!("https://{}", server.address);
    let output = Process::run(stage.command(&https, &LIST));
    assert!(output.status.success(), "{output:?}");
    let output = Process::run(stage.command(&https, &["health"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "SERVING\n");

    let in_the_clear = refused(stage.command(&format!("http://{}", server.address), &LIST));
    assert!(in_the_clear.contains("speaks TLS.\nWrite https:// instead of http://"), "{in_the_clear}");
    let mut other = stage.command(&https, &LIST);
    other.env("KEYSTILE_CA_FILE", stage.path("clients.pem"));
    let other = refused(other);
    assert!(other.contains("from an authority that is not trusted here.\nName the file"), "{other}");
    let named = refused(stage.command(&https, &["health", "--server-name", "elsewhere.internal"]));
    assert!(named.contains("its certificate is not for the name elsewhere.internal.\n"), "{named}");
    let line = server.wait_for_log(|line| line.contains("refused_by_peer"));
    assert!(line.contains("UnknownCA") && !line.contains("127.0.0.1"), "{line}");
    assert!(server.terminate().success());

    stage.put_leaf("server", &stage.servers.expired(&SERVER_NAMES));
    let server = stage.serve(&[]);
    let expired = refused(stage.command(&format!("https://{}", server.address), &LIST));
    assert!(expired.contains("its certificate has expired.\nRenew"), "{expired}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_clear_is_told_from_one_by_tls() {
    let stage = Stage::set().await;
    let settings = [("KEYSTILE_TLS_CERT_FILE", ""), ("KEYSTILE_TLS_KEY_FILE", "")];
    let server = stage.serve(&settings);
    let words = refused(stage.command(&format!("https://{}", server.address), &LIST));
    assert!(words.contains("it does not speak TLS.\nIs that the right port?"), "{words}");
    let mut with_authority = stage.command(&server.address, &LIST);
    with_authority.env("KEYSTILE_CA_FILE", stage.path("servers.pem"));
    let words = refused(with_authority);
    assert!(words.contains("is not reached by TLS, but settings of TLS are given"), "{words}");
    let mut half = stage.command(&server.address, &LIST);
    half.env("KEYSTILE_CLIENT_CERT_FILE", stage.path("server.crt"));
    assert!(refused(half).contains("belong together"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_an_acceptable_certificate_is_refused_with_a_reason_in_the_log() {
    let stage = Stage::set().await;
    let mut server = stage.serve_mutual(&[]);
    let https = format!("https://{}", server.address);
    let list = || stage.command(&https, &LIST);
    let gateway = ["gateway.internal"];
    let output = Process::run(showing(&stage, list(), &stage.clients.leaf(&gateway)));
    assert!(output.status.success(), "{output:?}");

    let strangers = Authority::new("strangers");
    // Of the name of the authority that is trusted, with a key of its own.
    let impostor = Authority::new("clients");
    for (reason, told, command) in [
        ("no_certificate", "it asks for a client certificate", list()),
        (
            "unknown_issuer",
            "it does not trust the authority of the client certificate",
            showing(&stage, list(), &strangers.leaf(&gateway)),
        ),
        (
            "expired",
            "the client certificate has expired",
            showing(&stage, list(), &stage.clients.expired(&gateway)),
        ),
    ] {
        let words = refused(command);
        assert!(words.contains(told), "{reason}: {words}");
        assert!(words.contains("--client-cert-file"), "{reason}: {words}");
        let line = server.wait_for_log(|line| line.contains("a TLS handshake failed"));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((line["reason"].as_str(), line["level"].as_str()), (Some(reason), Some("WARN")), "{line}");
        assert!(!line.to_string().contains("127.0.0.1"), "{line}");
    }
    refused(showing(&stage, list(), &impostor.leaf(&gateway)));

    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // An alert, and the end.
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let line = server.wait_for_log(|line| line.contains("not_tls"));
    assert!(line.contains("INFO"), "{line}");
    let output = Process::run(showing(&stage, list(), &stage.clients.leaf(&gateway)));
    assert!(output.status.success(), "it serves on: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_optional_a_bad_one_is_refused_all_the_same() {
    let stage = Stage::set().await;
    let server = stage.serve_mutual(&[("KEYSTILE_TLS_CLIENT_AUTH", "optional")]);
    let https = format!("https://{}", server.address);
    let output = Process::run(stage.command(&https, &LIST));
    assert!(output.status.success(), "{output:?}");
    let expired = stage.clients.expired(&["gateway.internal"]);
    let words = refused(showing(&stage, stage.command(&https, &LIST), &expired));
    assert!(words.contains("the client certificate has expired"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_in_the_clear_that_others_can_reach_is_warned_of() {
    let stage = Stage::set().await;
    let everywhere = ("KEYSTILE_LISTEN", "0.0.0.0:0");
    let mut server =
        stage.serve(&[("KEYSTILE_TLS_CERT_FILE", ""), ("KEYSTILE_TLS_KEY_FILE", ""), everywhere]);
    let line = server.wait_for_log(|line| line.contains("tokens travel in the clear"));
    assert!(line.contains("WARN") && line.contains("KEYSTILE_TLS_CERT_FILE"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_keeps_nobody_waiting() {
    let stage = Stage::set().await;
    let server = stage.serve(&[]);
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(&server.address).await.unwrap());
    }
    let output = Process::run(stage.command(&format!("https://{}", server.address), &LIST));
    assert!(output.status.success(), "{output:?}");
}

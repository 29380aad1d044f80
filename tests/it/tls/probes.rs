//! Health in the clear beside gRPC by TLS, and programs of others: grpc-health-probe and grpcurl.

use std::process::Command;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tonic::Code;
use tonic::transport::Endpoint;

use super::{Stage, free_port, program};
use crate::harness::{Process, status_reason};

fn succeeds(what: &str, command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{what}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn fails(what: &str, command: &mut Command) {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{what}: {output:?}");
}

/// A server by mutual TLS with health in the clear, a certificate to show, and the address of health.
async fn server(stage: &Stage) -> (Process, String) {
    stage.put_leaf("shown", &stage.clients.leaf(&["probe.internal"]));
    let health = format!("127.0.0.1:{}", free_port().await);
    (stage.serve_mutual(&[("KEYSTILE_HEALTH_LISTEN", &health)]), health)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served_in_the_clear_and_nothing_else() {
    let stage = Stage::set().await;
    let (mut server, health) = server(&stage).await;
    for service in ["", "liveness", "keystile.store", "keystile.v1.AuthorizeService"] {
        let probe = stage.command(&health, &["health", "--service", service]);
        let output = Process::run(probe);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "SERVING\n", "{service}");
    }
    let channel = Endpoint::from_shared(format!("http://{health}")).unwrap().connect().await.unwrap();
    let token = stage.admin_token.clone().into();
    let question = pb::AuthorizeRequest { token, ..Default::default() };
    let status = AuthorizeServiceClient::new(channel).authorize(question).await.unwrap_err();
    assert_eq!((status.code(), status_reason(&status)), (Code::Unimplemented, "METHOD_UNKNOWN".into()));
    let output = Process::run(stage.command(&server.address, &["health"]));
    assert_eq!(output.status.code(), Some(2), "gRPC itself is not in the clear");
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_has_vanished_does_not_hold_up_the_end() {
    let stage = Stage::set().await;
    stage.put_leaf("shown", &stage.clients.leaf(&["probe.internal"]));
    let health = format!("127.0.0.1:{}", free_port().await);
    // What did not end by itself would be given up with a warning.
    let settings = [("KEYSTILE_HEALTH_LISTEN", health.as_str()), ("KEYSTILE_DRAIN_TIMEOUT", "1m")];
    let server = stage.serve_mutual(&settings);
    let mut gone = TcpStream::connect(&health).await.unwrap();
    // It speaks HTTP/2, and then says not a word more.
    gone.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    gone.read_u8().await.unwrap();
    let log = block_in_place(|| server.terminate_for_log()).join("\n");
    assert!(log.contains("\"message\":\"stopped\"") && !log.contains("given up"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_probe_works_in_the_clear_by_tls_and_by_mutual_tls() {
    let Some(probe) = program("grpc-health-probe") else { return };
    let stage = Stage::set().await;
    let (server, health) = server(&stage).await;
    let probe = || Command::new(&probe);
    for service in ["", "liveness"] {
        let said = succeeds("in the clear", probe().args(["-addr", &health, "-service", service]));
        assert!(said.contains("SERVING"), "{said}");
    }
    let by_tls = |address: &str| {
        let mut command = probe();
        command.args(["-addr", address, "-tls", "-tls-server-name", "localhost"]);
        command.arg("-tls-ca-cert").arg(stage.path("servers.pem"));
        command
    };
    fails("without a certificate", &mut by_tls(&server.address));
    let mut mutual = by_tls(&server.address);
    mutual.arg("-tls-client-cert").arg(stage.path("shown.crt"));
    mutual.arg("-tls-client-key").arg(stage.path("shown.key"));
    assert!(succeeds("by mutual TLS", &mut mutual).contains("SERVING"));
    fails("in the clear, where TLS is", probe().args(["-addr", &server.address]));
    drop(server);
    let server = stage.serve(&[]);
    assert!(succeeds("by TLS", &mut by_tls(&server.address)).contains("SERVING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_works_by_tls_and_by_mutual_tls() {
    let Some(grpcurl) = program("grpcurl") else { return };
    let stage = Stage::set().await;
    let (server, _) = server(&stage).await;
    let list = |address: &str, shown: bool| {
        let mut command = Command::new(&grpcurl);
        command.arg("-cacert").arg(stage.path("servers.pem"));
        command.args(["-authority", "localhost", "-expand-headers", "-H", "authorization: Bearer ${ADMIN}"]);
        command.env("ADMIN", &stage.admin_token);
        if shown {
            command.arg("-cert").arg(stage.path("shown.crt")).arg("-key").arg(stage.path("shown.key"));
        }
        command.args(["-max-time", "20", "-d", "{}", address, "keystile.v1.KeyService/ListKeys"]);
        command
    };
    assert!(succeeds("by mutual TLS", &mut list(&server.address, true)).contains("keyId"));
    fails("without a certificate", &mut list(&server.address, false));
    drop(server);
    let server = stage.serve(&[]);
    assert!(succeeds("by TLS", &mut list(&server.address, false)).contains("keyId"));
}

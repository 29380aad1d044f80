//! A server's first start: a command that is given meanwhile finds the administrator's token all the same.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use super::Process;
use crate::harness::eventually;

/// An address on which nothing listens yet.
fn free_address() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_given_while_a_server_starts_for_the_first_time_finds_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut server = Process::command();
    server.arg("serve").env("KEYSTILE_LISTEN", &address).env("KEYSTILE_DATA_DIR", dir.path());
    let server = server.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = None;
    eventually("the server answers", async || {
        let mut list = Process::command();
        list.args(["keys", "list", "--timeout=60s", "--server", &address])
            .env("KEYSTILE_LISTEN", &address)
            .env("KEYSTILE_DATA_DIR", dir.path());
        let ran = tokio::task::spawn_blocking(|| Process::run(list)).await.unwrap();
        let is_refused = String::from_utf8_lossy(&ran.stderr).contains("Connection refused");
        first = Some(ran);
        !is_refused
    })
    .await;
    let first = first.unwrap();
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert!(String::from_utf8(first.stdout).unwrap().contains("First administrator"));
    stop(server);
}

/// Stops a server in order, so that its private PostgreSQL stops with it.
fn stop(mut server: std::process::Child) {
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
}

//! What a person is told when something cannot be done: once, and what to do next.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use super::Shell;
use crate::harness::{App, Process};

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_request_is_told_once() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let one = shell.refused(&["keys", "get", "0"]).await;
    assert!(one.starts_with("error: The request has a fault:\n  key_id: "), "{one}");
    let two = shell.refused(&["keys", "create", "--user-id=4", "--name=", "--ip=10.0.0.1/8"]).await;
    assert!(two.starts_with("error: The request has faults:\n"), "{two}");
    for field in ["key.display_name: ", "key.ips.patterns[0]: "] {
        assert_eq!(two.matches(field).count(), 1, "{two}");
    }
    assert!(two.ends_with("correct that and run the command again.\n"), "{two}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_where_tokens_come_from_and_which_scope_is_missing() {
    let app = App::start().await;
    let nobody = Shell::with(&app, "").refused(&["keys", "list"]).await;
    assert!(nobody.contains("admin.token") && nobody.contains("`keystile bootstrap`"), "{nobody}");
    let wrong = Shell::with(&app, "ks_nobody").refused(&["keys", "list"]).await;
    assert!(wrong.contains("is not accepted"), "{wrong}");
    let narrow = Shell::with(&app, &app.service_token("keystile.authorize").await);
    let told = narrow.refused(&["keys", "list"]).await;
    assert!(told.contains("keystile.read") && told.contains("keys create --user-id 0 --scope"), "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_the_data_directory_goes_to_its_own_server_and_is_named_where_it_is_refused() {
    let app = App::start().await;
    let shell = Shell::with(&app, "");
    let file = shell.dir.path().join("admin.token");
    std::fs::write(&file, "ks_of_another_installation").unwrap();
    let list = |listen: &str, more: &[&str]| {
        let mut command = shell.command(&[&["keys", "list"], more].concat());
        command.env("KEYSTILE_LISTEN", listen);
        String::from_utf8(Process::run(command).stderr).unwrap()
    };
    let own = list(&shell.address, &[]);
    let origin = format!("The token was taken from {}; give --token-file", file.display());
    assert!(own.contains(&origin), "{own}");
    for told in [list("127.0.0.1:50051", &[]), list(&shell.address, &["--no-token"])] {
        assert!(told.starts_with("error: No token of a caller was given."), "{told}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_replica_holds_back_is_answered_before_the_command_gives_up() {
    let app = App::builder().flags(["--propagation-wait=60s"]).start().await;
    let follows_nothing = "INSERT INTO replicas (replica_id, address, system_identifier, timeline, applied, beat, \
             staleness_ms) \
         SELECT gen_random_uuid(), 'elsewhere', system_identifier, timeline, 0, 1, 300000 FROM replicas";
    app.database.sql(follows_nothing).await;
    let create =
        ["keys", "create", "--user-id=4", "--name=x", "--template=default", "--timeout=6s", "-o=json"];
    let ran = Shell::of(&app).run(&create).await;
    assert_eq!(ran.code, Some(0), "{}", ran.told);
    assert!(ran.json()["token"].as_str().is_some_and(|token| token.starts_with("ks_")), "nobody else has it");
    assert_eq!(ran.json()["propagation"]["complete"], false);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_told_with_a_way_out() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let key = app.create_any().await.0.key_id.to_string();
    let told = shell.refused(&["keys", "grant", &key, "--scope=keystile.read"]).await;
    assert!(told.contains("--user-id 0"), "{told}");
    let told = shell.refused(&["keys", "get", "999"]).await;
    assert!(told.contains("`keystile keys list`"), "{told}");
    app.stop().await;
}

/// Something that answers every connection with `answer`, which is not gRPC.
fn impostor(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // A client that has gone away is no matter.
            let _read = stream.read(&mut [0; 1024]);
            let _written = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn something_else_on_the_port_is_recognised() {
    const NOT_OURS: &str = "Is that the gRPC port of a Keystile server?";
    for (answer, words) in [
        // A server that speaks TLS: its alert for what is no TLS.
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "Write https:// instead of http://"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", NOT_OURS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NOT_OURS),
    ] {
        let mut command = Process::command();
        command.args(["keys", "list", "--server", &impostor(answer)]).env("KEYSTILE_TOKEN", "t");
        let ran = Process::run(command);
        let told = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{answer:?}: {told}");
    }
}

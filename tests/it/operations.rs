//! The operations port: there early and to the end, and what probes are told.

use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{App, Process, TestDatabase, eventually, get, request};

#[tokio::test(flavor = "multi_thread")]
async fn ready_follows_the_store_and_health_does_not() {
    let app = App::builder().flags(["--max-staleness=1s"]).start().await;
    eventually("ready", async || get(&app.ops(), "/readyz").await.status == 200).await;
    app.database.allow_connections(false).await;
    eventually("not ready", async || get(&app.ops(), "/readyz").await.status == 503).await;
    let health = get(&app.ops(), "/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert!(get(&app.ops(), "/metrics").await.body.contains("\nkeystile_ready 0\n"));
    app.database.allow_connections(true).await;
    eventually("ready again", async || get(&app.ops(), "/readyz").await.status == 200).await;
    assert!(get(&app.ops(), "/metrics").await.body.contains("\nkeystile_ready 1\n"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_so() {
    let app = App::start().await;
    assert_eq!(get(&app.ops(), "/").await.status, 404);
    assert_eq!(get(&app.ops(), "/metrics/../etc").await.status, 404);
    assert_eq!(request(&app.ops(), "POST", "/metrics").await.status, 405);
    let head = request(&app.ops(), "HEAD", "/healthz").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let page = get(&app.ops(), "/metrics").await;
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"), "{}", page.head);
    app.stop().await;
}

/// Clients that connect and say nothing, or half of something, do not keep others out.
#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_leave_room_for_others() {
    let app = App::start().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(app.ops()).await.unwrap();
        stream.write_all(b"GET /healthz HT").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(get(&app.ops(), "/healthz").await.status, 200);
    // Nonsense is answered or cut off; neither hurts.
    let mut nonsense = TcpStream::connect(app.ops()).await.unwrap();
    nonsense.write_all(b"\x00\x01\x02 nonsense\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    nonsense.read_to_end(&mut answer).await.unwrap();
    assert_eq!(get(&app.ops(), "/healthz").await.status, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_turned_off() {
    let app = App::builder().flags(["--ops-listen=off"]).start().await;
    assert_eq!(app.running.ops_address(), None);
    app.stop().await;
}

/// While the database cannot be opened the process works all the same, and says that it is not ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_one_clear_sentence() {
    let database = TestDatabase::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Process::command();
    command.arg("serve").env("KEYSTILE_LISTEN", "127.0.0.1:0").env("KEYSTILE_OPS_LISTEN", &address);
    command.env("KEYSTILE_DATABASE_URL", database.url()).env("KEYSTILE_ALLOW_DATA_LOSS", "true");
    let output = Process::run(command);
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8(output.stderr).unwrap();
    let sentence = format!(
        "{address} cannot be listened on: another program listens there already: stop it, or choose another address \
         by KEYSTILE_OPS_LISTEN"
    );
    assert!(said.contains(&sentence), "{said}");
}

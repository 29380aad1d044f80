//! The orderly end, and the one at once.

use std::net::TcpStream;
use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use rustix::process::Signal;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tonic::Streaming;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{READY, Served, check, connect_to};
use crate::harness::{Process, connect, eventually};

/// Only a test that would fail waits so long.
const TOLD_MAX: Duration = Duration::from_secs(30);

async fn watch(process: &Process) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(connect_to(process).await).watch(request).await.unwrap().into_inner()
}

async fn next(watched: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let told = timeout(TOLD_MAX, watched.message()).await.expect("health is silent");
    told.unwrap().map(|told| told.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_program_says_so_and_answers_until_a_second_signal_ends_it_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let served = Served::new().await;
        let mut process = served.serve(&[("KEYSTILE_DRAIN_DELAY", "10m")]);
        let mut watched = watch(&process).await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        process.signal(Signal::TERM);
        assert_eq!(
            next(&mut watched).await,
            Some(ServingStatus::NotServing),
            "seen before the listener closes"
        );

        let channel = connect_to(&process).await;
        for name in READY {
            assert_eq!(check(&channel, name).await, ServingStatus::NotServing, "{name}");
        }
        for name in ["liveness", "keystile.store"] {
            assert_eq!(check(&channel, name).await, ServingStatus::Serving, "{name}");
        }
        let mut authorize = AuthorizeServiceClient::new(connect(&process.address, &served.token));
        let request = pb::AuthorizeRequest { token: served.token.clone().into(), ..Default::default() };
        authorize.authorize(request).await.expect("what arrives is answered");

        process.signal(signal);
        assert_eq!(block_in_place(|| process.exit()).code(), Some(code));
        let log = block_in_place(|| process.rest_of_log()).join("\n");
        assert!(log.contains("came twice: ended at once"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_finished_its_count_is_written_and_a_watch_holds_nothing_up() {
    let served = Served::new().await;
    // Nothing here takes a minute: what did not end by itself would be given up with a warning.
    let mut process = served.serve(&[("KEYSTILE_DRAIN_TIMEOUT", "1m")]);
    let mut watched = watch(&process).await;
    assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
    let client = connect(&process.address, &served.token);
    let request = pb::AuthorizeRequest { token: served.token.clone().into(), ..Default::default() };
    AuthorizeServiceClient::new(client.clone()).authorize(request).await.unwrap();

    let lock = served.database.hold("LOCK TABLE revision_counter IN EXCLUSIVE MODE").await;
    let key = pb::Key { user_id: 1, display_name: "held".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let held = tokio::spawn(async move { KeyServiceClient::new(client).create_key(create).await });
    served.database.until_blocked().await;

    process.signal(Signal::TERM);
    assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut watched).await, None, "the end of a watch is no error");
    let address = process.address.clone();
    eventually("the listener closes", async || TcpStream::connect(&address).is_err()).await;
    lock.let_go().await;
    held.await.unwrap().expect("the call that was under way is answered");
    assert_eq!(block_in_place(|| process.exit()).code(), Some(0));

    let log = block_in_place(|| process.rest_of_log()).join("\n");
    assert!(log.contains("\"message\":\"stopped\"") && !log.contains("given up"), "{log}");
    let counted = "SELECT sum(authorized_count) FROM key_usage";
    assert_eq!(served.database.number(counted).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_given_up() {
    let served = Served::new().await;
    let mut process = served.serve(&[("KEYSTILE_DRAIN_TIMEOUT", "100ms")]);
    let client = connect(&process.address, &served.token);
    let lock = served.database.hold("LOCK TABLE revision_counter IN EXCLUSIVE MODE").await;
    let key = pb::Key { user_id: 1, display_name: "held".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let held = tokio::spawn(async move { KeyServiceClient::new(client).create_key(create).await });
    served.database.until_blocked().await;
    process.signal(Signal::TERM);
    assert_eq!(block_in_place(|| process.exit()).code(), Some(0));
    let log = block_in_place(|| process.rest_of_log()).join("\n");
    assert!(log.contains("\"part\":\"serving\"") && log.contains("given up: it took too long"), "{log}");
    held.await.unwrap().unwrap_err();
    lock.let_go().await;
}

//! Bind early, ready late.

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use tokio::task::block_in_place;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::{READY, Served, check, connect_to};
use crate::harness::{Process, Proxy, TestDatabase, connect, status_reason};
use crate::raw::{Call, Connection, frame};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_hangs_it_listens_and_says_that_it_is_starting() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    proxy.stall();
    let served = Served::by(database, proxy.url.clone());
    let settings = served.settings(&[("KEYSTILE_DATABASE_WAIT", "2m")]);
    let mut process = tokio::task::block_in_place(|| Process::start(&settings));
    let channel = connect_to(&process).await;

    assert_eq!(check(&channel, "liveness").await, ServingStatus::Serving);
    for name in READY.into_iter().chain(["keystile.store"]) {
        assert_eq!(check(&channel, name).await, ServingStatus::NotServing, "{name}");
    }
    let mut watched = HealthClient::new(channel)
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .unwrap()
        .into_inner();
    let mut next = async || watched.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::NotServing);

    let list_services = frame(&[0x3a, 1, b'*']);
    let reflect = Call::to("grpc.reflection.v1.ServerReflection/ServerReflectionInfo").body(list_services);
    let answer = Connection::open(process.address.parse().unwrap()).await.call(reflect).await;
    assert_eq!(answer.outcome(), "OK");
    assert!(String::from_utf8_lossy(&answer.messages[0]).contains("keystile.v1.AuthorizeService"));

    let mut authorize = AuthorizeServiceClient::new(connect(&process.address, &served.token));
    let request = pb::AuthorizeRequest { token: served.token.clone().into(), ..Default::default() };
    let refused = authorize.authorize(request.clone()).await.unwrap_err();
    assert_eq!((refused.code(), status_reason(&refused).as_str()), (Code::Unavailable, "STARTING"));
    assert!(refused.get_details_retry_info().is_some_and(|retry| retry.retry_delay.is_some()));

    proxy.resume();
    assert_eq!(next().await, ServingStatus::Serving);
    authorize.authorize(request).await.unwrap();
    assert_eq!(tokio::task::block_in_place(|| process.terminate()).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_late_is_waited_for() {
    let served = Served::new().await;
    served.database.allow_connections(false).await;
    let settings = served.settings(&[("KEYSTILE_DATABASE_WAIT", "2m")]);
    let mut process = tokio::task::block_in_place(|| {
        let mut process = Process::start(&settings);
        process.wait_for_message("waiting for the database");
        process
    });
    served.database.allow_connections(true).await;
    tokio::task::block_in_place(|| process.wait_for_message("serving"));
    assert_eq!(check(&connect_to(&process).await, "").await, ServingStatus::Serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_program_that_has_not_come_to_serve() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    proxy.stall();
    let served = Served::by(database, proxy.url.clone());
    let settings = served.settings(&[("KEYSTILE_DATABASE_WAIT", "10m"), ("KEYSTILE_DRAIN_DELAY", "10m")]);
    let status = tokio::task::block_in_place(|| Process::start(&settings).terminate());
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_it_brings_keys_into_memory_it_leaves_nothing_that_changes_wait_for() {
    let served = Served::new().await;
    let mut first = served.serve(&[]);
    assert_eq!(block_in_place(|| first.terminate()).code(), Some(0));
    // It is held up before it registers: only then, all tables were looked at, and the one that it reads next can be held.
    let door = served.database.hold("LOCK TABLE replicas IN SHARE MODE").await;
    let settings = served.settings(&[("KEYSTILE_CACHE_WARM_UP", "100")]);
    let mut process = block_in_place(|| Process::start(&settings));
    served.database.until_blocked().await;
    let _read_next = served.database.hold("LOCK TABLE key_usage IN ACCESS EXCLUSIVE MODE").await;
    door.let_go().await;
    served.database.until("SELECT count(*) FROM replicas").await;
    served.database.until_blocked().await;
    assert_eq!(block_in_place(|| process.terminate()).code(), Some(0));
    assert_eq!(served.database.number("SELECT count(*) FROM replicas").await, 0);
}

//! What is open to everybody: health and reflection; and everything, with `--no-auth`, on loopback only.

use clap::Parser;
use keystile::clock::Clock;
use keystile::config::Serve;
use keystile::server::Running;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::App;
use crate::raw::{Call, Connection};

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_token() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let check = |service: &str| {
        Call::to("grpc.health.v1.Health/Check").message(&HealthCheckRequest { service: service.into() })
    };
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
    for service in ["", "keystile.v1.AuthorizeService", "liveness", "keystile.store"] {
        let mut client = HealthClient::new(app.channel());
        let request = HealthCheckRequest { service: service.into() };
        let mut watched = client.watch(request).await.unwrap().into_inner();
        let mut seen = watched.message().await.unwrap().unwrap();
        while seen.status() != serving {
            seen = watched.message().await.unwrap().unwrap();
        }
        let answer = connection.call(check(service)).await;
        answer.assert_decent(service, &[]);
        assert_eq!(answer.read::<HealthCheckResponse>().status(), serving, "{service}");
        // A token that is wrong is nobody's business here.
        let answer = connection.call(check(service).bearer("nothing-like-a-token")).await;
        assert_eq!(answer.outcome(), "OK");
    }
    let unknown = connection.call(check("nobody's")).await;
    unknown.assert_decent("unknown service", &[]);
    assert_eq!(unknown.outcome(), "NOT_FOUND SERVICE_UNKNOWN");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_needs_no_token() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let list = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let answer =
        connection.call(Call::to("grpc.reflection.v1.ServerReflection/ServerReflectionInfo").message(&list));
    let answer: v1::ServerReflectionResponse = answer.await.read();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(listed)) =
        answer.message_response
    else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["AuthorizeService", "KeyService", "BudgetService", "AuditService"] {
        assert!(names.contains(&format!("keystile.v1.{service}").as_str()), "{names:?}");
    }

    let symbol = "keystile.v1.KeyService".to_owned();
    let find = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let find = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(find) };
    let call = Call::to("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").message(&find);
    let answer: v1alpha::ServerReflectionResponse = connection.call(call).await.read();
    let found = answer.message_response.unwrap();
    assert!(matches!(found, v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)));
    app.stop().await;
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    serve: Serve,
}

fn without_auth(listen: &str) -> Serve {
    let listen = format!("--listen={listen}");
    // Nobody listens there: what would be refused for another reason is seen as such.
    let url = "--database-url=postgres://127.0.0.1:1/nowhere";
    Arguments::parse_from(["test", "--no-auth", &listen, url]).serve
}

#[tokio::test]
async fn without_authentication_only_loopback_is_served() {
    for reachable in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[2001:db8::1]:0", "[::ffff:0.0.0.0]:0"] {
        let refused =
            Running::start(&without_auth(reachable), Clock::default()).await.unwrap_err().to_string();
        assert!(
            refused.contains("KEYSTILE_NO_AUTH") && refused.contains("loopback"),
            "{reachable}: {refused}"
        );
    }
    for loopback in ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        without_auth(loopback).validate().unwrap_or_else(|faults| panic!("{loopback}: {faults}"));
    }
}

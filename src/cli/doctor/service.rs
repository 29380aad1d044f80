//! A round trip through a running server: health, a decision, a list. All of it only reads.

use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::judge::millis;
use super::report::Report;
use crate::cli::client::{Client, ClientArgs};
use crate::cli::output::Output;
use crate::clock::monotonic_now;
use crate::grpc::pb;
use crate::token::{Brand, Token, os_rng};

/// How the client words that nothing listens there.
const NOBODY: &str = "No server answers";

/// Asks the server, where one answers.
pub async fn examine(args: &ClientArgs, brand: &Brand, output: &mut Output, report: &mut Report) {
    let channel = match args.server.connect().await {
        Ok(channel) => channel,
        Err(error) => {
            let (what, advice) = parts(&error.to_string());
            // Before the first start there is none. One that is there and is not trusted is another matter.
            return if what.starts_with(NOBODY) {
                report.skip("server", what)
            } else {
                report.fail("server", what, advice)
            };
        }
    };
    let server = args.server.uri().to_string();
    let server = server.trim_end_matches('/');
    let asked = HealthCheckRequest { service: String::new() };
    match HealthClient::new(channel).check(asked).await.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => report.ok("server", format!("{server} is ready")),
        Ok(status) => {
            let what = format!("{server} answers {}", status.as_str_name());
            report.fail("server", what, "Its log says why; the database comes first.");
            return;
        }
        Err(status) => {
            report.fail("server", format!("health cannot be asked: {}", status.message()), "");
            return;
        }
    }
    let client = match args.connect(output).await {
        Ok(client) => client,
        Err(error) => {
            let (what, advice) = parts(&error.to_string());
            return report.fail("token", what, advice);
        }
    };
    decide(&client, brand, report).await;
    list(&client, report).await;
}

/// A token that nobody has is denied: after a look at the database.
async fn decide(client: &Client, brand: &Brand, report: &mut Report) {
    let token = Token::generate(brand, &mut os_rng());
    let request = pb::AuthorizeRequest {
        token: token.expose().as_bytes().to_vec().into(),
        dry_run: true,
        ..Default::default()
    };
    let start = monotonic_now();
    let answer = client.authorize().authorize(request).await;
    let took = millis(start.elapsed());
    match answer.map(tonic::Response::into_inner) {
        Ok(answer) if answer.reason() == pb::authorize_response::Reason::KeyInvalid => {
            report.ok("decision", format!("a made-up token was denied in {took}"));
        }
        Ok(answer) => report.fail(
            "decision",
            format!("a made-up token was answered with {}", answer.reason().as_str_name()),
            "This is a defect of Keystile: report it.",
        ),
        Err(status) => refused("decision", &status, client, report),
    }
}

async fn list(client: &Client, report: &mut Report) {
    let request = pb::ListKeysRequest { page_size: 1, ..Default::default() };
    let start = monotonic_now();
    match client.keys().list_keys(request).await {
        Ok(_) => report.ok("administration", format!("keys were listed in {}", millis(start.elapsed()))),
        Err(status) => refused("administration", &status, client, report),
    }
}

fn refused(check: &'static str, status: &Status, client: &Client, report: &mut Report) {
    let (what, advice) = parts(&client.failure(status).to_string());
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    if status.code() == Code::PermissionDenied || reason == "CALLER_TOKEN_MISSING" {
        report.skip(check, format!("not tried: {what}"));
    } else {
        report.fail(check, what, advice);
    }
}

/// A failure's sentence, and what to do.
fn parts(failure: &str) -> (String, String) {
    let (what, advice) = failure.split_once('\n').unwrap_or((failure, ""));
    (what.to_owned(), advice.lines().map(str::trim).collect::<Vec<_>>().join(" "))
}

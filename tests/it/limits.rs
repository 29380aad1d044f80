//! Rate limits, as callers see them: in one process, over the real wire and the real store.

mod changes;
mod order;
mod outage;
mod replicas;
mod standing;

use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::rate_limit_status::{Metric, Subject};

use crate::harness::{App, denial, eventually};

/// Limits of requests by minute, hour and day.
fn requests(per_minute: Option<i64>, per_hour: Option<i64>, per_day: Option<i64>) -> pb::RateLimits {
    pb::RateLimits { requests: Some(pb::RateLimitWindows { per_minute, per_hour, per_day }), tokens: None }
}

/// Limits of requests and tokens by minute.
fn by_minute(requests: Option<i64>, tokens: Option<i64>) -> pb::RateLimits {
    let windows = |per_minute| Some(pb::RateLimitWindows { per_minute, ..Default::default() });
    pb::RateLimits { requests: windows(requests), tokens: windows(tokens) }
}

fn limited(rate_limits: pb::RateLimits) -> pb::Key {
    pb::Key { user_id: 7, display_name: "k".into(), rate_limits: Some(rate_limits), ..Default::default() }
}

async fn create(app: &App, rate_limits: pb::RateLimits) -> (pb::Key, String) {
    app.create(limited(rate_limits)).await
}

async fn ask(app: &App, token: &str) -> pb::AuthorizeResponse {
    app.ask(token, pb::AuthorizeRequest::default()).await
}

async fn ask_for(app: &App, token: &str, tokens: i64) -> pb::AuthorizeResponse {
    let request = pb::AuthorizeRequest { estimated_tokens: Some(tokens), ..Default::default() };
    app.ask(token, request).await
}

fn length(duration: Option<prost_types::Duration>) -> Duration {
    Duration::try_from(duration.unwrap()).unwrap()
}

const LIMITED: &str = "RATE_LIMITED";

/// How many of so many requests are allowed.
async fn allowed(app: &App, token: &str, requests: usize) -> usize {
    let mut count = 0;
    for _ in 0..requests {
        count += usize::from(denial(&ask(app, token).await).is_none());
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_admits_as_many_as_it_says_and_tells_how_it_stands() {
    let app = App::start().await;
    let (_, token) = create(&app, requests(Some(3), Some(100), None)).await;
    for left in [2, 1, 0] {
        let answer = ask(&app, &token).await;
        assert_eq!(denial(&answer), None);
        assert!(answer.warnings.is_empty(), "nothing is stored and not enforced: {:?}", answer.warnings);
        let [minute, hour] = answer.rate_limits.as_slice() else { panic!("{answer:?}") };
        assert_eq!((minute.metric(), minute.subject()), (Metric::Requests, Subject::Key));
        assert_eq!((minute.limit, minute.remaining), (3, Some(left)));
        assert_eq!((hour.limit, hour.remaining), (100, Some(97 + left)));
        assert_eq!(
            (length(minute.window), length(hour.window)),
            (Duration::from_secs(60), Duration::from_secs(3_600))
        );
        let reset = length(minute.reset_after);
        assert!(reset > Duration::from_secs(55) && reset <= Duration::from_secs(62), "{reset:?}");
    }
    let refused = ask(&app, &token).await;
    assert_eq!(denial(&refused).as_deref(), Some(LIMITED));
    assert_eq!(refused.http_status, 429);
    assert_eq!(refused.message, "The limit of 3 requests per minute of the key is used up for now.");
    let retry_after = length(refused.retry_after);
    assert!(
        retry_after > Duration::from_secs(50) && retry_after <= Duration::from_secs(62),
        "{retry_after:?}"
    );
    assert_eq!(refused.rate_limits[0].remaining, Some(0));
    assert!(refused.authorization_id.is_empty());
    assert_eq!(app.database.number("SELECT count(*) FROM limit_counters").await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_nothing_admits_nothing_and_promises_nothing() {
    let app = App::start().await;
    let (_, token) = create(&app, requests(None, None, Some(0))).await;
    let refused = ask(&app, &token).await;
    assert_eq!(denial(&refused).as_deref(), Some(LIMITED));
    assert_eq!(refused.retry_after, None, "there is no time at which it would pass");
    assert_eq!(refused.message, "The request needs more than the limit of 0 requests per day of the key.");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn estimated_tokens_are_charged_and_what_does_not_fit_is_refused_alone() {
    let app = App::start().await;
    let (_, token) = create(&app, by_minute(None, Some(1_000))).await;
    assert_eq!(denial(&ask_for(&app, &token, 600).await), None);
    let refused = ask_for(&app, &token, 500).await;
    assert_eq!(denial(&refused).as_deref(), Some(LIMITED));
    assert_eq!(refused.rate_limits[0].metric(), Metric::Tokens);
    let fits = ask_for(&app, &token, 400).await;
    assert_eq!(denial(&fits), None, "a smaller one behind a refused one");
    assert_eq!(fits.rate_limits[0].remaining, Some(0));
    assert_eq!(denial(&ask_for(&app, &token, 1).await).as_deref(), Some(LIMITED));
    assert_eq!(denial(&ask(&app, &token).await), None, "one that needs no tokens");
    let never = ask_for(&app, &token, 1_001).await;
    assert_eq!(never.retry_after, None, "it needs more than the limit");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_key_and_owner_are_charged_together_or_not_at_all() {
    let app = App::start().await;
    let set = pb::SetOwnerLimitsRequest {
        user_id: 7,
        rate_limits: Some(requests(Some(5), None, None)),
        ..Default::default()
    };
    app.keys().set_owner_limits(set).await.unwrap();
    let (_, one) = create(&app, requests(Some(3), None, None)).await;
    let (_, other) = create(&app, requests(Some(100), None, None)).await;
    assert_eq!(allowed(&app, &one, 6).await, 3, "its own limit");
    let answer = ask(&app, &other).await;
    let of = |subject: Subject| answer.rate_limits.iter().find(|it| it.subject() == subject).unwrap();
    assert_eq!((of(Subject::Key).remaining, of(Subject::Owner).remaining), (Some(99), Some(1)));
    assert_eq!(allowed(&app, &other, 10).await, 1, "what the owner has left");
    let refused = ask(&app, &other).await;
    assert_eq!(refused.message, "The limit of 5 requests per minute of the owner is used up for now.");
    let of_key = refused.rate_limits.iter().find(|it| it.subject() == Subject::Key).unwrap();
    assert_eq!(of_key.remaining, Some(98), "what the owner refused is not the key's to pay");
    // A key without limits of its own is under its owner's all the same.
    let (_, bare) = create(&app, pb::RateLimits::default()).await;
    assert_eq!(denial(&ask(&app, &bare).await).as_deref(), Some(LIMITED));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_check_denies_and_what_is_dry_charges_nothing() {
    let app = App::start().await;
    let key = pb::Key {
        models: Some(pb::AccessRule {
            mode: pb::access_rule::Mode::Only.into(),
            patterns: vec!["good".into()],
        }),
        ..limited(requests(Some(2), None, None))
    };
    let (_, token) = app.create(key).await;
    let call = async |model: &str, dry_run: bool| {
        let request = pb::AuthorizeRequest { model: model.to_owned().into(), dry_run, ..Default::default() };
        app.ask(&token, request).await
    };
    for _ in 0..5 {
        assert_eq!(denial(&call("bad", false).await).as_deref(), Some("MODEL_NOT_ALLOWED"));
        let dry = call("good", true).await;
        assert_eq!((denial(&dry), dry.authorization_id.as_str()), (None, ""));
        assert_eq!(dry.rate_limits[0].remaining, Some(2));
    }
    for _ in 0..2 {
        let answer = call("good", false).await;
        assert!(denial(&answer).is_none() && !answer.authorization_id.is_empty());
    }
    assert_eq!(denial(&call("good", true).await).as_deref(), Some(LIMITED));
    assert_eq!(denial(&call("good", false).await).as_deref(), Some(LIMITED));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_only_observed_lets_pass_and_says_so() {
    let app = App::start().await;
    let key = pb::Key {
        observe: vec![pb::key::Check::RateLimits.into()],
        ..limited(requests(Some(1), None, None))
    };
    let (_, token) = app.create(key).await;
    let first = ask(&app, &token).await;
    assert_eq!((denial(&first), first.observed_reason), (None, 0));
    let second = ask(&app, &token).await;
    assert_eq!(denial(&second), None);
    assert_eq!(second.observed_reason(), pb::authorize_response::Reason::RateLimited);
    assert_eq!(second.retry_after, None, "it is not to be repeated");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_exactly_the_limit() {
    let app = App::start().await;
    let (_, token) = create(&app, requests(Some(50), None, None)).await;
    let all = (0..200).map(|_| ask(&app, &token));
    let answers = futures(all).await;
    assert_eq!(answers.iter().filter(|answer| denial(answer).is_none()).count(), 50);
    let ids: std::collections::HashSet<_> =
        answers.iter().map(|answer| &answer.authorization_id).filter(|id| !id.is_empty()).collect();
    assert_eq!(ids.len(), 50, "each has an id of its own");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_its_own_limits_and_looking_charges_nothing() {
    let app = App::start().await;
    let (_, token) = create(&app, requests(Some(10), None, None)).await;
    let look = async || {
        let request = pb::IntrospectKeyRequest { token: token.clone().into() };
        app.authorize().introspect_key(request).await.unwrap().into_inner().rate_limits
    };
    assert_eq!(look().await[0].remaining, Some(10));
    assert_eq!(allowed(&app, &token, 4).await, 4);
    // What the replica holds beyond what was used comes back.
    eventually("six are left", async || look().await[0].remaining == Some(6)).await;
    app.stop().await;
}

/// All side by side.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, place) in all.iter_mut().zip(&mut done) {
            if place.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *place = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

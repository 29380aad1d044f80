//! Floods of tokens shed themselves, and leave what is in memory and other callers alone.

use diesel_async::SimpleAsyncConnection as _;
use keystile::grpc::pb;
use keystile::grpc::pb::batch_authorize_response::{Item, item};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::value;
use crate::harness::{App, denial, eventually, new_token, status_reason};
use crate::proving::{COST, import};
use crate::raw::{Call, Connection};

fn request(token: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_while_known_keys_and_other_callers_are_served() {
    let app = App::builder().flags(["--load-queue=4", "--load-queue-each=4"]).start().await;
    let (_, known) = app.create_any().await;
    let (_, unseen) = app.create_any().await;
    let flooding = app.service_token("keystile.authorize").await;
    let other = app.service_token("keystile.authorize").await;
    for caller in [&flooding, &other] {
        let answer = app.authorize_as(Some(caller)).authorize(request(&known)).await.unwrap();
        assert_eq!(denial(&answer.into_inner()), None);
    }
    // What is not in memory waits until the lock goes.
    let mut session = app.database.session().await;
    session.batch_execute("BEGIN; LOCK TABLE key_digests IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut flood = JoinSet::new();
    for _ in 0..20 {
        let mut client = app.authorize_as(Some(&flooding));
        flood.spawn(async move { client.authorize(request(&new_token())).await });
    }
    let mut other = app.authorize_as(Some(&other));
    let shed = "keystile_loads_total{outcome=\"shed\"}";
    eventually("there is no place left", async || value(&app, shed).await > 0.0).await;
    assert_eq!(app.reason(&known).await, None);
    let queued = "keystile_loads_total{outcome=\"queued\"}";
    let before = value(&app, queued).await;
    let waiting = tokio::spawn(async move { other.authorize(request(&unseen)).await });
    eventually("another caller takes a place of the flood", async || value(&app, queued).await > before)
        .await;
    session.batch_execute("COMMIT").await.unwrap();

    assert_eq!(denial(&waiting.await.unwrap().unwrap().into_inner()), None);
    let answers = flood.join_all().await;
    let refused = answers.into_iter().filter_map(Result::err);
    // On a busy machine, the first of them may have waited too long for the lock.
    let refused: Vec<_> = refused.filter(|status| status.code() != Code::Unavailable).collect();
    assert!(refused.len() >= 2, "{}", refused.len());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(status_reason(&status), "OVERLOADED");
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_with_a_known_prefix_are_throttled_and_right_ones_that_were_used_are_not() {
    let app = App::start().await;
    let (used, unused) = ("sk-older-0001-abcdefghijkl", "sk-older-0002-abcdefghijkl");
    import(&app.database, 101, used, COST).await;
    import(&app.database, 102, unused, COST).await;
    assert_eq!(app.reason(used).await, None);
    let runs = app.running.authorizer().bcrypt_runs();
    let mut refused = None;
    for number in 0..1_000 {
        let wrong = format!("sk-older-9{number:03}-zyxwvutsrqpo");
        match app.authorize().authorize(request(&wrong)).await {
            Ok(answer) => assert_eq!(denial(&answer.into_inner()).as_deref(), Some("KEY_INVALID")),
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.expect("it goes on for ever");
    assert_eq!((refused.code(), status_reason(&refused)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    assert!(app.running.authorizer().bcrypt_runs() - runs >= 24);
    assert!(value(&app, "keystile_bcrypt_throttled_total").await >= 1.0);

    assert_eq!(app.reason(used).await, None, "a digest is looked up all the same");
    let other = "sk-other-0003-abcdefghijkl";
    import(&app.database, 103, other, COST).await;
    assert_eq!(app.reason(other).await, None, "each prefix has its own");
    eventually("a run comes back", async || app.authorize().authorize(request(unused)).await.is_ok()).await;
    assert_eq!(app.reason(unused).await, None, "and then it has its digest");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_callers_who_are_nobody_keep_no_caller_out() {
    let app = App::builder().flags(["--load-unknown-each=1"]).start().await;
    let (_, unseen) = app.create_any().await;
    let new_caller = app.service_token("keystile.authorize").await;
    let mut flood = JoinSet::new();
    for _ in 0..50 {
        let mut client = app.authorize_as(Some(&new_token()));
        flood.spawn(async move { client.authorize(request(&new_token())).await });
    }
    let refused = flood.join_all().await.into_iter().map(|answer| answer.unwrap_err().code());
    assert!(refused.into_iter().all(|code| code == Code::Unauthenticated));
    let answer = app.authorize_as(Some(&new_caller)).authorize(request(&unseen)).await.unwrap();
    assert_eq!(denial(&answer.into_inner()), None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_too_much_that_is_nobodys_is_refused_what_is_not_in_memory() {
    let app = App::builder().flags(["--load-unknown-each=1"]).start().await;
    let (_, known) = app.create_any().await;
    let (_, unseen) = app.create_any().await;
    let (_, anothers) = app.create_any().await;
    let flooding = app.service_token("keystile.authorize").await;
    let other = app.service_token("keystile.authorize").await;
    let mut client = app.authorize_as(Some(&flooding));
    let nobodys = new_token();
    for token in [&known, &nobodys] {
        client.authorize(request(token)).await.unwrap();
    }
    let flood = || pb::BatchAuthorizeRequest { requests: (0..50).map(|_| request(&new_token())).collect() };
    // More is owed than comes back while we look.
    client.batch_authorize(flood()).await.unwrap();

    let shed = "keystile_loads_total{outcome=\"shed\"}";
    let before = value(&app, shed).await;
    let refused = client.authorize(request(&unseen)).await.unwrap_err();
    assert_eq!((refused.code(), status_reason(&refused)), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    let refused_as = "RESOURCE_EXHAUSTED OVERLOADED";
    let at_once = Connection::open(app.address()).await;
    let call = Call::to("keystile.v1.AuthorizeService/Authorize").bearer(&flooding);
    let answer = at_once.call(call.message(&request(&unseen))).await;
    answer.assert_decent("a refusal", &[&flooding, &unseen]);
    assert_eq!(answer.outcome(), refused_as);
    let items = client.batch_authorize(flood()).await.unwrap().into_inner().items;
    let overloaded = i32::from(Code::ResourceExhausted);
    let is_refused =
        |item: &Item| matches!(&item.result, Some(item::Result::Error(it)) if it.code == overloaded);
    assert!(items.iter().all(is_refused), "{items:?}");
    assert_eq!(value(&app, shed).await - before, 52.0);

    let answer = client.authorize(request(&known)).await.unwrap().into_inner();
    assert_eq!(denial(&answer), None, "what is in memory is answered");
    let answer = client.authorize(request(&nobodys)).await.unwrap().into_inner();
    assert_eq!(denial(&answer).as_deref(), Some("KEY_INVALID"), "so is what is known to be nobody's");
    let answer = app.authorize_as(Some(&other)).authorize(request(&anothers)).await.unwrap().into_inner();
    assert_eq!(denial(&answer), None, "other callers have their own");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_asked_for_some_in_vain_is_answered_although_his_loads_wait_for_each_other() {
    let app = App::builder().flags(["--load-unknown-each=50"]).start().await;
    let (_, unseen) = app.create_any().await;
    let caller = app.service_token("keystile.authorize").await;
    let mut client = app.authorize_as(Some(&caller));
    // Two seconds' worth: he has patience for longer than this test takes, and is not spent.
    let vain = pb::BatchAuthorizeRequest { requests: (0..100).map(|_| request(&new_token())).collect() };
    client.batch_authorize(vain).await.unwrap();

    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let mut client = client.clone();
        calls.spawn(async move { client.authorize(request(&new_token())).await.unwrap().into_inner() });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| denial(answer).as_deref() == Some("KEY_INVALID")));
    let answer = client.authorize(request(&unseen)).await.unwrap().into_inner();
    assert_eq!(denial(&answer), None);
    app.stop().await;
}

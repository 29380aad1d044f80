//! Batches and streams charge their items one by one, in order.

use keystile::grpc::pb;
use keystile::grpc::pb::batch_authorize_response::item::Result as Item;
use tokio_stream::StreamExt as _;

use super::{by_minute, create, requests};
use crate::harness::{App, denial};

fn question(token: &str, tokens: i64) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        token: token.to_owned().into(),
        estimated_tokens: Some(tokens),
        ..Default::default()
    }
}

async fn batch(app: &App, requests: Vec<pb::AuthorizeRequest>) -> Vec<bool> {
    let answer = app.authorize().batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
    let is_allowed = |item: pb::batch_authorize_response::Item| match item.result.unwrap() {
        Item::Response(answer) => denial(&answer).is_none(),
        Item::Error(error) => panic!("{error:?}"),
    };
    answer.into_inner().items.into_iter().map(is_allowed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_items_of_a_batch_get_what_there_is() {
    let app = App::start().await;
    // Not in memory yet; then in memory, with nothing in hand.
    for is_known in [false, true] {
        let (_, token) = create(&app, requests(Some(40), None, None)).await;
        if is_known {
            let dry = pb::AuthorizeRequest { dry_run: true, ..Default::default() };
            app.ask(&token, dry).await;
        }
        let allowed = batch(&app, vec![question(&token, 0); 100]).await;
        let expected: Vec<bool> = (0..100).map(|position| position < 40).collect();
        assert_eq!(allowed, expected, "known: {is_known}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_batch_are_charged_one_by_one() {
    let app = App::start().await;
    let (_, token) = create(&app, by_minute(None, Some(100))).await;
    let allowed = batch(&app, [60, 60, 30, 20, 10].map(|tokens| question(&token, tokens)).to_vec()).await;
    assert_eq!(allowed, [true, false, true, false, true]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_of_a_stream_get_what_there_is() {
    let app = App::start().await;
    let (_, token) = create(&app, requests(Some(40), None, None)).await;
    let asked = (0..100).map(|correlation_id| pb::AuthorizeStreamRequest {
        correlation_id,
        request: Some(question(&token, 0)),
    });
    let asked: Vec<_> = asked.collect();
    let mut answers = app.authorize().authorize_stream(tokio_stream::iter(asked)).await.unwrap().into_inner();
    let mut allowed = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        let Some(pb::authorize_stream_response::Result::Response(decided)) = answer.result else { panic!() };
        if denial(&decided).is_none() {
            allowed.push(answer.correlation_id);
        }
    }
    allowed.sort_unstable();
    assert_eq!(allowed, (0..40).collect::<Vec<_>>());
    app.stop().await;
}

/// What one waits for in vain is nothing to those behind it.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fails_by_itself_fails_alone() {
    let app = App::start().await;
    let (_, token) = create(&app, requests(Some(40), None, None)).await;
    let ahead = pb::AuthorizeRequest { min_revision: 1_000_000, ..question(&token, 0) };
    let requests = vec![ahead, question(&token, 0)];
    let answer = app.authorize().batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
    let results: Vec<Item> = answer.into_inner().items.into_iter().map(|item| item.result.unwrap()).collect();
    assert!(matches!(&results[0], Item::Error(_)), "{results:?}");
    assert!(matches!(&results[1], Item::Response(answer) if denial(answer).is_none()), "{results:?}");
    app.stop().await;
}

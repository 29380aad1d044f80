//! What is bounded: pages of long keys, work for calls that were given up; and what a creation leaves behind.

use keystile::grpc::pb;
use keystile::grpc::pb::access_rule::Mode;
use prost::Message as _;
use tonic::Code;

use crate::harness::{App, eventually, status_reason};

fn long_rule(name: char) -> Option<pb::AccessRule> {
    let patterns = (0..1_000).map(|n| format!("{}{n:04}", name.to_string().repeat(240))).collect();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_long_keys_ends_early_and_the_next_goes_on() {
    let app = App::start().await;
    let mut created = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (models, chatbots) = (long_rule('m'), long_rule('c'));
        let key = pb::Key { user_id: 9, display_name: name.into(), models, chatbots, ..Default::default() };
        created.push(app.create(key).await.0.key_id);
    }
    let filter = Some(pb::list_keys_request::Filter { user_id: Some(9), ..Default::default() });
    let mut request = pb::ListKeysRequest { filter, page_size: 1_000, ..Default::default() };
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let page = app.keys().list_keys(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() < 4 << 20, "what clients take by default");
        listed.extend(page.keys.iter().map(|key| key.key_id));
        pages += 1;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, created);
    assert!(pages > 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_call_that_is_given_up_leaves_no_work_in_the_database() {
    let app = App::builder().flags(["--no-auth"]).start().await;
    let lock = app.database.hold("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await;
    let request = pb::GetKeyRequest { key_id: 1, ..Default::default() };
    let refused = app.keys_as(None).get_key(request).await.unwrap_err();
    assert_eq!((refused.code(), status_reason(&refused).as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                   WHERE d.datname = current_database() AND NOT l.granted";
    // The lock is still held: only a cancelled statement waits no more.
    eventually("the statement is cancelled", async || app.database.number(waiting).await == 0).await;
    lock.let_go().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_of_a_new_key_are_audited_and_validated_ones_have_no_ids() {
    let app = App::start().await;
    let period = pb::budget::Period::Monthly.into();
    let budget = pb::Budget { limit_micros: Some(7_000_000), period, ..Default::default() };
    let key = pb::Key { user_id: 1, display_name: "paid".into(), ..Default::default() };
    let mut create = pb::CreateKeyRequest { key: Some(key), budgets: vec![budget], ..Default::default() };
    create.validate_only = true;
    let shown = app.keys().create_key(create.clone()).await.unwrap().into_inner().key.unwrap().budgets;
    assert_eq!((shown[0].budget_id, shown[0].etag.as_str(), &shown[0].subject), (0, "", &None));
    create.validate_only = false;
    app.keys().create_key(create).await.unwrap();
    let audited = "SELECT max((after->'budgets'->0->>'limit_micros')::bigint) FROM audit_events \
                   WHERE action = 'keys.create'";
    assert_eq!(app.database.number(audited).await, 7_000_000);
    app.stop().await;
}

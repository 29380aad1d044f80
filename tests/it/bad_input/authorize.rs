//! Authorize, BatchAuthorize, FilterModels: what the calling service controls.

use keystile::grpc::pb;
use prost_types::Duration;
use tonic::Code;
use tonic_types::pb::{BadRequest, ErrorInfo};

use super::{Row, many, texts};
use crate::harness::App;
use pb::batch_authorize_response::item::Result as Item;

const AUTHORIZE: &str = "AuthorizeService/Authorize";
const BATCH: &str = "AuthorizeService/BatchAuthorize";
const FILTER: &str = "AuthorizeService/FilterModels";

pub fn rows() -> Vec<Row> {
    let mut rows = authorize_rows();
    rows.extend(number_rows());
    rows.extend(batch_rows());
    rows.extend(filter_rows());
    rows
}

fn row(what: &str, fields: &[&'static str], change: impl FnOnce(&mut pb::AuthorizeRequest)) -> Row {
    let mut request = pb::AuthorizeRequest::default();
    change(&mut request);
    Row::invalid(what, AUTHORIZE, &request, fields)
}

fn authorize_rows() -> Vec<Row> {
    let scopes = |what: &str, fields: &[&'static str], names| row(what, fields, |it| it.scopes = names);
    let may = |what: &str, fields: &[&'static str], names| row(what, fields, |it| it.permissions = names);
    let id = |what: &str, id: String| row(what, &["request_id"], |it| it.request_id = id);
    vec![
        scopes("an empty scope", &["scopes[0]"], texts([""])),
        scopes("a wildcard is not asked for", &["scopes[1]"], texts(["chat.a", "chat.*"])),
        scopes("everything is not asked for", &["scopes[0]"], texts(["*"])),
        scopes("scope of 129 bytes", &["scopes[0]"], vec!["x".repeat(129)]),
        scopes("scope with NUL", &["scopes[0]"], texts(["chat\0"])),
        scopes("101 scopes", &["scopes"], many(101, |n| n.to_string())),
        may("an empty permission", &["permissions[0]"], texts([""])),
        may("a wildcard permission", &["permissions[0]"], texts(["*"])),
        may("permission of 65 bytes", &["permissions[0]"], vec!["x".repeat(65)]),
        may("101 permissions", &["permissions"], many(101, |n| n.to_string())),
        row("dimension 0", &["not_applicable[0]"], |it| it.not_applicable = vec![0]),
        row("unknown dimensions", &["not_applicable[1]", "not_applicable[2]"], |it| {
            it.not_applicable = vec![1, 4, -1]
        }),
        id("request_id of 129 bytes", "x".repeat(129)),
        id("request_id with CRLF", "a\r\nb".into()),
        row(
            "all of it",
            &[
                "scopes[0]",
                "permissions[0]",
                "not_applicable[0]",
                "request_id",
                "min_revision",
                "estimated_tokens",
                "estimated_cost_micros",
                "reservation_ttl",
            ],
            |it| {
                // What the end user controls is not looked at where no decision can be made.
                it.token = b"\xff".as_slice().into();
                it.client_ip = b"nowhere".as_slice().into();
                it.scopes = texts(["*"]);
                it.permissions = texts([" "]);
                it.not_applicable = vec![99];
                it.request_id = "\0".into();
                it.min_revision = -1;
                it.estimated_tokens = Some(-1);
                it.estimated_cost_micros = Some(i64::MIN);
                it.reservation_ttl = Some(Duration { seconds: -1, nanos: 0 });
            },
        ),
    ]
}

fn number_rows() -> Vec<Row> {
    let ttl = |what: &str, seconds, nanos| {
        let what = format!("reservation_ttl: {what}");
        row(&what, &["reservation_ttl"], |it| it.reservation_ttl = Some(Duration { seconds, nanos }))
    };
    vec![
        row("negative min_revision", &["min_revision"], |it| it.min_revision = -1),
        row("negative tokens", &["estimated_tokens"], |it| it.estimated_tokens = Some(-1)),
        row("negative cost", &["estimated_cost_micros"], |it| it.estimated_cost_micros = Some(-1)),
        ttl("zero", 0, 0),
        ttl("a nanosecond less than a second", 0, 999_999_999),
        ttl("a nanosecond more than a day", 86_400, 1),
        ttl("negative", -600, 0),
        ttl("two signs", 600, -1),
        ttl("a billion nanoseconds", 600, 1_000_000_000),
        ttl("the longest", i64::MAX, 999_999_999),
        ttl("the shortest", i64::MIN, -999_999_999),
    ]
}

fn batch_rows() -> Vec<Row> {
    let batch = |count| pb::BatchAuthorizeRequest { requests: vec![pb::AuthorizeRequest::default(); count] };
    vec![
        Row::invalid("nothing", BATCH, &batch(0), &["requests"]),
        Row::invalid("1001 requests", BATCH, &batch(1001), &["requests"]),
    ]
}

fn filter_rows() -> Vec<Row> {
    let row = |what: &str, fields: &[&'static str], request| Row::invalid(what, FILTER, &request, fields);
    let models = |models| pb::FilterModelsRequest { models, ..Default::default() };
    let everything = pb::FilterModelsRequest {
        token: b"\xff".as_slice().into(),
        scopes: texts(["a", ""]),
        permissions: texts(["a b"]),
        not_applicable: vec![0],
        models: texts(["", "gpt-4o"]),
        min_revision: i64::MIN,
        request_id: "x".repeat(129),
        ..Default::default()
    };
    let fields =
        ["scopes[1]", "permissions[0]", "not_applicable[0]", "request_id", "min_revision", "models[0]"];
    vec![
        row("1001 models", &["models"], models(many(1001, |n| n.to_string()))),
        row("an empty model", &["models[0]"], models(texts([""]))),
        row("a model of 257 bytes", &["models[1]"], models(vec!["a".into(), "x".repeat(257)])),
        row(
            "101 scopes",
            &["scopes"],
            pb::FilterModelsRequest { scopes: many(101, |n| n.to_string()), ..Default::default() },
        ),
        row("everything", &fields, everything),
    ]
}

/// A batch as such is fine: each request gets what Authorize would have said to it alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_in_a_batch_spoils_only_itself() {
    let app = App::start().await;
    let (_, token) = app.create_any().await;
    let good = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
    let bad = pb::AuthorizeRequest { scopes: texts(["*"]), min_revision: -1, ..good.clone() };
    let denied = pb::AuthorizeRequest { token: "nobody's-token-at-all".into(), ..Default::default() };
    let requests = vec![good.clone(), bad.clone(), denied, bad, good];
    let answer = app.authorize().batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
    let items: Vec<_> = answer.into_inner().items.into_iter().map(|item| item.result.unwrap()).collect();
    let reasons: Vec<String> = items
        .iter()
        .map(|item| match item {
            Item::Response(response) => crate::harness::denial(response).unwrap_or_else(|| "ALLOW".into()),
            Item::Error(_) => "error".into(),
        })
        .collect();
    assert_eq!(reasons, ["ALLOW", "error", "KEY_INVALID", "error", "ALLOW"]);
    let Item::Error(error) = &items[1] else { panic!("an error") };
    assert_eq!(error.code, i32::from(Code::InvalidArgument));
    let detail = |name: &str| {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        error.details.iter().find(|any| any.type_url == url).unwrap_or_else(|| panic!("{name}: {error:?}"))
    };
    use prost::Message as _;
    let info = ErrorInfo::decode(detail("ErrorInfo").value.as_slice()).unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", "keystile"));
    let bad = BadRequest::decode(detail("BadRequest").value.as_slice()).unwrap();
    let fields: Vec<_> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["scopes[0]", "min_revision"]);
    app.stop().await;
}

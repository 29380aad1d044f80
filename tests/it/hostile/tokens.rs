//! Tokens that are nearly true ones, and hostile metadata.

use keystile::grpc::pb;
use prost::bytes::Bytes;

use crate::harness::{App, denial};
use crate::hostile::values;
use crate::look_alikes;
use crate::raw::{Call, Connection, panics};

/// Everything that is nearly `token`, and its parts.
fn nearly(token: &str, key: &pb::Key) -> Vec<(&'static str, Bytes)> {
    let edit = |name: &'static str, text: String| (name, Bytes::from(text));
    let (head, tail) = token.split_at(token.len() / 2);
    let mut reversed_bits = token.as_bytes().to_vec();
    reversed_bits.iter_mut().for_each(|byte| *byte ^= 0x80);
    vec![
        edit("newline after it", format!("{token}\n")),
        edit("CRLF after it", format!("{token}\r\n")),
        edit("space after it", format!("{token} ")),
        edit("NUL after it", format!("{token}\0")),
        edit("NUL and more after it", format!("{token}\0{token}")),
        edit("space before it", format!(" {token}")),
        edit("tab before it", format!("\t{token}")),
        edit("byte order mark before it", format!("\u{feff}{token}")),
        edit("zero-width space inside", format!("{head}\u{200b}{tail}")),
        edit("newline inside", format!("{head}\n{tail}")),
        edit("with its scheme", format!("Bearer {token}")),
        edit("in quotes", format!("\"{token}\"")),
        edit("escaped", token.replacen('_', "%5F", 1)),
        edit("without its last character", token[..token.len() - 1].to_owned()),
        edit("with one more character", format!("{token}0")),
        edit("twice", format!("{token}{token}")),
        edit("backwards", token.chars().rev().collect()),
        edit("checksum broken", look_alikes::broken_checksum(token)),
        edit("another secret", look_alikes::other_secret(token)),
        edit("another brand", look_alikes::other_brand(token)),
        edit("another case", look_alikes::other_case(token)),
        edit("capitals", token.to_uppercase()),
        edit("small letters", token.to_lowercase()),
        edit("a full-width underscore", token.replacen('_', "＿", 1)),
        edit("a Cyrillic k", token.replacen('k', "к", 1)),
        edit("a Kelvin sign", token.replacen('k', "\u{212a}", 1)),
        edit("a long s", token.replacen('s', "\u{17f}", 1)),
        edit("filled to 72 bytes", format!("{token}{}", "0".repeat(72 - token.len()))),
        edit("filled to 73 bytes", format!("{token}{}", "0".repeat(73 - token.len()))),
        edit("72 bytes", "x".repeat(72)),
        edit("73 bytes", "x".repeat(73)),
        edit("15 bytes", "x".repeat(15)),
        edit("16 bytes", "x".repeat(16)),
        edit("its prefix", key.key_prefix.clone()),
        edit("its prefix and a LIKE wildcard", format!("{}_%%%%%%%%", key.key_prefix)),
        edit("its hash", key.key_hash.clone()),
        edit("its id", key.key_id.to_string()),
        ("its bytes with the high bit", reversed_bits.into()),
        ("nothing", Bytes::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nearly_a_token_is_none() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let get = pb::GetKeyRequest { key_id: key.key_id, view: pb::key::View::Full.into() };
    let key = app.keys().get_key(get).await.unwrap().into_inner().key.unwrap();
    assert!(key.key_hash.starts_with("$2b$04$"));
    let mut client = app.authorize();
    let mut revision = 0;
    for (name, value) in nearly(&token, &key) {
        assert_ne!(value, token, "{name}");
        let request = pb::AuthorizeRequest { token: value.clone(), ..Default::default() };
        let answer = client.authorize(request.clone()).await.unwrap().into_inner();
        assert_eq!(denial(&answer).as_deref(), Some("KEY_INVALID"), "{name}");
        assert!(answer.key.is_empty() && answer.warnings.is_empty(), "{name}: nothing of the key is told");
        // All answers are the same, so that none tells how near it was.
        let common = pb::AuthorizeResponse { revision: answer.revision, ..invalid() };
        assert_eq!(answer, common, "{name}");
        revision = revision.max(answer.revision);

        let batch = pb::BatchAuthorizeRequest { requests: vec![request] };
        let items = client.batch_authorize(batch).await.unwrap().into_inner().items;
        let result = pb::batch_authorize_response::item::Result::Response(common);
        assert_eq!(items[0].result, Some(result), "{name}");

        let filter =
            pb::FilterModelsRequest { token: value, models: vec!["gpt-4o".into()], ..Default::default() };
        let answer = client.filter_models(filter).await.unwrap().into_inner();
        assert_eq!((answer.reason().as_str_name(), answer.models.len()), ("KEY_INVALID", 0), "{name}");
    }
    assert!(revision > 0);
    assert_eq!(app.running.authorizer().bcrypt_runs(), 0, "none was worth a bcrypt");
    assert_eq!(app.reason(&token).await, None, "and the true one works");
    app.stop().await;
}

fn invalid() -> pb::AuthorizeResponse {
    use pb::authorize_response::{Decision, Reason};
    pb::AuthorizeResponse {
        decision: Decision::Deny.into(),
        reason: Reason::KeyInvalid.into(),
        message: keystile::policy::Reason::KeyInvalid.message().to_owned(),
        http_status: 401,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_knows_no_hostile_token() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let mut client = app.authorize();
    let values = values::all().into_iter().chain(values::long()).map(|value| (value.name, value.bytes));
    for (name, token) in nearly(&token, &key).into_iter().chain(values) {
        let answer = client.introspect_key(pb::IntrospectKeyRequest { token }).await;
        let answer = answer.unwrap_or_else(|status| panic!("{name}: {status:?}")).into_inner();
        assert_eq!(answer.reason().as_str_name(), "KEY_INVALID", "{name}");
        let nothing = pb::IntrospectKeyResponse {
            reason: answer.reason,
            revision: answer.revision,
            ..Default::default()
        };
        assert_eq!(answer, nothing, "{name}: nothing of a key is told");
    }
    let answer = client.introspect_key(pb::IntrospectKeyRequest { token: token.into() }).await.unwrap();
    assert_eq!(answer.into_inner().key.unwrap().key_id, key.key_id);
    assert_eq!(panics(), 0);
    app.stop().await;
}

/// Metadata may hold any bytes but control characters. As a service token they are nobody's; elsewhere they
/// are left alone.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_metadata_is_refused_as_a_token_and_ignored_elsewhere() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let list = || Call::to("keystile.v1.KeyService/ListKeys");
    let hostile: [&[u8]; 9] = [
        b"\xff\xfe\xfd",
        b"\xc3\x28",
        b"caf\xe9",
        "\u{202e}\u{200b}".as_bytes(),
        "ключ".as_bytes(),
        b"'; DROP TABLE api_keys; --",
        b"%00%0d%0a",
        b"../../../etc/passwd",
        &[b'x'; 7000],
    ];
    for value in hostile {
        let what = value.escape_ascii().to_string();
        let token = [b"Bearer ".as_slice(), value].concat();
        let answer = connection.call(list().header("authorization", token)).await;
        answer.assert_decent(&what, &[&app.admin_token]);
        assert_eq!(answer.outcome(), "UNAUTHENTICATED CALLER_TOKEN_INVALID", "{what}");
        let call = list()
            .bearer(&app.admin_token)
            .header("x-request-id", value)
            .header("user-agent", value)
            .header("x-forwarded-for", "10.0.0.1");
        assert_eq!(connection.call(call).await.outcome(), "OK", "{what}");
    }
    assert_eq!(panics(), 0);
    app.stop().await;
}

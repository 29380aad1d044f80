//! Hostile values of the end user: whatever their bytes or length, they lead to a deny with its reason, never
//! to an error.

use keystile::grpc::pb;
use keystile::grpc::pb::access_rule::Mode;
use prost::bytes::Bytes;

use crate::harness::{App, denial};

const MEBIBYTE: usize = 1 << 20;

/// Values that no rule allows, ANY included, by the field that they are given in.
fn hostile() -> Vec<(&'static str, &'static str, Vec<Vec<u8>>)> {
    let long = |byte: u8| vec![byte; MEBIBYTE];
    let names: Vec<Vec<u8>> = vec![
        long(b'a'),
        vec![b'a'; 257],
        b"gpt-4o\0".to_vec(),
        b"\0".to_vec(),
        b"gpt-4o\n".to_vec(),
        b"gpt\r\n4o".to_vec(),
        b"gpt\x1b[31m".to_vec(),
        b"\x7f".to_vec(),
        b"\xff\xfe".to_vec(),
        b"gpt-4o\xc0\xaf".to_vec(),
        b"\xed\xa0\x80".to_vec(),
        b"gpt\xc2\x85".to_vec(),
    ];
    let endpoints: Vec<Vec<u8>> = [
        &b"/v1/../admin"[..],
        b"/v1/./x",
        b"/..",
        b"/v1/%2e%2e/x",
        b"/v1/%2E./x",
        b"/v1/.%2e",
        b"/v1%2fmodels",
        b"/v1%2Fmodels",
        b"/v1/%252e%252e/x",
        b"/v1/%25",
        b"/v1/%",
        b"/v1/%4",
        b"/v1/%zz",
        b"/v1/%00",
        b"/v1/\0",
        b"/v1/%0a",
        b"/v1/%0d%0aX: y",
        b"/v1/\r\nHost: x",
        b"/v1/%7f",
        b"/v1\\models",
        b"/v1/%5cmodels",
        b"v1/models",
        b"http://host/v1/models",
        b"*",
        b"?/v1",
        b"#",
        b" /v1",
        b"/v1/%ff",
        b"/v1/%c0%ae%c0%ae/",
        b"/v1/\xff",
        b"/v1/%ed%a0%80",
        b"/v1/%c2%85",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .chain([[b"/".to_vec(), long(b'a')].concat(), long(b'/'), long(b'%')])
    .collect();
    let addresses: Vec<Vec<u8>> = [
        &b"10.0.0.7:443"[..],
        b"10.0.0.7 ",
        b" 10.0.0.7",
        b"10.0.0.07",
        b"010.0.0.7",
        b"0x0a000007",
        b"167772167",
        b"10.7",
        b"10.0.0.7/32",
        b"10.0.0.256",
        b"[2001:db8::7]",
        b"fe80::1%eth0",
        b"::ffff:10.0.0.7%1",
        b"2001:db8::7::1",
        b"localhost",
        b"10.0.0.7\0",
        b"10.0.0.7\n",
        b"10.0.0.7, 192.0.2.1",
        b"unknown",
        b"\xff",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .chain([long(b'1')])
    .collect();
    let methods: Vec<Vec<u8>> =
        [&b"GET "[..], b"GET\0", b"GET\r\n", b"G\xffT", b"GET,POST", b"G/T", &[b'A'; 33]]
            .into_iter()
            .map(<[u8]>::to_vec)
            .chain([long(b'A')])
            .collect();
    vec![
        ("model", "MODEL_NOT_ALLOWED", names.clone()),
        ("chatbot_id", "CHATBOT_NOT_ALLOWED", names),
        ("endpoint", "ENDPOINT_MALFORMED", endpoints),
        ("client_ip", "IP_NOT_ALLOWED", addresses),
        ("method", "ENDPOINT_MALFORMED", methods),
    ]
}

fn tokens(token: &str) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![b'a'; MEBIBYTE],
        vec![0; 50],
        vec![0xff; 50],
        vec![b'a'; 15],
        vec![b'a'; 16],
        vec![b'a'; 72],
        vec![b'a'; 73],
        b"ks_".to_vec(),
        b"' OR 1=1; --        ".to_vec(),
        b"%s%n%s%n%s%n%s%n%s%n".to_vec(),
        token.to_uppercase().into_bytes(),
        token.to_lowercase().into_bytes(),
        token.replacen('k', "\u{43a}", 1).into_bytes(),
    ];
    for (before, after) in
        [("", "\n"), ("", " "), (" ", ""), ("", "\0"), ("Bearer ", ""), ("\u{feff}", ""), ("", "a")]
    {
        tokens.push(format!("{before}{token}{after}").into_bytes());
    }
    for position in [0, 4, 20, token.len() - 1] {
        let mut bytes = token.as_bytes().to_vec();
        bytes[position] = if bytes[position] == b'x' { b'y' } else { b'x' };
        tokens.push(bytes);
    }
    tokens
}

fn request(field: &str, value: &[u8]) -> pb::AuthorizeRequest {
    let value = Bytes::copy_from_slice(value);
    let mut request = pb::AuthorizeRequest {
        model: "gpt-4o".into(),
        endpoint: "/v1/chat".into(),
        method: "GET".into(),
        chatbot_id: "bot".into(),
        client_ip: "10.0.0.7".into(),
        ..Default::default()
    };
    match field {
        "model" => request.model = value,
        "endpoint" => request.endpoint = value,
        "method" => request.method = value,
        "chatbot_id" => request.chatbot_id = value,
        "client_ip" => request.client_ip = value,
        other => panic!("no field {other}"),
    }
    request
}

fn only(patterns: &[&str]) -> Option<pb::AccessRule> {
    let patterns = patterns.iter().map(ToString::to_string).collect();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_denies_for_every_key_and_never_errors() {
    let app = App::start().await;
    let (_, any) = app.create_any().await;
    let narrow = pb::Key {
        user_id: 1,
        display_name: "only".into(),
        models: only(&["gpt-4o*"]),
        endpoints: only(&["GET /v1/*"]),
        ips: only(&["10.0.0.0/8"]),
        chatbots: only(&["*"]),
        ..Default::default()
    };
    let (_, narrow) = app.create(narrow).await;
    let mut asked = 0;
    for token in [&any, &narrow] {
        let sane = app.ask(token, request("model", b"gpt-4o")).await;
        assert_eq!(denial(&sane), None, "the request is allowed but for the hostile value");
        for (field, reason, values) in hostile() {
            for value in values {
                let answer = app.ask(token, request(field, &value)).await;
                let shown = String::from_utf8_lossy(&value).chars().take(60).collect::<String>();
                assert_eq!(denial(&answer).as_deref(), Some(reason), "{field}: {shown:?}");
                asked += 1;
            }
        }
        for value in tokens(token) {
            let hostile = pb::AuthorizeRequest { token: value.clone().into(), ..Default::default() };
            let answer = app.authorize().authorize(hostile).await.unwrap().into_inner();
            let shown = String::from_utf8_lossy(&value).chars().take(60).collect::<String>();
            assert_eq!(denial(&answer).as_deref(), Some("KEY_INVALID"), "{shown:?}");
            assert_eq!(answer.key, None);
            let asked_itself = pb::IntrospectKeyRequest { token: value.into() };
            let view = app.authorize().introspect_key(asked_itself).await.unwrap().into_inner();
            assert_eq!((view.key, view.reason), (None, 1));
            asked += 1;
        }
    }
    assert!(asked >= 2 * 60, "{asked} questions");
    app.stop().await;
}

//! gRPC by hand over HTTP/2: what no well-behaved client sends, and the answers as they are on the wire.
//!
//! Every answer is held to what holds for all of them: see [`Answer::assert_decent`].

use std::net::SocketAddr;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::client::SendRequest;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::status_reason;

/// grpc-java takes no longer header list: names, values, and 32 bytes for each field (RFC 9113, 6.5.2).
const HEADER_LIST_BYTES_MAX: usize = 8 * 1024;

/// What no message may hold: words of SQL, names of tables and constraints, places in files.
const INTERNALS: [&str; 26] = [
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    " WHERE ",
    "RETURNING",
    "duplicate key",
    "violates",
    "constraint",
    "relation",
    "column",
    "diesel",
    "postgres",
    "PostgreSQL",
    "pg_",
    "api_keys",
    "key_secrets",
    "key_digests",
    "key_usage",
    "budget_periods",
    "change_log",
    "audit_events",
    "/root/",
    "/tmp/",
    "src/",
    ".rs",
];

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Panics so far in this process, outside of tests.
pub fn panics() -> usize {
    PANICS.load(Ordering::Relaxed)
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.location().is_none_or(|location| !location.file().starts_with("tests/")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            print(info);
        }));
    });
}

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Connection(SendRequest<Bytes>);

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        count_panics();
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::Builder::new()
            .max_header_list_size(1 << 20)
            .initial_window_size(1 << 24)
            .initial_connection_window_size(1 << 24)
            .handshake(stream)
            .await
            .unwrap();
        // It ends with its last request, whatever way.
        tokio::spawn(connection);
        Self(send)
    }

    /// Sends a call and reads all of its answer.
    pub async fn call(&self, call: Call) -> Answer {
        self.exchange(call, false).await
    }

    /// Sends a call; an answer that begins well is read no further, since it may have no end.
    pub async fn begin(&self, call: Call) -> Answer {
        self.exchange(call, true).await
    }

    async fn exchange(&self, call: Call, is_endless: bool) -> Answer {
        let what = format!("{call:?}");
        let mut send = self.0.clone().ready().await.unwrap();
        let mut request = Request::new(());
        *request.method_mut() = call.method;
        *request.uri_mut() = format!("http://keystile{}", call.path).parse().unwrap();
        *request.headers_mut() = call.headers;
        let (response, mut body) = send.send_request(request, false).unwrap();
        // The answer may come before the end of the body, and then nobody waits for the rest.
        let mut rest = call.body;
        if call.is_in_pieces {
            let first = rest.split_to(rest.len() / 2);
            let _sent = body.send_data(first, false);
        }
        let _sent = body.send_data(rest, !call.is_torn);
        if call.is_torn {
            body.send_reset(h2::Reason::CANCEL);
            return Answer::torn();
        }
        let (head, mut stream) =
            response.await.unwrap_or_else(|error| panic!("{what}: {error}")).into_parts();
        if is_endless && !head.headers.contains_key("grpc-status") {
            let header_list_bytes = list_bytes(&head.headers);
            let status = Status::new(Code::Ok, "");
            return Answer {
                http: head.status,
                headers: head.headers,
                status,
                header_list_bytes,
                messages: Vec::new(),
            };
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk.unwrap_or_else(|error| panic!("{what}: {error}"));
            stream.flow_control().release_capacity(chunk.len()).unwrap();
            bytes.extend_from_slice(&chunk);
        }
        let trailers = stream.trailers().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let status = trailers.as_ref().and_then(Status::from_header_map);
        let status = status.or_else(|| Status::from_header_map(&head.headers));
        let lists = [Some(&head.headers), trailers.as_ref()];
        Answer {
            http: head.status,
            headers: head.headers.clone(),
            status: status.unwrap_or_else(|| panic!("{what}: no grpc-status: {head:?}")),
            header_list_bytes: lists.into_iter().flatten().map(list_bytes).max().unwrap(),
            messages: split_messages(&bytes),
        }
    }
}

fn list_bytes(list: &HeaderMap) -> usize {
    list.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn split_messages(mut bytes: &[u8]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let [0, a, b, c, d, rest @ ..] = bytes {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        messages.push(Bytes::copy_from_slice(message));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "an answer of whole, plain messages");
    messages
}

/// A message in its frame.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// One call, with whatever is wrong about it.
#[derive(Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    is_torn: bool,
    is_in_pieces: bool,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {} bytes", self.path, self.body.len())
    }
}

impl Call {
    /// To `keystile.v1.KeyService/GetKey`, say, with an empty message.
    pub fn to(method: &str) -> Self {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        Self {
            method: Method::POST,
            path: format!("/{method}"),
            headers: headers
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .into_iter()
                .collect(),
            body: frame(&[]).into(),
            is_torn: false,
            is_in_pieces: false,
        }
    }

    pub fn message(self, message: &impl Message) -> Self {
        self.body(frame(&message.encode_to_vec()))
    }

    /// These bytes instead of a frame.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn http_method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// One more header; its value may be any bytes that HTTP allows.
    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// With another content-type, or none.
    pub fn content_type(mut self, value: Option<&'static str>) -> Self {
        self.headers.remove("content-type");
        self.headers.extend(value.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// The body comes as two frames of HTTP/2.
    pub fn in_pieces(mut self) -> Self {
        self.is_in_pieces = true;
        self
    }

    /// The stream is reset before its end.
    pub fn torn(mut self) -> Self {
        self.is_torn = true;
        self
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub status: Status,
    /// The longest header list of the answer.
    pub header_list_bytes: usize,
    pub messages: Vec<Bytes>,
}

impl Answer {
    fn torn() -> Self {
        let status = Status::cancelled("torn by the test");
        Self {
            http: StatusCode::OK,
            headers: HeaderMap::new(),
            status,
            header_list_bytes: 0,
            messages: Vec::new(),
        }
    }

    pub fn is_ok(&self) -> bool {
        self.status.code() == Code::Ok
    }

    /// The only message, decoded; fails on an error.
    pub fn read<M: Message + Default>(&self) -> M {
        assert!(self.is_ok(), "{:?}", self.status);
        let [message] = self.messages.as_slice() else { panic!("{} messages", self.messages.len()) };
        M::decode(message.clone()).unwrap()
    }

    /// `OK`, or code and reason: `NOT_FOUND KEY_NOT_FOUND`.
    pub fn outcome(&self) -> String {
        if self.is_ok() {
            return "OK".to_owned();
        }
        format!("{} {}", code_name(self.status.code()), status_reason(&self.status))
    }

    /// Holds for every answer: HTTP 200, a header list that every client takes, and for an error ErrorInfo of
    /// ours, a sentence, and nothing of the inside or of these secrets.
    pub fn assert_decent(&self, what: &str, secrets: &[&str]) {
        assert_eq!(self.http, StatusCode::OK, "{what}");
        let bytes = self.header_list_bytes;
        assert!(bytes <= HEADER_LIST_BYTES_MAX, "{what}: a header list of {bytes} bytes: {:?}", self.status);
        if self.is_ok() {
            return;
        }
        let info =
            self.status.get_details_error_info().unwrap_or_else(|| panic!("{what}: {:?}", self.status));
        assert_eq!(info.domain, "keystile", "{what}");
        assert!(self.messages.is_empty(), "{what}");
        assert!(!self.status.message().is_empty(), "{what}");
        let told = format!("{} {}", self.status.message(), String::from_utf8_lossy(self.status.details()));
        for word in INTERNALS.iter().chain(secrets) {
            assert!(!told.contains(word), "{what}: tells {word:?}: {told}");
        }
    }
}

/// The code as the gRPC documents write it.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

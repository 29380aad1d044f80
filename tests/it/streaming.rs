//! AuthorizeStream: which answer belongs to what, back-pressure, and everything that ends a stream.

mod ends;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::authorize_stream_response::Result as Answer;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_types::RpcStatusExt as _;

use crate::harness::{App, Client, Proxy, TestDatabase, denial, eventually, new_token};

/// Only a test that would fail waits so long.
const ANSWERED_MAX: Duration = Duration::from_secs(30);

/// A stream, as its client has it.
pub struct Open {
    requests: mpsc::Sender<pb::AuthorizeStreamRequest>,
    answers: Streaming<pb::AuthorizeStreamResponse>,
}

impl Open {
    /// A stream of `token`'s holder.
    pub async fn by(app: &App, token: &str) -> Self {
        Self::with(app, token, tonic::Request::new).await
    }

    /// A stream on the connection of `client`, or on the next one where that was closed before the call was sent.
    pub async fn on(client: &AuthorizeServiceClient<Client>) -> Self {
        loop {
            match Self::open(client.clone(), tonic::Request::new).await {
                Err(status) if status.code() == Code::Cancelled => {}
                opened => return opened.unwrap(),
            }
        }
    }

    /// The same, with something about the call that `dress` adds.
    pub async fn with(
        app: &App,
        token: &str,
        dress: impl FnOnce(
            ReceiverStream<pb::AuthorizeStreamRequest>,
        ) -> tonic::Request<ReceiverStream<pb::AuthorizeStreamRequest>>,
    ) -> Self {
        Self::open(app.authorize_as(Some(token)), dress).await.unwrap()
    }

    async fn open(
        mut client: AuthorizeServiceClient<Client>,
        dress: impl FnOnce(
            ReceiverStream<pb::AuthorizeStreamRequest>,
        ) -> tonic::Request<ReceiverStream<pb::AuthorizeStreamRequest>>,
    ) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(1);
        let opened = client.authorize_stream(dress(ReceiverStream::new(stream))).await?;
        Ok(Self { requests, answers: opened.into_inner() })
    }

    /// Asks whether `token` may do anything at all.
    pub async fn ask(&self, correlation_id: u64, token: &str) {
        let request = pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
        self.ask_all(correlation_id, request).await;
    }

    pub async fn ask_all(&self, correlation_id: u64, request: pb::AuthorizeRequest) {
        let request = pb::AuthorizeStreamRequest { correlation_id, request: Some(request) };
        self.requests.send(request).await.unwrap();
    }

    /// The next answer; the end of the stream where there is none.
    pub async fn next(&mut self) -> Result<(u64, Answer), Option<Status>> {
        match timeout(ANSWERED_MAX, self.answers.message()).await.expect("the stream is silent") {
            Ok(Some(answer)) => Ok((answer.correlation_id, answer.result.unwrap())),
            Ok(None) => Err(None),
            Err(status) => Err(Some(status)),
        }
    }

    /// The next decision: whose it is, and why it was denied.
    pub async fn decision(&mut self) -> (u64, Option<String>) {
        match self.next().await.unwrap() {
            (id, Answer::Response(answer)) => (id, denial(&answer)),
            (id, Answer::Error(status)) => panic!("{id}: {status:?}"),
        }
    }

    /// The error that the stream ends with.
    pub async fn end(&mut self) -> Status {
        self.next().await.unwrap_err().expect("an error")
    }

    /// Says that no more requests come.
    pub fn close(self) -> Streaming<pb::AuthorizeStreamResponse> {
        self.answers
    }
}

fn reason(status: &tonic_types::pb::Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_one_answer_under_its_own_id_and_errors_end_nothing() {
    let app = App::start().await;
    let (_, works) = app.create_any().await;
    let stranger = new_token();
    let token = app.service_token("keystile.authorize").await;
    let mut stream = Open::by(&app, &token).await;
    let asked = |token: &str| pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
    let requests = [
        Some(asked(&works)),
        Some(asked(&stranger)),
        Some(asked("malformed")),
        Some(pb::AuthorizeRequest { scopes: vec!["chat.*".into()], ..asked(&works) }),
        None,
        Some(pb::AuthorizeRequest { scopes: vec!["chat.completions".into()], ..asked(&works) }),
    ];
    let (sender, count) = (stream.requests.clone(), 600);
    let sending = tokio::spawn(async move {
        for number in 0..count {
            // Any number is an id, and none has to be another than the rest.
            let correlation_id = u64::MAX - number / 6;
            let request = requests[usize::try_from(number % 6).unwrap()].clone();
            sender.send(pb::AuthorizeStreamRequest { correlation_id, request }).await.unwrap();
        }
    });
    let mut seen: BTreeMap<(u64, String), u32> = BTreeMap::new();
    for _ in 0..count {
        let (id, what) = match stream.next().await.unwrap() {
            (id, Answer::Response(answer)) => (id, denial(&answer).unwrap_or_else(|| "ALLOW".to_owned())),
            (id, Answer::Error(status)) => {
                assert_eq!(status.code, i32::from(Code::InvalidArgument));
                let fields = status.get_details_bad_request().unwrap().field_violations;
                (id, format!("{} {}", reason(&status), fields[0].field))
            }
        };
        *seen.entry((id, what)).or_default() += 1;
    }
    sending.await.unwrap();
    let expected = (0..100).flat_map(|number| {
        let each = [
            ("ALLOW", 1),
            ("INVALID_REQUEST request", 1),
            ("INVALID_REQUEST scopes[0]", 1),
            ("KEY_INVALID", 2),
            ("SCOPE_MISSING", 1),
        ];
        each.map(|(what, times)| ((u64::MAX - number, what.to_owned()), times))
    });
    assert_eq!(seen, expected.collect());
    // No more requests: the good end.
    assert!(stream.close().message().await.unwrap().is_none());
    let page = crate::harness::get(&app.ops(), "/metrics").await.body;
    assert!(page.contains("\nkeystile_stream_answers_total 600\n"), "{page}");
    let database = app.database.clone();
    app.stop().await;
    let uses = "SELECT sum(authorized_count) FROM key_usage";
    assert_eq!(database.number(uses).await, 100, "each ALLOW is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_read_from_and_misses_nothing() {
    const ALL: u64 = 10_000;
    let app = App::builder().flags(["--no-auth"]).start().await;
    let (_, works) = app.create_any().await;
    // A small window: the stream itself holds little. The connection's is larger, because its half is what h2 lets short
    // frames lie unread for.
    let endpoint = Endpoint::from_shared(format!("http://{}", app.address())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(1 << 20);
    let mut client = AuthorizeServiceClient::new(endpoint.connect_lazy());
    let (sender, receiver) = mpsc::channel(1);
    let mut answers = client.authorize_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for correlation_id in 0..ALL {
            // Few are waited for; each is so long that what is only held somewhere would be many megabytes.
            let token = if correlation_id % 50 == 0 { works.clone() } else { "malformed".to_owned() };
            let request = pb::AuthorizeRequest {
                token: token.into(),
                model: "m".repeat(2_000).into(),
                ..Default::default()
            };
            let request = pb::AuthorizeStreamRequest { correlation_id, request: Some(request) };
            sender.send(request).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut last, mut looks) = (0, 0);
    eventually("the client's sends block", async || {
        let now = sent.load(Ordering::Relaxed);
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        looks == 100
    })
    .await;
    assert!(0 < last && last < ALL / 2, "{last} of {ALL} were taken in while no answer was read");
    let mut seen = vec![0_u8; usize::try_from(ALL).unwrap()];
    for _ in 0..ALL {
        let answer = answers.message().await.unwrap().unwrap();
        seen[usize::try_from(answer.correlation_id).unwrap()] += 1;
    }
    assert!(seen.iter().all(|times| *times == 1));
    sending.await.unwrap();
    assert!(answers.message().await.unwrap().is_none());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_out_of_reach_is_the_answer_of_each_request_and_the_stream_lives_on() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let app = App::builder().database(&database).url(proxy.url.clone()).start().await;
    let (_, works) = app.create_any().await;
    let token = app.service_token("keystile.authorize").await;
    let mut stream = Open::by(&app, &token).await;
    proxy.stall();
    // Nothing is known of this one yet, and nothing can be.
    stream.ask(1, &new_token()).await;
    let (id, answer) = stream.next().await.unwrap();
    let Answer::Error(status) = answer else { panic!("{answer:?}") };
    assert_eq!(
        (id, status.code, reason(&status).as_str()),
        (1, i32::from(Code::Unavailable), "STORE_UNAVAILABLE")
    );
    proxy.resume();
    eventually("it decides again", async || {
        stream.ask(2, &works).await;
        matches!(stream.next().await.unwrap(), (2, Answer::Response(answer)) if denial(&answer).is_none())
    })
    .await;
    app.stop().await;
}

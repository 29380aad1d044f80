//! Traces, as a collector gets them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use keystile::grpc::pb;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::harness::eventually;
use crate::logs::Service;

/// Keeps whatever it is sent.
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one that lives as long as the test.
    pub async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let collector = Self::default();
        let serving = Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, format!("http://{address}"))
    }

    /// Everything that came.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.0.lock().unwrap().clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|it| it.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

const TRACE_ID: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN_ID: u64 = 0x00f0_67aa_0ba9_02b7;

fn traced<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let traceparent = format!("00-{TRACE_ID:032x}-{SPAN_ID:016x}-{flags}");
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref().map(|value| format!("{:?}", value.value))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_of_its_callers_trace_with_its_transactions_below() {
    let (collector, endpoint) = Collector::start().await;
    // What waits is sent when the service stops, so that the test need not wait either.
    let service = Service::start(&[("KEYSTILE_OTLP_ENDPOINT", &endpoint)]).await;
    let (key_id, _) = service.create("traced").await;
    let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
    service.keys().revoke_key(traced(revoke, "01")).await.unwrap();
    let (_, token) = service.create("judged").await;
    let judged = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    for _ in 0..2 {
        service.authorize().authorize(traced(judged.clone(), "01")).await.unwrap();
    }
    let unsampled = pb::GetKeyRequest { key_id, ..Default::default() };
    service.keys().get_key(traced(unsampled, "00")).await.unwrap();
    let log = service.log();

    let spans = collector.spans();
    let of_trace: Vec<&Span> = spans.iter().filter(|span| span.trace_id == TRACE_ID.to_be_bytes()).collect();
    let name = "keystile.v1.KeyService/RevokeKey";
    let call = of_trace.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(call.parent_span_id, SPAN_ID.to_be_bytes());
    assert_eq!(call.kind(), SpanKind::Server);
    assert_eq!(attribute(call, "rpc.grpc.status_code").as_deref(), Some("Some(IntValue(0))"));
    let write = of_trace.iter().find(|span| span.name == "keys.revoke").expect("the transaction");
    assert_eq!(write.parent_span_id, call.span_id);
    assert_eq!(of_trace.iter().filter(|span| span.name == "cache.load").count(), 1, "then it is in memory");
    assert!(spans.iter().all(|span| span.name != "keystile.v1.KeyService/GetKey"), "its caller keeps none");
    assert!(spans.iter().any(|span| span.name == "keystile.v1.KeyService/CreateKey"), "a trace of our own");
    let line = log.iter().find(|line| line["action"] == "keys.revoke").unwrap();
    assert_eq!(line["trace.id"], format!("{TRACE_ID:032x}"));
    assert_eq!(line["span.id"], hex(&call.span_id), "a line leads to the span that it belongs to");
    let resource = format!("{:?}", collector.requests()[0].resource_spans[0].resource);
    assert!(resource.contains("service.name") && resource.contains("keystile"), "{resource}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_nothing_exports_only_what_callers_keep() {
    let (collector, endpoint) = Collector::start().await;
    let settings = [("KEYSTILE_OTLP_ENDPOINT", endpoint.as_str()), ("KEYSTILE_OTLP_SAMPLING", "0")];
    let service = Service::start(&settings).await;
    let list = pb::ListKeysRequest::default;
    service.keys().list_keys(list()).await.unwrap();
    service.keys().list_keys(traced(list(), "01")).await.unwrap();
    service.log();
    let spans = collector.spans();
    assert!(!spans.is_empty());
    assert!(spans.iter().all(|span| span.trace_id == TRACE_ID.to_be_bytes()), "{spans:#?}");
}

/// A collector that takes connections and never answers, and one that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_fails_no_call_and_holds_up_no_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for endpoint in [format!("http://{}", silent.local_addr().unwrap()), format!("http://{nobody}")] {
        let settings = [("KEYSTILE_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
        let service = Service::start(&settings).await;
        let (key_id, token) = service.create("untold").await;
        for _ in 0..20 {
            let request = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
            service.authorize().authorize(request).await.unwrap();
        }
        let get = pb::GetKeyRequest { key_id, ..Default::default() };
        service.keys().get_key(get).await.unwrap();
        let log = service.log();
        assert!(log.iter().any(|line| line["message"] == "stopped"), "{log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_sent_while_the_service_runs() {
    let (collector, endpoint) = Collector::start().await;
    let settings = [("KEYSTILE_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
    let service = Service::start(&settings).await;
    service.create("told").await;
    let name = "keystile.v1.KeyService/CreateKey";
    eventually("the span came", async || collector.spans().iter().any(|span| span.name == name)).await;
    service.log();
}

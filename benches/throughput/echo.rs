//! The echo servers: what a gRPC service costs that does nothing.
//!
//! The service is written as tonic's generator writes one. It answers at the path of
//! `AuthorizeService.Authorize`, so that its requests look the same to HTTP/2, and so that the layers of
//! Keystile's frame take them for calls of the contract.

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame};
use keystile::config::Connections;
use keystile::grpc::hot::{self, ShortAnswer, ShortCall, ShortMessage};
use keystile::grpc::telemetry_layer;
use keystile::server::loops::{self, Answers, Limits};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_prost::ProstCodec;
use tower::{Service, ServiceExt as _};

use crate::failure::Failure;
use crate::message::Echo;
use crate::options::EchoKind;
use crate::server::announce;

/// Where both services answer.
pub const PATH: &str = "/keystile.v1.AuthorizeService/Authorize";

/// The header of answers that makes their metadata as large as Keystile's; it has one of that name, too.
const FILLER_NAME: &str = "x-request-id";
/// As long as such a header's value may have to be.
const FILLER: &str = "0190c2a4-7d1f-7000-8000-6f5b1c2d3e4f-0190c2a4-7d1f-7000-8000-6f5b1c2d3e4f";

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Serves until the process ends: answers in so many bytes, with a header more of so many (0: none).
pub fn serve(kind: EchoKind, answer_bytes: usize, filler_bytes: usize) -> Result<(), Failure> {
    let payload_bytes = Echo::of_size(answer_bytes).payload.len();
    let filler = filler_bytes.checked_sub(FILLER_NAME.len()).and_then(|bytes| FILLER.get(..bytes));
    let service = EchoServer { payload_bytes, filler: filler.filter(|value| !value.is_empty()) };
    match kind {
        EchoKind::Default => {
            let runtime = Runtime::new().map_err(Failure::io("start a runtime"))?;
            runtime.block_on(serve_default(service))
        }
        EchoKind::Frame => {
            // As in src/cli.rs.
            let runtime =
                Builder::new_multi_thread().enable_all().build().map_err(Failure::io("start a runtime"))?;
            runtime.block_on(serve_in_frame(service))
        }
    }
}

/// tonic as its first example has it; `Server::serve` would do the same, but not tell the port.
async fn serve_default(service: EchoServer) -> Result<(), Failure> {
    let incoming = TcpIncoming::bind(LOOPBACK).map_err(Failure::io("listen"))?.with_nodelay(Some(true));
    announce(incoming.local_addr().map_err(Failure::io("listen"))?);
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

/// The loops of `keystile serve`, with its own defaults; the service is called where its call was read, as a decision is
/// made. What is left out is what a decision costs: the echo looks nothing up, and counts nothing.
async fn serve_in_frame(service: EchoServer) -> Result<(), Failure> {
    let listener = TcpListener::bind(LOOPBACK).await.map_err(Failure::io("listen"))?;
    announce(listener.local_addr().map_err(Failure::io("listen"))?);
    let limits = Limits::from(&Settings::parse_from(["frame"]).connections);
    let metrics = telemetry_layer::metrics();
    let serving = loops::serve(listener, None, service, limits, &metrics, pending()).await;
    serving.map_err(|error| Failure::Client(error.to_string()))
}

/// As `keystile serve` has them where nothing is set.
#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    connections: Connections,
}

impl Answers for EchoServer {
    fn is_short(&self, head: &Parts) -> bool {
        hot::is_short(head)
    }

    fn patience(&self, head: &Parts) -> Duration {
        hot::patience(head)
    }

    type Memory = ();

    /// The very service that the default echo has, called where its call was read: it never waits.
    fn answer_now(&self, call: &ShortCall<'_>, (): &mut ()) -> Option<ShortAnswer> {
        let mut request = Request::new(Body::new(Whole(Some(call.body.clone()))));
        (*request.uri_mut(), *request.headers_mut()) = (call.head.uri.clone(), call.head.headers.clone());
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(answer)) = pin!(Service::call(&mut { *self }, request)).poll(&mut context) else {
            return None;
        };
        let (head, mut body) = answer.into_parts();
        let mut message = ShortMessage { body: Bytes::new(), trailers: HeaderMap::new() };
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
            match frame.into_data() {
                Ok(data) => message.body = data,
                Err(frame) => message.trailers = frame.into_trailers().ok()?,
            }
        }
        Some(ShortAnswer { headers: head.headers, message: Some(message) })
    }

    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send + 'static {
        let answer = (*self).oneshot(request);
        async { answer.await.unwrap_or_else(|never| match never {}) }
    }
}

/// A body that has come.
struct Whole(Option<Bytes>);

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[derive(Clone, Copy, Debug)]
struct EchoServer {
    payload_bytes: usize,
    filler: Option<&'static str>,
}

impl EchoServer {
    fn fill(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.filler {
            headers.insert(FILLER_NAME, HeaderValue::from_static(value));
        }
    }
}

impl NamedService for EchoServer {
    const NAME: &'static str = "keystile.v1.AuthorizeService";
}

impl Service<Request<Body>> for EchoServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = *self;
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("there is only the echo").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).unary(method, request).await)
        })
    }
}

impl UnaryService<Echo> for EchoServer {
    type Response = Echo;
    type Future = Ready<Result<tonic::Response<Echo>, Status>>;

    fn call(&mut self, request: tonic::Request<Echo>) -> Self::Future {
        let mut answer = tonic::Response::new(request.get_ref().answer(self.payload_bytes));
        self.fill(answer.metadata_mut().as_mut());
        ready(Ok(answer))
    }
}

//! The operations port: HTTP for probes and for whoever collects metrics.
//!
//! It is bound before the database is opened, and answers `/healthz` as long as the process works. It has no
//! secrets and no authentication; who may reach it is up to the network. Whatever its clients do, they cost at most
//! [`CONNECTIONS_MAX`] connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::metrics::{CONTENT_TYPE, Metrics};

/// Connections at a time; more wait until one ends.
const CONNECTIONS_MAX: usize = 64;
/// A client gets so long to say what it wants.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// A connection lives so long, whatever its client does.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// How long no connection is taken in after a failure (no more files, say).
const PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// The operations port; closed when dropped.
#[derive(Debug)]
pub struct Ops {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Ops {
    /// Serves on `listener`, which listens at `address`, until it is dropped. Ready is what [`Metrics::service`]
    /// says.
    #[must_use]
    pub fn start(listener: TcpListener, address: SocketAddr, metrics: Arc<Metrics>) -> Self {
        tracing::info!(address = %address, "operations port");
        Self { address, serving: tokio::spawn(accept(listener, metrics)) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Ops {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    serve(stream, metrics).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection to the operations port was not taken in");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, metrics: Arc<Metrics>) {
    let answer = service_fn(move |request| {
        let answered = answer(&request, &metrics);
        async move { Ok::<_, Infallible>(answered) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let served = timeout(CONNECTION_MAX, http.serve_connection(TokioIo::new(stream), answer)).await;
    // Broken off by a client, or by us because it took too long: nothing to be done about it.
    tracing::trace!(ended_well = matches!(served, Ok(Ok(()))), "a connection to the operations port ended");
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<String> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET, please\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" if metrics.service.is_ready() => response(StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/readyz" => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".to_owned()),
        "/metrics" => response(StatusCode::OK, CONTENT_TYPE, metrics.page()),
        _ => response(StatusCode::NOT_FOUND, TEXT, "/healthz, /readyz, /metrics\n".to_owned()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

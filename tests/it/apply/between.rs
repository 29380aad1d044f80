//! Stands between the program and a service: passes calls on, loses an answer, or does something else first.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Server};
use tower::{Service, ServiceExt};

use crate::harness::App;

type Work = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// What happens once to a method.
enum Event {
    LoseAnswer,
    After(Work),
}

#[derive(Default)]
struct Script {
    events: HashMap<String, Event>,
    calls: HashMap<String, usize>,
}

/// Ends when dropped.
pub struct Between {
    /// Where it listens.
    pub address: String,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Between {
    /// Before this service.
    pub async fn start(app: &App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Mutex::new(Script::default()));
        let passing = Passing { to: app.channel(), script: Arc::clone(&script) };
        let serving =
            Server::builder().add_service(passing).serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async { serving.await.unwrap() });
        Self { address, script, task }
    }

    /// The answer of the next such call is lost: what it asked for is done.
    pub fn lose_answer_of(&self, method: &str) {
        self.script.lock().unwrap().events.insert(method.to_owned(), Event::LoseAnswer);
    }

    /// Something else is done after the next such call, before its answer is passed on.
    pub fn after(&self, method: &str, work: impl Future<Output = Result<(), Status>> + Send + 'static) {
        self.script.lock().unwrap().events.insert(method.to_owned(), Event::After(Box::pin(work)));
    }

    /// How many such calls there were.
    pub fn calls(&self, method: &str) -> usize {
        self.script.lock().unwrap().calls.get(method).copied().unwrap_or(0)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Passing {
    to: Channel,
    script: Arc<Mutex<Script>>,
}

impl NamedService for Passing {
    const NAME: &'static str = "keystile.v1.KeyService";
}

impl Service<Request<Body>> for Passing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let (to, script) = (self.to.clone(), Arc::clone(&self.script));
        Box::pin(async move {
            let event = {
                let mut script = script.lock().unwrap();
                *script.calls.entry(method.clone()).or_default() += 1;
                script.events.remove(&method)
            };
            let answer = to.oneshot(request).await.unwrap();
            Ok(match event {
                None => answer,
                Some(Event::LoseAnswer) => Status::unavailable("the answer is lost").into_http(),
                Some(Event::After(work)) => {
                    work.await.unwrap();
                    answer
                }
            })
        })
    }
}

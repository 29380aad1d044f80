//! The services that need the database, which come late: until they are there, every call is answered that the
//! service is starting.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt as _};

use crate::grpc::access;
use crate::grpc::auth_layer::Authenticated;
use crate::grpc::error::ErrorReason;
use crate::grpc::hot::ShortAuthorize;

/// Health and reflection from the beginning, and everything else from [`Late::open`] on. Clones share what is
/// opened.
#[derive(Clone, Debug)]
pub(super) struct Late {
    early: Routes,
    late: Arc<OnceLock<Opened>>,
}

/// What is there when the service has started.
#[derive(Debug)]
struct Opened {
    services: Authenticated<Routes>,
    short: ShortAuthorize,
}

impl Late {
    /// With what everybody may call, and nothing else yet.
    pub(super) fn new(early: Routes) -> Self {
        Self { early, late: Arc::default() }
    }

    /// Opens the rest, and the short way to it. Only the first time counts.
    pub(super) fn open(&self, services: Authenticated<Routes>, short: ShortAuthorize) {
        if self.late.set(Opened { services, short }).is_err() {
            tracing::error!("the services were opened twice");
        }
    }

    /// The short way, once it is open.
    pub(super) fn short(&self) -> Option<&ShortAuthorize> {
        self.late.get().map(|opened| &opened.short)
    }
}

impl Service<Request<Body>> for Late {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if access::is_open(request.uri().path()) {
            return Box::pin(self.early.clone().oneshot(request));
        }
        match self.late.get() {
            Some(opened) => Box::pin(opened.services.clone().oneshot(request)),
            None => {
                let status = ErrorReason::Starting.status("the service is starting; try again");
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

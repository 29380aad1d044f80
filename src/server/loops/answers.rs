//! What a loop asks of whatever answers the calls.

use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use tonic::body::Body;

use crate::grpc::hot::{ShortAnswer, ShortCall};

/// Answers calls: from memory where it can, else by whatever it takes. A clone for every connection.
pub trait Answers: Clone + Send + Sync + 'static {
    /// What is remembered of a connection, from one call to the next.
    type Memory: Default + Send;

    /// Whether memory may be able to answer a call, by what its head says.
    fn is_short(&self, head: &Parts) -> bool;

    /// How long the message of such a call may be waited for; then it is for [`Answers::answer`] to wait.
    fn patience(&self, head: &Parts) -> Duration;

    /// The answer that memory has; `None` for one that it has not, or where anything is unusual. Must neither wait nor
    /// take long: every other connection of the loop waits for it.
    fn answer_now(&self, call: &ShortCall<'_>, memory: &mut Self::Memory) -> Option<ShortAnswer>;

    /// Answers by whatever it takes. It is called and runs on the background runtime, and is dropped when its caller
    /// gives up.
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send + 'static;
}

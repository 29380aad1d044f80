//! One call on the background runtime: its request is answered, and the answer is sent as fast as the client takes it.
//!
//! - Whoever gives up, or whose connection is lost, ends the work: it is dropped.
//! - A panic is this call's own: its client is told, and so is the log.

use std::future::poll_fn;
use std::thread;
use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body::Body as _;
use prost::bytes::Bytes;
use tokio::time::timeout;
use tonic::body::Body;

use super::answers::Answers;

/// A client that takes nothing of an answer for so long has gone, or never means to: its call ends, whatever else would
/// end it (a revoked caller, a deadline, the end of the service) is not looked at while nothing can be said.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// Answers `request`.
pub(super) async fn exchange<A: Answers>(answers: A, request: Request<Body>, respond: SendResponse<Bytes>) {
    let mut reply = Reply { respond };
    let answer = async { answers.answer(request).await };
    let response = tokio::select! {
        biased;
        response = answer => response,
        _ = poll_fn(|context| reply.respond.poll_reset(context)) => return,
    };
    if let Err(error) = reply.send(response).await {
        tracing::debug!(error = %error, "an answer could not be sent");
    }
}

/// The way back to the client.
struct Reply {
    respond: SendResponse<Bytes>,
}

impl Reply {
    async fn send(&mut self, response: Response<Body>) -> Result<(), h2::Error> {
        let (head, body) = response.into_parts();
        let is_over = body.is_end_stream();
        let stream = self.respond.send_response(Response::from_parts(head, ()), is_over)?;
        if is_over { Ok(()) } else { send_body(body, stream).await }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("answering a call panicked; it is given up");
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

async fn send_body(mut body: Body, mut stream: SendStream<Bytes>) -> Result<(), h2::Error> {
    loop {
        match timeout(STANDSTILL_MAX, has_room(&mut stream)).await {
            Ok(Ok(true)) => {}
            Ok(room) => return room.map(drop),
            Err(_elapsed) => {
                tracing::debug!("a client takes nothing of an answer; its call is given up");
                stream.send_reset(Reason::CANCEL);
                return Ok(());
            }
        }
        let frame = tokio::select! {
            biased;
            frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)) => frame,
            _ = poll_fn(|context| stream.poll_reset(context)) => return Ok(()),
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(error = %error, "an answer ended early");
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            None => return stream.send_data(Bytes::new(), true),
        };
        match frame.into_data() {
            Ok(data) => {
                let is_over = body.is_end_stream();
                stream.send_data(data, is_over)?;
                if is_over {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.reserve_capacity(0);
                    return stream.send_trailers(trailers);
                }
            }
        }
    }
}

/// Waits until the client takes more: nothing is made that nobody reads. `false` where it takes nothing any more.
async fn has_room(stream: &mut SendStream<Bytes>) -> Result<bool, h2::Error> {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => room?,
            None => return Ok(false),
        };
    }
    Ok(true)
}

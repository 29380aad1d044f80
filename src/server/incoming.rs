//! The connections that the service takes: bound before anything else is done, taken until the service closes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream};
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;

use super::ServerError;
use super::stage::{Stage, Stages};

/// Takes the address, and says at once if it cannot be had.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })
}

/// The connections that `listener` takes, until the service closes.
pub(super) fn incoming(
    listener: TcpListener,
    stages: Stages,
) -> impl Stream<Item = io::Result<TcpStream>> + Send {
    // Without it an answer may wait 40 ms for the client's delayed acknowledgement.
    UntilClosing::new(TcpIncoming::from(listener).with_nodelay(Some(true)), stages)
}

/// A stream that ends when the service closes, but not before it has given all that was there by then: a
/// connection that the kernel has made already would be reset otherwise, with the call that is on it.
pub(super) struct UntilClosing<S> {
    inner: Pin<Box<S>>,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_closing: bool,
}

impl<S: Stream> UntilClosing<S> {
    /// `inner`, until then.
    pub(super) fn new(inner: S, stages: Stages) -> Self {
        let closing = Box::pin(async move { stages.reached(Stage::Closing).await });
        Self { inner: Box::pin(inner), closing, is_closing: false }
    }
}

impl<S: Stream> Stream for UntilClosing<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        // Looked at first: whatever was there when the stage came is still given.
        self.is_closing = self.is_closing || self.closing.as_mut().poll(context).is_ready();
        match self.inner.as_mut().poll_next(context) {
            Poll::Pending if self.is_closing => Poll::Ready(None),
            next => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    #[tokio::test]
    async fn what_was_there_when_it_closes_is_still_given() {
        let (stage, _) = watch::channel(Stage::Running);
        let (send, receive) = mpsc::channel(8);
        let mut stream = UntilClosing::new(ReceiverStream::new(receive), Stages::of(&stage));
        send.send(1).await.unwrap();
        assert_eq!(stream.next().await, Some(1));
        send.send(2).await.unwrap();
        send.send(3).await.unwrap();
        stage.send_replace(Stage::Closing);
        assert_eq!(stream.next().await, Some(2));
        assert_eq!(stream.next().await, Some(3));
        assert_eq!(stream.next().await, None, "though the sender is still there");
    }

    #[tokio::test]
    async fn a_stream_that_waits_ends_when_the_service_closes() {
        let (stage, _) = watch::channel(Stage::Running);
        let (_send, receive) = mpsc::channel::<u8>(1);
        let mut stream = UntilClosing::new(ReceiverStream::new(receive), Stages::of(&stage));
        let waiting = tokio::spawn(async move { stream.next().await });
        stage.send_replace(Stage::Draining);
        stage.send_replace(Stage::Closing);
        assert_eq!(waiting.await.unwrap(), None);
    }
}

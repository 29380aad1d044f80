//! How answers leave a connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use prost::bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::Heard;

/// Counts what would be a call of the system, each a packet.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[tokio::test]
async fn answers_of_some_hundred_bytes_leave_together() {
    const CALLS: usize = 32;
    let (ours, theirs) = duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let io = Heard::default().listen(Counted { io: ours, writes: Arc::clone(&writes) });
    let serving = tokio::spawn(async move {
        let mut http2 = h2::server::handshake(io).await.unwrap();
        let mut calls = Vec::new();
        while calls.len() < CALLS {
            calls.push(http2.accept().await.unwrap().unwrap());
        }
        let before = writes.load(Ordering::Relaxed);
        for (_, mut respond) in calls {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from(vec![7; 500]), true).unwrap();
        }
        poll_fn(|context| http2.poll_closed(context)).await.unwrap();
        writes.load(Ordering::Relaxed) - before
    });
    let (mut send, connection) = h2::client::handshake(theirs).await.unwrap();
    let driving = tokio::spawn(connection);
    let ask = |_| send.send_request(Request::get("http://keystile/").body(()).unwrap(), true).unwrap().0;
    let answers: Vec<_> = (0..CALLS).map(ask).collect();
    for answer in answers {
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap().len(), 500);
    }
    drop(send);
    driving.await.unwrap().unwrap();
    let count = serving.await.unwrap();
    assert!(count < CALLS / 2, "{count} for {CALLS} answers");
}

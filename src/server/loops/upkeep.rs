//! When a connection is asked whether its client is still there, and when it has become too old.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connection::Terms;
use crate::clock;

/// When the service ends, a client that is silent is asked at once, and given up after so long: one that vanished must not
/// take all the time that others have for their calls. Long enough for a PING that was lost twice on its way.
const LAST_SILENCE_MAX: Duration = Duration::from_secs(3);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing that concerns others: the client was asked whether it is there, if it had to be.
    Asked,
    /// The client did not answer when it was asked.
    Silent,
    /// It is time to make a new connection.
    Old,
    /// The calls of the old connection had their time.
    TooOld,
}

/// The clocks of a connection.
pub(super) struct Upkeep {
    heard: Heard,
    ping: Option<PingPong>,
    silence: Duration,
    look: Pin<Box<Sleep>>,
    was_asked: bool,
    end: Option<End>,
}

struct End {
    at: Pin<Box<Sleep>>,
    grace: Option<Duration>,
}

impl Upkeep {
    pub(super) fn new(terms: &Terms, heard: Heard, ping: Option<PingPong>) -> Self {
        Self {
            heard,
            ping,
            silence: terms.silence,
            look: Box::pin(sleep(terms.silence)),
            was_asked: false,
            end: terms.age.map(|(age, grace)| End { at: Box::pin(sleep(age)), grace: Some(grace) }),
        }
    }

    /// Returns when something is due; may be given up on and called again.
    pub(super) async fn due(&mut self) -> Due {
        let end = async {
            match &mut self.end {
                Some(end) => {
                    end.at.as_mut().await;
                    end
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            end = end => match end.grace.take() {
                Some(grace) => {
                    end.at.as_mut().reset(later(grace));
                    Due::Old
                }
                None => Due::TooOld,
            },
            () = self.look.as_mut() => self.look_after(),
        }
    }

    /// The service ends: asks the client now, and from now on waits less for it.
    pub(super) fn hurry(&mut self) {
        self.silence = self.silence.min(LAST_SILENCE_MAX);
        self.heard.take();
        self.ask();
    }

    fn look_after(&mut self) -> Due {
        let was_heard = self.heard.take();
        if self.was_asked && !was_heard {
            return Due::Silent;
        }
        if was_heard {
            self.was_asked = false;
            self.look.as_mut().reset(later(self.silence));
        } else {
            self.ask();
        }
        Due::Asked
    }

    fn ask(&mut self) {
        self.was_asked = true;
        if let Some(ping) = &mut self.ping {
            // The answer to the last one, which has come, is in the way of the next.
            let _earlier = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
            if let Err(error) = ping.send_ping(Ping::opaque()) {
                tracing::debug!(error = %error, "a client could not be asked whether it is there");
            }
        }
        self.look.as_mut().reset(later(self.silence));
    }
}

fn later(length: Duration) -> Instant {
    Instant::from_std(clock::monotonic_now()) + length
}

/// Whether anything was heard of a client since somebody asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// The same connection; what is read of it is heard.
    pub(super) fn listen<IO>(&self, io: IO) -> Listened<IO> {
        Listened { io, heard: self.clone(), has_begun: false }
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A connection that is listened to.
#[derive(Debug)]
pub(super) struct Listened<IO> {
    io: IO,
    heard: Heard,
    /// Something was read, or tried to be.
    has_begun: bool,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Listened<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.has_begun = true;
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() {
            self.heard.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Listened<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    /// h2 asks at the very beginning, to know from which length on a frame is written by itself: from 256 bytes on where the
    /// answer is yes, else from 1024. An answer with rate limits is in between, and is to leave together with others.
    fn is_write_vectored(&self) -> bool {
        self.has_begun && self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

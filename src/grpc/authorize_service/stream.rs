//! AuthorizeStream: answers as they are ready, in any order.
//!
//! - It is pulled: a request is read only when the connection asks for an answer. A client that does not read is not
//!   read from either, and at most [`WIDTH`] requests of about [`WAITING_BYTES_MAX`] are under way; that bounds what a
//!   stream holds.
//! - What memory answers is answered where it is read, without a task, and tonic puts what is ready into one frame.
//! - The caller is judged with each request, and while nothing comes. A caller that is gone ends the stream at once;
//!   the end of the connection, or of the requests, lets what has been read be answered first.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::task::{JoinSet, coop};

use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use super::line::Line;
use super::{AuthorizeApi, Decided, Now, REVISION_WAIT_MAX, rpc_status, wait_within};
use crate::authorize::KnownCaller;
use crate::grpc::closing::Closing;
use crate::grpc::error::{self, ErrorReason, invalid_request};
use crate::grpc::error_layer::explain;
use crate::grpc::pb;
use crate::grpc::pb::authorize_stream_response::Result as Answer;
use crate::grpc::session::{Refused, Session};
use crate::grpc::violations::Violations;
use crate::metrics::Gauge;
use crate::{call, clock};

/// So many requests of a stream wait at once: they are loaded together, and half of what may wait for bcrypt.
const WIDTH: usize = 128;
/// So many bytes of requests wait at once, and one request more.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// What ends a stream is looked for after so many answers at the latest.
const LOOK_EVERY: u32 = 32;

type Ending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A stream of answers.
pub struct Deciding {
    api: AuthorizeApi,
    session: Session,
    /// Whose session it is, as it was found last.
    known: KnownCaller,
    deadline: Option<Instant>,
    requests: Streaming<pb::AuthorizeStreamRequest>,
    /// What had to be waited for.
    waiting: JoinSet<Done>,
    waiting_bytes: usize,
    line: Line,
    cut_short: Ending<Status>,
    closed: Ending<()>,
    /// Answers since what ends the stream was last looked for.
    unlooked: u32,
    state: State,
}

enum State {
    Reading,
    /// Nothing more is read; ends with this once what was read is answered. `None` is the good end.
    Finishing(Option<Status>),
    Over,
}

/// The size of a request that had to wait, and what has come of it; an error where its caller may not call any more.
type Done = (usize, Result<pb::AuthorizeStreamResponse, Status>);

impl Deciding {
    pub(super) fn new(
        api: AuthorizeApi,
        session: Session,
        deadline: Option<Instant>,
        mut closing: Closing,
        requests: Streaming<pb::AuthorizeStreamRequest>,
    ) -> Self {
        let cut_short = Box::pin(api.streams.clone().cut_short(session.clone(), deadline));
        let closed = Box::pin(async move { closing.come().await });
        Self {
            api,
            session,
            known: KnownCaller::default(),
            deadline,
            requests,
            waiting: JoinSet::new(),
            waiting_bytes: 0,
            line: Line::default(),
            cut_short,
            closed,
            unlooked: 0,
            state: State::Reading,
        }
    }

    /// Whether something ends the stream. Asks to be woken when it does.
    fn look_for_end(&mut self, context: &mut Context<'_>) {
        self.unlooked = 0;
        if let Poll::Ready(status) = self.cut_short.as_mut().poll(context) {
            self.cut(status);
        } else if matches!(self.state, State::Reading) && self.closed.as_mut().poll(context).is_ready() {
            self.state = State::Finishing(Some(error::draining()));
        }
    }

    fn give(&mut self, answer: pb::AuthorizeStreamResponse) -> Poll<Option<<Self as Stream>::Item>> {
        self.unlooked = self.unlooked.saturating_add(1);
        self.api.metrics.stream_items.increment();
        Poll::Ready(Some(Ok(answer)))
    }

    /// Ends at once.
    fn cut(&mut self, status: Status) {
        self.waiting.abort_all();
        self.waiting.detach_all();
        self.state = State::Finishing(Some(status));
    }

    /// Takes a request on: its answer, or `None` where that has to be waited for or there will be none.
    fn take(&mut self, request: pb::AuthorizeStreamRequest) -> Option<pb::AuthorizeStreamResponse> {
        let pb::AuthorizeStreamRequest { correlation_id, request } = request;
        // Decided before the request is validated.
        let view = self.api.authorizer.view();
        let judged = match view.and_then(|view| self.session.judge_again_now(view, &mut self.known)) {
            Some(Err(Refused::Gone(status))) => {
                self.cut(status);
                return None;
            }
            Some(Err(Refused::Unknown(status))) => return Some(answer(correlation_id, Err(status))),
            Some(Ok(())) => true,
            None => false,
        };
        let Some(request) = request else {
            return Some(answer(correlation_id, Err(no_request())));
        };
        let view = view.filter(|_| judged && !self.line.has(&request.token));
        let waiting = match view.map(|view| self.api.decide_now(view, &request)) {
            Some(Now::Decided(decided)) => return Some(answer(correlation_id, decided)),
            Some(Now::Waits(waiting)) => waiting,
            None => None,
        };
        let turn = waiting.is_none().then(|| self.line.join(&request.token));
        let size = request.encoded_len();
        self.waiting_bytes = self.waiting_bytes.saturating_add(size);
        let (api, session, deadline) = (self.api.clone(), self.session.clone(), self.deadline);
        let under_way = Gauge::hold(Arc::clone(&api.metrics.stream_waiting));
        let deciding = async move {
            let _under_way = under_way;
            match if judged { Ok(()) } else { session.judge().await } {
                Ok(()) => {}
                Err(Refused::Gone(status)) => return (size, Err(status)),
                Err(Refused::Unknown(status)) => return (size, Ok(answer(correlation_id, Err(status)))),
            }
            let deciding = async { api.decide_late(waiting, &request, wait_max(deadline)).await };
            let decided = match turn {
                Some(turn) => turn.decide(deciding).await,
                None => deciding.await,
            };
            (size, Ok(answer(correlation_id, decided)))
        };
        self.waiting.spawn_on(call::inherit(deciding), &self.api.streams.background);
        None
    }
}

impl Stream for Deciding {
    type Item = Result<pb::AuthorizeStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.unlooked >= LOOK_EVERY {
            this.look_for_end(context);
        }
        loop {
            // However many requests lie there: after some the others of this thread have their turns.
            let turn = ready!(coop::poll_proceed(context));
            if !this.waiting.is_empty()
                && let Poll::Ready(Some(done)) = this.waiting.poll_join_next(context)
            {
                turn.made_progress();
                match done {
                    Ok((size, Ok(answer))) => {
                        this.waiting_bytes = this.waiting_bytes.saturating_sub(size);
                        return this.give(answer);
                    }
                    Ok((_, Err(status))) => this.cut(status),
                    Err(panicked) => this.cut(error::defect(&panicked)),
                }
                continue;
            }
            match &mut this.state {
                State::Reading if this.waiting.len() < WIDTH && this.waiting_bytes < WAITING_BYTES_MAX => {
                    if let Poll::Ready(read) = Pin::new(&mut this.requests).poll_next(context) {
                        turn.made_progress();
                        match read {
                            Some(Ok(request)) => {
                                if let Some(answer) = this.take(request) {
                                    return this.give(answer);
                                }
                            }
                            Some(Err(status)) => this.state = State::Finishing(Some(unreadable(&status))),
                            None => this.state = State::Finishing(None),
                        }
                        continue;
                    }
                }
                State::Finishing(end) if this.waiting.is_empty() => {
                    let end = end.take();
                    this.state = State::Over;
                    return Poll::Ready(end.map(Err));
                }
                State::Over => return Poll::Ready(None),
                State::Reading | State::Finishing(_) => {}
            }
            this.look_for_end(context);
            if !(matches!(this.state, State::Finishing(_)) && this.waiting.is_empty()) {
                return Poll::Pending;
            }
        }
    }
}

fn answer(correlation_id: u64, decided: Decided) -> pb::AuthorizeStreamResponse {
    let result = match decided {
        Ok(response) => Answer::Response(response),
        Err(status) => Answer::Error(rpc_status(status)),
    };
    pb::AuthorizeStreamResponse { correlation_id, result: Some(result) }
}

fn no_request() -> Status {
    let mut violations = Violations::default();
    violations.add("request", "is required");
    invalid_request(&violations)
}

/// How long a revision is waited for, where the stream has to end by `deadline`.
fn wait_max(deadline: Option<Instant>) -> Duration {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::monotonic_now()));
    wait_within(left.unwrap_or(REVISION_WAIT_MAX))
}

/// What a stream of requests that breaks off ends with.
fn unreadable(status: &Status) -> Status {
    match status.code() {
        // The connection is gone: nobody hears it.
        Code::Unknown | Code::Unavailable => ErrorReason::Cancelled.status("the call was given up"),
        _ => explain(status),
    }
}

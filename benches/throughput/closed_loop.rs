//! One stream of a closed loop: it asks again as soon as it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use keystile::clock::monotonic_now;

use crate::call::{Call, End, Record};
use crate::client::{CallFailure, ask};
use crate::question::{Question, Turn};

/// Asks until it is to stop or there is nothing left to ask, one call after the other.
///
/// # Errors
/// A call went wrong.
pub async fn run(
    question: Arc<Question>,
    mut connection: SendRequest<Bytes>,
    mut turn: Turn,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Call>, CallFailure> {
    let mut calls = Record::default();
    let mut asked = monotonic_now();
    while !stop.load(Ordering::Relaxed) {
        let Some(body) = question.body(&mut turn) else { break };
        let call = call_at(asked, &question, body, &mut connection, calls.len()).await?;
        asked = call.answered();
        calls.push(call);
    }
    Ok(calls.into_calls())
}

/// Makes a call that began at `asked`, and checks its answer; `count` is the number of calls before it.
///
/// # Errors
/// It went wrong.
pub async fn call_at(
    asked: Instant,
    question: &Question,
    body: Bytes,
    connection: &mut SendRequest<Bytes>,
    count: usize,
) -> Result<Call, CallFailure> {
    let answer = ask(&question.head, body, connection).await;
    let took = monotonic_now() - asked;
    let end = match answer {
        Ok(answer) => {
            question.check(&answer, count)?;
            End::Answered
        }
        Err(failure) if failure.is_shed() && question.may_be_shed() => End::Shed,
        Err(failure) => return Err(failure),
    };
    Ok(Call::new(asked, took, end))
}

//! One stream of decisions: so many requests under way on it at once, another for each that is answered.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::StatusCode;
use keystile::clock::monotonic_now;
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::Decision;
use keystile::grpc::pb::authorize_stream_response::Result as Given;
use prost::Message;
use prost::encoding::decode_varint;
use tokio::time::timeout;

use crate::call::{Call, End, Record};
use crate::client::{CallFailure, grpc_status};
use crate::message::{PREFIX_BYTES, framed};
use crate::question::{Question, SAMPLE, check_decision};

/// How long the answers that are under way at the end may still take.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Field 1, a varint: how an answer begins.
const CORRELATION: u8 = 0x08;

/// A request under way: it is asked again under the same number when it is answered.
struct Place {
    frame: Bytes,
    asked: Instant,
}

/// Opens a stream and asks on it until it is to stop.
///
/// # Errors
/// The stream or an answer went wrong.
pub async fn run(
    question: Arc<Question>,
    request: pb::AuthorizeRequest,
    mut connection: SendRequest<Bytes>,
    window: usize,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Call>, CallFailure> {
    let asked = monotonic_now();
    let mut places: Vec<Place> =
        (1..=window).map(|number| Place { frame: frame(number, &request), asked }).collect();
    poll_fn(|context| connection.poll_ready(context)).await?;
    let (response, mut sending) = connection.send_request(question.head.clone(), false)?;
    send(&mut sending, places.iter().map(|place| &place.frame))?;
    let (head, mut receiving) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(CallFailure::HttpStatus(head.status));
    }
    if receiving.is_end_stream() {
        grpc_status(&head.headers)?;
    }
    let mut calls = Record::default();
    let mut received = BytesMut::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(chunk) = receiving.data().await else { break };
        let chunk = chunk?;
        receiving.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
        let answered = take_answers(&mut received, &mut places, &mut calls)?;
        let again = answered.iter().filter_map(|at| places.get(*at)).map(|place| &place.frame);
        send(&mut sending, again)?;
    }
    sending.send_data(Bytes::new(), true)?;
    let rest = timeout(LAST_ANSWER_MAX, to_the_end(&mut receiving, &mut received, &mut places, &mut calls));
    rest.await.map_err(|_| CallFailure::Wrong("the stream does not end".to_owned()))??;
    Ok(calls.into_calls())
}

async fn to_the_end(
    receiving: &mut RecvStream,
    received: &mut BytesMut,
    places: &mut [Place],
    calls: &mut Record,
) -> Result<(), CallFailure> {
    while let Some(chunk) = receiving.data().await {
        let chunk = chunk?;
        receiving.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
        take_answers(received, places, calls)?;
    }
    let trailers = receiving.trailers().await?.unwrap_or_default();
    grpc_status(&trailers)
}

/// Takes what is whole of what was received, and says whose answers it was.
fn take_answers(
    received: &mut BytesMut,
    places: &mut [Place],
    calls: &mut Record,
) -> Result<Vec<usize>, CallFailure> {
    let mut answered = Vec::new();
    while let Some(message) = next_message(received) {
        let at = check(&message, calls.len())?;
        let now = monotonic_now();
        let place =
            places.get_mut(at).ok_or_else(|| CallFailure::Wrong("an answer to nothing".to_owned()))?;
        calls.push(Call::new(place.asked, now - place.asked, End::Answered));
        place.asked = now;
        answered.push(at);
    }
    Ok(answered)
}

/// The first message, if it is whole.
fn next_message(received: &mut BytesMut) -> Option<Bytes> {
    let (&[_, a, b, c, d], _) = received.split_first_chunk::<PREFIX_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    if received.len() < PREFIX_BYTES.checked_add(length)? {
        return None;
    }
    received.advance(PREFIX_BYTES);
    Some(received.split_to(length).freeze())
}

/// The place of an answered request; one in [`SAMPLE`] is looked at closely.
fn check(message: &Bytes, count: usize) -> Result<usize, CallFailure> {
    let wrong = |what: &str| CallFailure::Wrong(what.to_owned());
    let mut rest = message.clone();
    if rest.is_empty() || rest.get_u8() != CORRELATION {
        return Err(wrong("an answer without a correlation id"));
    }
    let number = decode_varint(&mut rest).map_err(|error| wrong(&error.to_string()))?;
    if count.is_multiple_of(SAMPLE) {
        let answer = pb::AuthorizeStreamResponse::decode(message.clone());
        match answer.map_err(|error| wrong(&error.to_string()))?.result {
            Some(Given::Response(response)) => check_decision(&response, Decision::Allow)?,
            Some(Given::Error(status)) => return Err(CallFailure::Wrong(status.message)),
            None => return Err(wrong("an answer without a result")),
        }
    }
    usize::try_from(number).ok().and_then(|number| number.checked_sub(1)).ok_or_else(|| wrong("number 0"))
}

fn frame(number: usize, request: &pb::AuthorizeRequest) -> Bytes {
    let correlation_id = u64::try_from(number).unwrap_or_default();
    framed(&pb::AuthorizeStreamRequest { correlation_id, request: Some(request.clone()) })
}

/// Sends these at once, as a caller with much to ask does.
fn send<'a>(
    sending: &mut SendStream<Bytes>,
    frames: impl Iterator<Item = &'a Bytes>,
) -> Result<(), CallFailure> {
    let mut all = BytesMut::new();
    for frame in frames {
        all.extend_from_slice(frame);
    }
    if !all.is_empty() {
        sending.send_data(all.freeze(), false)?;
    }
    Ok(())
}

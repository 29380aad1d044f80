//! Keys that were imported from an older system: their first use is proven by bcrypt, once; then they have a digest.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::drive::Load;
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::{Order, Question};
use crate::round::measure_one;
use crate::side::{Side, heading, line};
use crate::subject::{Gateway, Subject};

const CONNECTIONS: usize = 8;
/// How long the first use of all keys may take.
const FIRST_USE_MAX: Duration = Duration::from_secs(300);

#[derive(Serialize)]
struct Result {
    keys: usize,
    first_use: Side,
    afterwards: Side,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan, subject: &Subject, gateway: &Gateway) -> std::result::Result<(), Failure> {
    let keys = plan.size(200, 16);
    let tokens = Arc::new(subject.database().await?.write_imported(gateway.key_id, keys).await?.tokens);
    let address = subject.server.address();
    // One call at a time on each connection: what waits longer is a question of the queue, not of bcrypt.
    let first = subject.target(Question::about(gateway, address, &tokens, Order::once(0, keys))?);
    let until_dry = Plan { warm_up: Duration::ZERO, measured: FIRST_USE_MAX, ..plan.clone() };
    let first_use = measure_one(&until_dry, &Load::closed(&first, CONNECTIONS, 1), subject.meter()).await?;
    let order = Order::Cycle((0..tokens.len()).collect());
    let again = subject.target(Question::about(gateway, address, &tokens, order)?);
    let again = Load::closed(&again, CONNECTIONS, plan.streams);
    let mut afterwards = Vec::new();
    for _ in 0..plan.pairs {
        afterwards.push(measure_one(plan, &again, subject.meter()).await?);
    }
    let result = Result { keys, first_use: Side::of(&[first_use])?, afterwards: Side::of(&afterwards)? };
    heading(&format!("{keys} imported keys"));
    result.first_use.say("first use");
    result.afterwards.say("afterwards");
    line("imported", &result)
}

//! Random sequences of all mutations against a model of a key store: after each step the key, its owner and
//! what its tokens may do must be what the model says.
//!
//! A failure names its seed: `KEYSTILE_MODEL_SEED=<seed> cargo test --test it model` repeats it.

mod messages;
mod service;
mod steps;
mod store;

use chrono::{DateTime, Utc};
use keystile::clock::{Clock, ManualClock};

use crate::harness::App;
use service::Service;
use steps::{Dice, Step};
use store::{Effect, Store};

/// Sequences, each on a database of its own.
const SEQUENCES: u64 = 4;
/// In all sequences together, at least 10^4.
const STEPS: usize = 10_400 / 4;
/// After so many steps everything is compared, not only what the step was about.
const SWEEP_EVERY: usize = 50;

fn first_seed() -> u64 {
    match std::env::var("KEYSTILE_MODEL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_sequence_of_mutations_leaves_what_a_plain_model_of_a_key_store_says() {
    let first = first_seed();
    let sequences = (0..SEQUENCES).map(|number| tokio::spawn(run(first.wrapping_add(number))));
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for sequence in sequences.collect::<Vec<_>>() {
        for (what, times) in sequence.await.unwrap() {
            *seen.entry(what).or_default() += times;
        }
    }
    // A run in which something never happened would prove nothing of it.
    for what in [
        "KEY_NOT_FOUND",
        "KEY_DELETED",
        "ETAG_MISMATCH",
        "RULE_IS_ANY",
        "changed",
        "unchanged",
        "purged",
        "KEY_INVALID",
        "KEY_REVOKED",
        "OWNER_DISABLED",
        "KEY_EXPIRED",
        "SCOPE_MISSING",
        "MODEL_NOT_ALLOWED",
        "CHATBOT_NOT_ALLOWED",
        "RATE_LIMITED",
        "ALLOW",
        "allowed in grace",
    ] {
        assert!(seen.get(what).is_some_and(|times| *times > 20), "{what} hardly happened: {seen:?}");
    }
}

type Seen = std::collections::BTreeMap<&'static str, usize>;

async fn run(seed: u64) -> Seen {
    let start: DateTime<Utc> = "2026-01-30T22:00:00Z".parse().unwrap();
    let clock = ManualClock::new(start);
    // Callers are not the model's: without them there are no keys but its own.
    let app = App::builder().clock(Clock::Manual(clock.clone())).flags(["--no-auth"]).start().await;
    let mut service = Service::new(&app);
    let (mut store, mut dice, mut seen) = (Store::new(start), Dice::new(seed), Seen::new());
    for number in 0..STEPS {
        let step = dice.step(&store);
        let context = format!("seed {seed}, step {number}: {step:?}");
        let outcome = match &step {
            Step::Advance(delta) => {
                clock.advance(*delta);
                store.now += *delta;
                service.purge().await;
                *seen.entry("purged").or_default() += store.purge();
                Ok(Effect::Changed)
            }
            step => service.compare(step, &mut store, &context).await,
        };
        *seen.entry(outcome.map_or_else(|refusal| refusal, Effect::name)).or_default() += 1;
        match step.key_id() {
            Some(key_id) if store.keys.contains_key(&key_id) => {
                service.check_decisions(&store, &[key_id], &mut seen, &context).await;
            }
            _ => {}
        }
        if number % SWEEP_EVERY == 0 || number + 1 == STEPS {
            service.check_all(&store, &mut seen, &context).await;
        }
    }
    app.stop().await;
    seen
}

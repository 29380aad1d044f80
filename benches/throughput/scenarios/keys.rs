//! Many keys in the database, and many in use, against few: what a decision costs must not depend on them. And what a
//! key in memory takes.

use std::sync::Arc;

use serde::Serialize;

use crate::client::{Target, try_out};
use crate::drive::Load;
use crate::failure::Failure;
use crate::metrics_page::value;
use crate::options::Plan;
use crate::question::{Order, Question};
use crate::random::Random;
use crate::round::{in_turns, measure_one, run_dry};
use crate::side::{Side, heading, line, rps_ratio, say_ratio};
use crate::statistics::{Spread, float, rounded};
use crate::subject::{Gateway, Subject};
use crate::tokens::Tokens;
use crate::zipf::Zipf;

const CONNECTIONS: usize = 8;
const FEW: usize = 1_000;
/// Zipf's exponent.
const EXPONENT: f64 = 1.0;
/// Draws that traffic goes through over and over.
const DRAWS: usize = 1 << 20;
const QUICK_DRAWS: usize = 1 << 14;

#[derive(Serialize)]
struct Result {
    few_keys: usize,
    many_keys: usize,
    warm_keys: usize,
    few: Side,
    many: Side,
    ratio: Spread,
    memory: Memory,
}

/// What the warm keys take. Where no key is kept in memory, nothing is said of a key.
#[derive(Serialize)]
struct Memory {
    cached_keys: f64,
    cache_bytes_per_key: Option<f64>,
    resident_bytes_per_key: Option<f64>,
    resident_bytes_before: f64,
    resident_bytes: f64,
}

/// A Keystile whose keys have been asked about.
struct Warm {
    subject: Subject,
    load: Load,
    memory: Memory,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let (many_keys, warm_keys) = (plan.size(1_000_000, 20_000), plan.size(100_000, 2_000));
    let few = warm(plan, FEW, FEW).await?;
    let many = warm(plan, many_keys, warm_keys).await?;
    let sides = [(&few.load, few.subject.meter()), (&many.load, many.subject.meter())];
    let [of_few, of_many] = in_turns(plan, sides).await?;
    let result = Result {
        few_keys: FEW,
        many_keys,
        warm_keys,
        few: Side::of(&of_few)?,
        many: Side::of(&of_many)?,
        ratio: rps_ratio(&of_many, &of_few)?,
        memory: many.memory,
    };
    heading(&format!("{many_keys} keys, {warm_keys} of them warm, against {FEW}"));
    result.few.say("few");
    result.many.say("many");
    say_ratio("decisions/s, many by few", &result.ratio);
    result.memory.say();
    line("keys", &result)
}

/// A Keystile with so many keys, of which the first have been asked about once.
async fn warm(plan: &Plan, keys: usize, warm: usize) -> std::result::Result<Warm, Failure> {
    let subject = Subject::start().await?;
    let gateway = subject.gateway().await?;
    let written = subject.database().await?.write(gateway.key_id, keys).await?;
    eprintln!("throughput: {keys} keys are written");
    let tokens = Arc::new(written.tokens);
    // What serving takes without these keys.
    let one = subject.target(Question::to_keystile(&gateway, subject.server.address())?);
    try_out(&one).await?;
    measure_one(plan, &Load::closed(&one, CONNECTIONS, plan.streams), subject.meter()).await?;
    let before = resident(&subject).await?;
    let target = once(&subject, &gateway, &tokens, 0, warm)?;
    run_dry(plan, &Load::closed(&target, CONNECTIONS, plan.streams)).await?;
    let memory = Memory::read(&subject, before, warm).await?;
    let target = zipf(plan, &subject, &gateway, &tokens, warm)?;
    try_out(&target).await?;
    let load = Load::closed(&target, CONNECTIONS, plan.streams);
    Ok(Warm { subject, load, memory })
}

/// Asks about each key from `first` to before `end` once.
///
/// # Errors
/// The tokens do not fit the question.
pub fn once(
    subject: &Subject,
    gateway: &Gateway,
    tokens: &Arc<Tokens>,
    first: usize,
    end: usize,
) -> std::result::Result<Target, Failure> {
    let order = Order::once(first, end);
    Ok(subject.target(Question::about(gateway, subject.server.address(), tokens, order)?))
}

/// Asks about the first so many keys, by Zipf's law.
///
/// # Errors
/// The tokens do not fit the question.
pub fn zipf(
    plan: &Plan,
    subject: &Subject,
    gateway: &Gateway,
    tokens: &Arc<Tokens>,
    keys: usize,
) -> std::result::Result<Target, Failure> {
    let law = Zipf::new(u32::try_from(keys).unwrap_or(u32::MAX), EXPONENT);
    let draws = law.sequence(plan.size(DRAWS, QUICK_DRAWS), &mut Random::new(1));
    let order = Order::Cycle(draws.into());
    Ok(subject.target(Question::about(gateway, subject.server.address(), tokens, order)?))
}

async fn resident(subject: &Subject) -> std::result::Result<f64, Failure> {
    let page = subject.server.metrics().await?;
    value(&page, "process_resident_memory_bytes").ok_or(Failure::Unusable("no resident memory is told"))
}

impl Memory {
    async fn read(subject: &Subject, before: f64, warmed: usize) -> std::result::Result<Self, Failure> {
        let page = subject.server.metrics().await?;
        let cached_keys = value(&page, "keystile_cache_keys").unwrap_or_default();
        let bytes = value(&page, "keystile_cache_bytes").unwrap_or_default();
        let resident_bytes = resident(subject).await?;
        let per_key = |bytes: f64, keys: f64| (cached_keys > 0.0).then(|| rounded(bytes / keys));
        Ok(Self {
            cached_keys,
            cache_bytes_per_key: per_key(bytes, cached_keys),
            resident_bytes_per_key: per_key(resident_bytes - before, float(warmed)),
            resident_bytes_before: before,
            resident_bytes,
        })
    }

    fn say(&self) {
        let of_key = |bytes: Option<f64>| bytes.map_or("–".to_owned(), |bytes| format!("{bytes:.0}"));
        eprintln!(
            "  {:.0} keys in memory: {} bytes a key by its own account, {} by the growth of resident memory, which is \
             {:.1} MiB",
            self.cached_keys,
            of_key(self.cache_bytes_per_key),
            of_key(self.resident_bytes_per_key),
            self.resident_bytes / f64::from(1 << 20)
        );
    }
}

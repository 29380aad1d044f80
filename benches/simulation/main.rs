//! What do rate limits cost, and give, with a hundred replicas and a hundred thousand keys?
//!
//! A simulation: seeded, in virtual time, the same numbers in every run. The rule and what replicas hold are the
//! service's own code (`keystile::limits`); around it are models: traffic ([`traffic`]), one PostgreSQL ([`store`]), and of
//! each replica the queue, the two lanes and the groups of `src/leases` ([`replica`], [`second`], [`group`]). Every decision is
//! compared with that of one central limiter that knows all ([`log`]).
//!
//! - **It checks**: if any key is ever admitted more often than its limit in any window, the exit code is 1.
//! - `cargo bench --bench simulation` runs the cells of docs/scaling.md, a minute or two each; `-- --help` lists what can
//!   be chosen. Numbers for people go to stderr; each cell is also one line of JSON on stdout.
//!
//! What does not belong here: measurements (those are in `benches/throughput`), and owners, tokens, faults, clocks that
//! step: docs/scaling.md says what was left out.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's answer is what it prints")]

mod group;
mod log;
mod options;
mod outcome;
#[allow(dead_code, reason = "the throughput harness uses more of it")]
#[path = "../throughput/random.rs"]
mod random;
mod replica;
mod second;
mod store;
mod traffic;
mod world;
#[allow(dead_code, reason = "the throughput harness uses more of it")]
#[path = "../throughput/zipf.rs"]
mod zipf;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use options::Options;
use world::World;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        eprintln!("simulation: nothing simulated; run it with `cargo bench --bench simulation`");
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", outcome::HEADING);
    let mut is_kept = true;
    for plan in options.plans() {
        let report = World::new(&plan).run().report(&plan);
        eprintln!("{}", report.row());
        match report.json() {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("simulation: {error}"),
        }
        is_kept &= report.is_kept();
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

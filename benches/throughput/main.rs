//! How fast is Keystile, beside a gRPC server that does nothing, and under what befalls it?
//!
//! One client drives servers in turns (ABAB…): a bare tonic echo server, say, and Keystile on its embedded
//! database, with messages and metadata of the same size. Every server is a process of its own; the echo
//! servers are this program again, in another role. What is measured is in [`scenarios`]; what the numbers of the
//! comparison mean, in [`report`]; those of the others, in [`side`] and docs/performance.md.
//!
//! - Numbers for people go to stderr; each result is also one line of JSON on stdout.
//! - Every answer is checked. One wrong answer ends the run with exit code 1: there is no ratio of errors.
//! - Every server is ended with the run, by its process id, also when the run fails or is interrupted; should
//!   this program be killed, the kernel ends them.
//! - Loopback only.
//!
//! `cargo bench --bench throughput -- --help` lists the options. It reads CPU times from `/proc`: Linux only.
//!
//! What does not belong here: the cost of parts (that is `benches/core.rs`), and any judgement: goals are in
//! docs/performance.md.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's answer is what it prints")]

mod admin;
mod admissions;
mod call;
mod cells;
mod client;
mod closed_loop;
mod cpu;
mod database;
mod drive;
mod echo;
mod failure;
mod message;
mod metrics_page;
mod open_loop;
mod options;
mod proc_stat;
mod question;
mod random;
mod replicas;
mod report;
mod round;
mod scale;
mod scenarios;
mod schedule;
mod server;
mod side;
mod sql;
mod statistics;
mod stream_loop;
mod subject;
mod svg;
mod template;
mod ticks;
mod tokens;
mod zipf;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use failure::Failure;
use options::{Options, Plan, Role};

/// The program's own: the echoes, which are this file in other roles, must not lose by theirs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long threads of the client may take to end once nobody waits for them.
const CLIENT_END_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.role {
        Some(role) => play(role, &options),
        None if options.bench => {
            server::play_keystile_by(options.server_binary.as_deref()).and_then(|()| measure(&options.plan()))
        }
        None => {
            eprintln!("throughput: nothing measured; run it with `cargo bench --bench throughput`");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("throughput: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Is one of the servers, until the process that measures ends it.
fn play(role: Role, options: &Options) -> Result<(), Failure> {
    server::end_with_parent()?;
    match role {
        Role::Echo(kind) => echo::serve(kind, options.answer_bytes, options.filler_bytes),
        Role::Keystile => Err(subject::become_keystile(options.server_binary.as_deref())),
    }
}

fn measure(plan: &Plan) -> Result<(), Failure> {
    // One thread: it only waits, and what it starts is tied to its life.
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(Failure::io("start a runtime"))?;
    let outcome = runtime.block_on(until_interrupted(plan));
    stop(runtime);
    outcome
}

async fn until_interrupted(plan: &Plan) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::io("wait for SIGINT"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::io("wait for SIGTERM"))?;
    tokio::select! {
        outcome = scenarios::run(plan) => outcome,
        _ = interrupt.recv() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
    }
}

fn stop(runtime: Runtime) {
    runtime.shutdown_timeout(CLIENT_END_MAX);
}

//! The `keystile` program: parse, dispatch, exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Takes a tenth off a decision that the C library's costs (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    keystile::cli::run(std::env::args_os())
}

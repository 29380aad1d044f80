//! The `keystile` program: parse, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    keystile::cli::run(std::env::args_os())
}

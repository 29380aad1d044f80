//! The `keystile` program: parse, dispatch, exit code.
fn main() {}

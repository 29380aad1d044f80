//! Asks before what is hard to undo.
//!
//! Only a person can answer: off a terminal (a script, a pipe, a pipeline of CI) the command goes on as it was
//! given. A script that stopped to ask would hang or fail at the worst moment, and whoever wrote it has decided
//! already.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;

use super::output::Output;

/// Whether to ask.
#[derive(Args, Clone, Copy, Debug)]
pub struct ConfirmArgs {
    /// Do not ask, on a terminal either
    #[arg(long, short)]
    pub yes: bool,
}

impl ConfirmArgs {
    /// Whether there is somebody to ask, who has not answered already.
    #[must_use]
    pub fn would_ask(self) -> bool {
        !self.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks `question`, and returns whether to go on.
    ///
    /// # Errors
    /// What reading the terminal fails with.
    pub fn agreed(self, question: &str, output: &mut Output) -> io::Result<bool> {
        if !self.would_ask() {
            return Ok(true);
        }
        ask(question, &mut io::stdin().lock(), output)
    }
}

/// Asks `question`, whoever is there, and returns whether to go on; says so where not.
///
/// # Errors
/// What reading `from` fails with.
pub fn ask(question: &str, from: &mut impl BufRead, output: &mut Output) -> io::Result<bool> {
    output.prompt(&format!("{question} [y/N] "));
    let mut line = String::new();
    from.read_line(&mut line)?;
    let agreed = ["y", "yes"].contains(&line.trim().to_lowercase().as_str());
    if !agreed {
        output.note("Nothing was changed.");
    }
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, Written};

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, agreed) in
            [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("n\n", false), ("yess\n", false)]
        {
            let err = Written::default();
            let mut output = Output::to(Format::Table, Written::default(), err.clone());
            assert_eq!(
                ask("Delete key 17?", &mut answer.as_bytes(), &mut output).unwrap(),
                agreed,
                "{answer:?}"
            );
            assert!(err.text().starts_with("Delete key 17? [y/N] "));
            assert_eq!(err.text().ends_with("Nothing was changed.\n"), !agreed);
        }
    }
}

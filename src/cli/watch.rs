//! `--watch`: asks again and again, until Ctrl-C or until nobody reads any more.
//!
//! - On a terminal an answer takes the place of the one before; else it is a new block below it.
//! - A first question that fails is a failure of the command. One that fails later is told, and asked again: a
//!   server that restarts is what one watches for.
//!
//! What does not belong here: streams. Each question is a call of its own.

use std::io;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time;

use super::output::{Format, Output};
use super::time::parse_duration;

/// Whether to ask again and again.
#[derive(Args, Clone, Copy, Debug)]
pub struct WatchArgs {
    /// Ask again and again, until Ctrl-C
    #[arg(long, help_heading = "Output")]
    pub watch: bool,
    #[command(flatten)]
    pub every: EveryArgs,
}

/// How often to ask.
#[derive(Args, Clone, Copy, Debug)]
pub struct EveryArgs {
    /// How long to wait before asking again: 500ms, 5s
    #[arg(long, value_name = "LENGTH", default_value = "2s", value_parser = parse_duration,
          help_heading = "Output")]
    pub watch_every: Duration,
}

/// One answer, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// For stdout.
    pub text: String,
    /// For stderr; empty: nothing.
    pub note: String,
}

/// Ctrl-C, from now on.
#[derive(Debug)]
pub struct Interrupt(Signal);

impl Interrupt {
    /// Takes Ctrl-C over: it no longer ends the program by itself.
    ///
    /// # Errors
    /// Where the system has no more signals to give.
    pub fn listen() -> io::Result<Self> {
        signal(SignalKind::interrupt()).map(Self)
    }

    /// What `work` comes to; `None` where Ctrl-C came first.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            _ = self.0.recv() => None,
        }
    }
}

impl WatchArgs {
    /// Shows what `ask` answers: once, or again and again.
    ///
    /// # Errors
    /// What the first question fails with, and what writing fails with.
    pub async fn show(
        &self,
        output: &mut Output,
        ask: impl AsyncFnMut() -> anyhow::Result<Shown>,
    ) -> anyhow::Result<()> {
        if self.watch {
            return self.every.repeat(output, ask).await;
        }
        let mut ask = ask;
        let Shown { text, note } = ask().await?;
        output.show(&text)?;
        if !note.is_empty() {
            output.note(&note);
        }
        Ok(())
    }
}

impl EveryArgs {
    async fn repeat(
        self,
        output: &mut Output,
        mut ask: impl AsyncFnMut() -> anyhow::Result<Shown>,
    ) -> anyhow::Result<()> {
        let mut interrupt = Interrupt::listen()?;
        let mut is_first = true;
        while !output.is_closed() {
            let Some(answer) = interrupt.or(ask()).await else { return Ok(()) };
            match answer {
                Ok(shown) => show_again(output, &shown, is_first)?,
                Err(error) if is_first => return Err(error),
                Err(error) => output.note(&super::worded(&error)),
            }
            is_first = false;
            if interrupt.or(time::sleep(self.watch_every)).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn show_again(output: &mut Output, shown: &Shown, is_first: bool) -> io::Result<()> {
    // On a terminal the note belongs to what is replaced; in a pipe it would be told again and again.
    let both = match (output.look().width, output.format()) {
        (Some(_), Format::Table) if !shown.note.is_empty() => format!("{}\n{}", shown.text, shown.note),
        _ => shown.text.clone(),
    };
    output.show_again(&both, is_first)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::cli::output::Written;

    fn shown(text: &str) -> Shown {
        Shown { text: text.into(), note: "noted".into() }
    }

    async fn watched(args: WatchArgs, answers: Vec<anyhow::Result<Shown>>) -> (bool, String, String) {
        let (out, err) = (Written::default(), Written::default());
        let mut output = Output::to(Format::Table, out.clone(), err.clone());
        let mut answers = answers.into_iter();
        let asked_all = Notify::new();
        let watching = args.show(&mut output, async || match answers.next() {
            Some(answer) => answer,
            None => {
                asked_all.notify_one();
                std::future::pending().await
            }
        });
        let ended = tokio::select! {
            ended = watching => ended.is_ok(),
            () = asked_all.notified() => false,
        };
        (ended, out.text(), err.text())
    }

    fn every(watch: bool) -> WatchArgs {
        WatchArgs { watch, every: EveryArgs { watch_every: Duration::from_millis(1) } }
    }

    #[tokio::test]
    async fn without_watch_it_is_asked_once() {
        let (done, out, err) = watched(every(false), vec![Ok(shown("a")), Ok(shown("b"))]).await;
        assert!(done);
        assert_eq!((out.as_str(), err.as_str()), ("a\n", "noted\n"));
    }

    #[tokio::test]
    async fn a_question_that_fails_later_is_told_and_asked_again() {
        let answers = vec![Ok(shown("a")), Err(anyhow::anyhow!("gone")), Ok(shown("b"))];
        let (_, out, err) = watched(every(true), answers).await;
        assert_eq!((out.as_str(), err.as_str()), ("a\n\nb\n", "gone\n"));
    }

    #[tokio::test]
    async fn a_first_question_that_fails_ends_it() {
        let (out, err) = (Written::default(), Written::default());
        let mut output = Output::to(Format::Table, out.clone(), err.clone());
        let ended = every(true).show(&mut output, async || Err(anyhow::anyhow!("refused"))).await;
        assert_eq!(ended.unwrap_err().to_string(), "refused");
        assert_eq!((out.text(), err.text()), (String::new(), String::new()));
    }
}

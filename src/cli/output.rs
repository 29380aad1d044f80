//! The one place that writes to stdout and stderr.
//!
//! - What was asked for goes to stdout; notes and errors go to stderr, so that stdout can be piped on.
//! - A reader that goes away (`| head`) ends the output, not the program: nothing panics, and the exit code
//!   stays what it would have been.
//! - Colour only on a terminal, and never where `NO_COLOR` is set or `TERM` is `dumb`.
//! - Tables fit the terminal; what is piped on is never cut.
//! - Bars are of blocks on a terminal whose locale is UTF-8, else of ASCII.
//! - What came over the network is shown without its control characters ([`plain`]): it must not steer the
//!   terminal.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use rustix::termios::tcgetwinsize;

use crate::config::environment::value_of;

/// The variable that turns colour off: <https://no-color.org>.
pub const NO_COLOR: &str = "NO_COLOR";

/// How results are written.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Table for people, or json for programs
    ///
    /// JSON has the names of the fields in the contract (key_id, expire_time), integers as numbers, enums by
    /// name, times as RFC 3339. Lists, maps and plain fields are always there; a message or optional field
    /// that is not set (expire_time, rate_limits) is left out.
    #[arg(long, short = 'o', value_name = "FORMAT", value_enum, default_value_t = Format::Table, global = true)]
    pub output: Format,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What a piece of text says, as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It works, it is allowed.
    Good,
    /// It is stopped, it is denied.
    Bad,
    /// It has ended by itself.
    Over,
    /// It is gone.
    Gone,
}

impl Tone {
    /// `text` in this tone's colour.
    #[must_use]
    pub fn paint(self, text: &str) -> String {
        let style = match self {
            Self::Good => AnsiColor::Green.on_default().bold(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Over => AnsiColor::Yellow.on_default(),
            Self::Gone => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// What stdout can show. The default is plain text of any width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether there is colour.
    pub colour: bool,
    /// Columns of the terminal; `None` where stdout is none.
    pub width: Option<u16>,
    /// Whether there are characters of blocks, for bars; else all but content is ASCII.
    pub blocks: bool,
}

/// Wipes a terminal and starts at its top.
const WIPE: &str = "\u{1b}[H\u{1b}[2J";

/// The two streams of this process.
pub struct Output {
    format: Format,
    look: Look,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    closed: bool,
}

impl Output {
    /// Of this process.
    #[must_use]
    pub fn of_process(format: Format) -> Self {
        let dumb = value_of("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal();
        let colour = is_terminal && value_of(NO_COLOR).is_none() && !dumb;
        let size = if is_terminal { tcgetwinsize(io::stdout()).ok() } else { None };
        let width = size.map(|size| size.ws_col).filter(|columns| *columns > 0);
        let look = Look { colour, width, blocks: is_terminal && !dumb && is_utf8(locale().as_deref()) };
        Self { format, look, out: Box::new(io::stdout()), err: Box::new(io::stderr()), closed: false }
    }

    /// What stdout can show.
    #[must_use]
    pub fn look(&self) -> Look {
        self.look
    }

    /// How results are written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes a result to stdout, and a newline where it has none.
    ///
    /// # Errors
    /// What writing fails with, unless the reader has gone away: see [`Output::is_closed`].
    pub fn show(&mut self, text: &str) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = write!(self.out, "{text}{newline}").and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => written,
        }
    }

    /// Writes a result to stdout as indented JSON.
    ///
    /// # Errors
    /// As [`Output::show`].
    pub fn show_json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        self.show(&format!("{value:#}"))
    }

    /// Shows a result again that has been shown before: in its place on a terminal, else below it.
    ///
    /// # Errors
    /// As [`Output::show`].
    pub fn show_again(&mut self, text: &str, is_first: bool) -> io::Result<()> {
        let table = self.format == Format::Table;
        match (self.look.width, table && !is_first) {
            (Some(_), _) if table => self.show(&format!("{WIPE}{text}\n")),
            (_, true) => self.show(&format!("\n{text}\n")),
            _ => self.show(text),
        }
    }

    /// Whether the reader of stdout has gone away, so that it missed what was shown.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Tells the person something beside the result. A stderr that cannot be written to is no reason to fail.
    pub fn note(&mut self, text: &str) {
        let _unread = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Asks for a line of input: `text` without a newline.
    pub fn prompt(&mut self, text: &str) {
        let _unread = write!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// `text` in a tone, where there is colour.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if self.look.colour { tone.paint(text) } else { text.to_owned() }
    }
}

/// The locale that says which characters there are; the first of POSIX' variables that is set counts.
fn locale() -> Option<OsString> {
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(value_of)
}

/// Whether a locale, `de_DE.UTF-8`, has UTF-8. One that is not set is `C`, which has ASCII.
fn is_utf8(locale: Option<&OsStr>) -> bool {
    let locale = locale.map(|locale| locale.to_string_lossy().to_lowercase()).unwrap_or_default();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// `text` with each control character, and each that turns the direction of writing, replaced by `\u{fffd}`.
#[must_use]
pub fn plain(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
pub(super) use self::tests::Written;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written, shared with the writer.
    #[derive(Clone, Default)]
    pub struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output {
        /// Of two writers, without colour.
        pub fn to(format: Format, out: impl Write + 'static, err: impl Write + 'static) -> Self {
            let look = Look::default();
            Self { format, look, out: Box::new(out), err: Box::new(err), closed: false }
        }
    }

    fn to(out: impl Write + 'static, err: impl Write + 'static) -> Output {
        Output::to(Format::Table, out, err)
    }

    #[test]
    fn results_and_notes_go_apart_each_with_a_newline() {
        let (out, err) = (Written::default(), Written::default());
        let mut output = to(out.clone(), err.clone());
        output.show("a").unwrap();
        output.show("b\n").unwrap();
        output.show("").unwrap();
        output.show_json(&serde_json::json!({"key_id": 1})).unwrap();
        output.note("c");
        assert_eq!(out.text(), "a\nb\n{\n  \"key_id\": 1\n}\n");
        assert_eq!(err.text(), "c\n");
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_output_and_nothing_else() {
        let mut output = to(Failing(ErrorKind::BrokenPipe), Failing(ErrorKind::BrokenPipe));
        assert!(!output.is_closed());
        output.show("a").unwrap();
        output.show("b").unwrap();
        output.note("c");
        assert!(output.is_closed());
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut output = to(Failing(ErrorKind::StorageFull), Written::default());
        assert_eq!(output.show("a").unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(!output.is_closed());
    }

    #[test]
    fn colour_is_only_put_where_it_is_wanted() {
        let mut output = to(Written::default(), Written::default());
        assert_eq!(output.paint(Tone::Good, "ALLOW"), "ALLOW");
        output.look.colour = true;
        assert_eq!(output.paint(Tone::Good, "ALLOW"), "\u{1b}[1m\u{1b}[32mALLOW\u{1b}[0m");
        assert_eq!(output.paint(Tone::Bad, "DENY"), "\u{1b}[1m\u{1b}[31mDENY\u{1b}[0m");
    }

    #[test]
    fn what_is_shown_again_replaces_itself_on_a_terminal_only() {
        let shown = |format, width| {
            let out = Written::default();
            let mut output = Output::to(format, out.clone(), Written::default());
            output.look.width = width;
            output.show_again("a", true).unwrap();
            output.show_again("b", false).unwrap();
            out.text()
        };
        assert_eq!(shown(Format::Table, None), "a\n\nb\n");
        assert_eq!(shown(Format::Table, Some(80)), format!("{WIPE}a\n{WIPE}b\n"));
        assert_eq!(shown(Format::Json, Some(80)), "a\nb\n");
    }

    #[test]
    fn a_locale_says_whether_there_is_utf8() {
        for locale in ["en_GB.UTF-8", "C.utf8", "de_DE.utf-8@euro"] {
            assert!(is_utf8(Some(OsStr::new(locale))), "{locale}");
        }
        for locale in ["C", "POSIX", "de_DE.ISO-8859-1", "de_DE"] {
            assert!(!is_utf8(Some(OsStr::new(locale))), "{locale}");
        }
        assert!(!is_utf8(None));
    }

    #[test]
    fn what_could_steer_the_terminal_is_taken_out() {
        assert_eq!(plain("a\u{1b}[31mb\nc\u{202e}d é"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d é");
    }
}

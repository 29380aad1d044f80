//! What was found, for people and for programs.

use std::fmt::Write;
use std::io;

use serde_json::{Value as Json, json};

use crate::cli::output::{Format, Output, Tone, plain};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All well.
    Ok,
    /// It works, and something should be done.
    Warn,
    /// It does not work, or not safely.
    Fail,
    /// It could not be looked at, or there was nothing to look at.
    Skip,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check, in a word or two.
    pub check: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was seen.
    pub what: String,
    /// What to do; empty where nothing is.
    pub advice: String,
}

/// All findings, in the order of the checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<Finding>);

impl Level {
    const ALL: [Self; 4] = [Self::Ok, Self::Warn, Self::Fail, Self::Skip];

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Ok => "✓",
            Self::Warn => "!",
            Self::Fail => "✗",
            Self::Skip => "-",
        }
    }
}

impl Report {
    /// Notes a finding. What is found of servers may hold anything: it is shown without what steers a terminal.
    pub fn add(&mut self, check: &'static str, level: Level, what: impl AsRef<str>, advice: impl AsRef<str>) {
        let (what, advice) = (plain(what.as_ref()), plain(advice.as_ref()));
        self.0.push(Finding { check, level, what, advice });
    }

    /// All well.
    pub fn ok(&mut self, check: &'static str, what: impl AsRef<str>) {
        self.add(check, Level::Ok, what, "");
    }

    /// Not looked at.
    pub fn skip(&mut self, check: &'static str, what: impl AsRef<str>) {
        self.add(check, Level::Skip, what, "");
    }

    /// Does not work.
    pub fn fail(&mut self, check: &'static str, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.add(check, Level::Fail, what, advice);
    }

    /// Should be mended.
    pub fn warn(&mut self, check: &'static str, what: impl AsRef<str>, advice: impl AsRef<str>) {
        self.add(check, Level::Warn, what, advice);
    }

    /// How many checks came out so.
    pub fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    /// The findings.
    #[cfg(test)]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// Writes it. `signs`: with signs of Unicode rather than words.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn show(&self, output: &mut Output, signs: bool) -> io::Result<()> {
        match output.format() {
            Format::Json => output.show_json(&self.to_json()),
            Format::Table => output.show(&self.text(output, signs)),
        }
    }

    fn text(&self, output: &Output, signs: bool) -> String {
        let mark_width = if signs { 1 } else { 4 };
        let check_width = self.0.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { check, level, what, advice } in &self.0 {
            let mark = format!("{:mark_width$}", if signs { level.sign() } else { level.name() });
            let mark = match level {
                Level::Ok => output.paint(Tone::Good, &mark),
                Level::Warn => output.paint(Tone::Over, &mark),
                Level::Fail => output.paint(Tone::Bad, &mark),
                Level::Skip => output.paint(Tone::Gone, &mark),
            };
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{mark}  {check:check_width$}  {what}");
            if !advice.is_empty() {
                let _written = writeln!(text, "{:1$}{advice}", "", mark_width + check_width + 4);
            }
        }
        let counts = Level::ALL.map(|level| format!("{} {}", self.count(level), level.name()));
        text.push_str(&counts.join(", "));
        text
    }

    fn to_json(&self) -> Json {
        let each = self.0.iter().map(|Finding { check, level, what, advice }| {
            json!({ "check": check, "level": level.name(), "what": what, "advice": advice })
        });
        let counts = Level::ALL.map(|level| (level.name().to_owned(), json!(self.count(level))));
        json!({ "checks": each.collect::<Vec<_>>(), "summary": serde_json::Map::from_iter(counts) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Written;

    fn shown(format: Format, signs: bool) -> String {
        let out = Written::default();
        let mut report = Report::default();
        report.ok("clock", "in step");
        report.fail("role", "no \u{1b}[2J rights", "Grant some.");
        report.show(&mut Output::to(format, out.clone(), Written::default()), signs).unwrap();
        out.text()
    }

    #[test]
    fn people_see_what_to_do_below_what_was_found() {
        assert_eq!(
            shown(Format::Table, false),
            "ok    clock  in step\nfail  role   no \u{fffd}[2J rights\n             Grant some.\n1 ok, 0 warn, 1 fail, 0 skip\n"
        );
        assert!(shown(Format::Table, true).starts_with("✓  clock  in step\n✗  role"));
    }

    #[test]
    fn programs_get_every_finding() {
        let json: Json = serde_json::from_str(&shown(Format::Json, true)).unwrap();
        assert_eq!(json["summary"], json!({ "ok": 1, "warn": 0, "fail": 1, "skip": 0 }));
        assert_eq!(json["checks"][1]["advice"], "Grant some.");
    }
}

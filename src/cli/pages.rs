//! Lists that come by pages: how many things are asked for, and which page is next.

use clap::Args;

use super::watch::Shown;

const LIMIT: u32 = 1000;
/// The most that a server gives at once.
const PAGE_SIZE: usize = 1000;

/// How many things of a list are asked for.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitArgs {
    /// Most things to list
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Output")]
    limit: u32,
    /// List all that there are; they are held in memory at once
    #[arg(long, conflicts_with = "limit", help_heading = "Output")]
    all: bool,
}

/// The way through a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    missing: usize,
    started: bool,
    page_token: String,
}

impl LimitArgs {
    /// The way through a list from its beginning.
    #[must_use]
    pub fn pages(self) -> Pages {
        let limit = if self.all { usize::MAX } else { usize::try_from(self.limit).unwrap_or(usize::MAX) };
        Pages::new(limit)
    }
}

impl Pages {
    fn new(limit: usize) -> Self {
        Self { missing: limit, started: false, page_token: String::new() }
    }

    /// Size and token of the page to ask for; `None` when there are enough, or no more.
    #[must_use]
    pub fn next_page(&self) -> Option<(i32, String)> {
        let more = !self.started || !self.page_token.is_empty();
        let page_size = i32::try_from(self.missing.min(PAGE_SIZE)).ok().filter(|size| *size > 0 && more)?;
        Some((page_size, self.page_token.clone()))
    }

    /// Takes note of a page of `count` things, and of the token for the next.
    pub fn turn(&mut self, count: usize, next_page_token: &str) {
        self.started = true;
        self.missing = self.missing.saturating_sub(count);
        next_page_token.clone_into(&mut self.page_token);
    }

    /// What is shown of a list of `count` `things`, and said about its end.
    #[must_use]
    pub fn shown(&self, text: String, count: usize, things: &str) -> Shown {
        let note = match count {
            0 => format!("No {things} fit."),
            _ if self.page_token.is_empty() => String::new(),
            _ => format!("These are the first {count}; there are more: --limit, or --all."),
        };
        Shown { text, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_until_there_are_no_more() {
        let mut pages = Pages::new(5000);
        assert_eq!(pages.next_page(), Some((1000, String::new())));
        pages.turn(1000, "a");
        assert_eq!(pages.next_page(), Some((1000, "a".into())));
        // A page may be empty and not the last.
        pages.turn(0, "b");
        assert_eq!(pages.next_page(), Some((1000, "b".into())));
        pages.turn(3, "");
        assert_eq!(pages.next_page(), None);
    }

    #[test]
    fn no_more_than_the_limit_is_asked_for() {
        let mut pages = Pages::new(1001);
        pages.turn(1000, "a");
        assert_eq!(pages.next_page(), Some((1, "a".into())));
        pages.turn(1, "b");
        assert_eq!(pages.next_page(), None);
        let shown = pages.shown("text".into(), 1001, "keys");
        assert_eq!(shown.note, "These are the first 1001; there are more: --limit, or --all.");
    }

    #[test]
    fn an_empty_service_is_asked_once() {
        let mut pages = Pages::new(10);
        pages.turn(0, "");
        assert_eq!(pages.next_page(), None);
        assert_eq!(pages.shown(String::new(), 0, "keys").note, "No keys fit.");
    }
}

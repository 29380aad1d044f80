//! Rules for one file at a time. Each returns what is wrong, in words.

use crate::code::{self, Function};
use crate::tree::SourceFile;

/// Most lines of a file.
const FILE_LINES_MAX: usize = 400;
/// Most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// The one reader of clocks.
const CLOCK: &str = "src/clock.rs";
/// Functions that may pause between two looks at a condition.
const WAITING: [&str; 1] = ["eventually"];

/// The wall clock and the monotonic clock are read through `keystile::clock`.
pub fn clock_reads(file: &SourceFile) -> Vec<String> {
    if file.path == CLOCK {
        return Vec::new();
    }
    let reads = ["Utc::now", "Local::now", "SystemTime::now", "Instant::now"];
    let found = reads.into_iter().filter(|read| file.code.contains(read));
    found.map(|read| format!("{read}: take a Clock")).collect()
}

/// Leases count by a clock that runs on while the machine sleeps. On Linux the monotonic clock does not.
pub fn lease_clock(file: &SourceFile) -> Vec<String> {
    let boot_time = file.code.split_once("impl BootTime").and_then(|(_, rest)| rest.split_once("\n}"));
    let Some((boot_time, _)) = boot_time else { return vec!["there is no BootTime".to_owned()] };
    let read = "#[cfg(target_os = \"linux\")]\n        let id = rustix::time::ClockId::Boottime;";
    let is_read = file.text.contains(read) && boot_time.contains("clock_gettime(id)");
    let is_alone = boot_time.matches("ClockId::").count() == 2 && !boot_time.contains("monotonic_now()");
    if is_read && is_alone { Vec::new() } else { vec!["BootTime reads another clock".to_owned()] }
}

/// `foo.rs` beside `foo/`, so that every open file has a name of its own.
pub fn mod_rs(file: &SourceFile) -> Vec<String> {
    let is_mod_rs = file.path.rsplit('/').next() == Some("mod.rs");
    is_mod_rs.then(|| "name it after the module".to_owned()).into_iter().collect()
}

/// Short enough to be read at one go.
pub fn too_long(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{lines} lines; at most {FILE_LINES_MAX}"));
    }
    for Function { name, first, last } in code::functions(&file.code) {
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            found.push(format!("fn {name} has {lines} lines; at most {FUNCTION_LINES_MAX}"));
        }
    }
    found
}

/// A module says first what it is for.
pub fn missing_introduction(file: &SourceFile) -> Vec<String> {
    let first = file.text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
    if first.starts_with("//! ") { Vec::new() } else { vec!["starts without `//!`".to_owned()] }
}

/// `#[allow]` and `#[expect]` say why.
pub fn exceptions_without_reason(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in ["[allow(", "[expect("] {
        for (at, _) in file.code.match_indices(attribute) {
            let rest = &file.code[at..];
            let end = rest.find(")]").unwrap_or(rest.len());
            if !rest[..end].contains("reason =") {
                found.push(format!("line {}: {attribute}…)] without a reason", line_of(&file.code, at)));
            }
        }
    }
    found
}

/// Nothing stands in for code, and every test runs.
pub fn unfinished_code(file: &SourceFile) -> Vec<String> {
    let found = ["todo!", "unimplemented!", "#[ignore"].into_iter().filter(|word| file.code.contains(word));
    found.map(|word| format!("{word} is left")).collect()
}

/// Words that mark what somebody meant to come back to. Put together here, so that this file has none.
pub fn notes_to_self(file: &SourceFile) -> Vec<String> {
    let notes = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let found = notes.into_iter().filter(|note| {
        let is_part = |c: Option<char>| c.is_some_and(code::is_word);
        file.text.match_indices(note.as_str()).any(|(at, _)| {
            !is_part(file.text[..at].chars().next_back())
                && !is_part(file.text[at + note.len()..].chars().next())
        })
    });
    found.map(|note| format!("{note} is left")).collect()
}

/// A sleep is either too short on a slow machine or too long on every other: wait for the condition. The function
/// that does so may pause between two looks.
pub fn sleeps_in_tests(file: &SourceFile) -> Vec<String> {
    let tests_from = if file.path.starts_with("tests/") || is_test_module(&file.path) {
        0
    } else {
        let before = file.code.split_once("#[cfg(test)]").map(|(before, _)| before.lines().count());
        before.unwrap_or(usize::MAX)
    };
    let waiting: Vec<Function> = code::functions(&file.code)
        .into_iter()
        .filter(|function| WAITING.contains(&function.name.as_str()))
        .collect();
    code::lines_calling(&file.code, "sleep")
        .into_iter()
        .filter(|line| *line > tests_from && !waiting.iter().any(|it| (it.first..=it.last).contains(line)))
        .map(|line| format!("line {line}: sleeps; wait for a condition in `eventually`"))
        .collect()
}

fn is_test_module(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The project works wherever it is checked out.
pub fn workplace_paths(file: &SourceFile) -> Vec<String> {
    let workplace = ["/wo", "rk/"].concat();
    let is_absolute = |at: usize| {
        let before = file.text[..at].chars().next_back();
        !before.is_some_and(|c| code::is_word(c) || matches!(c, '.' | '-' | '}' | ')' | '/' | '*'))
    };
    let found = file.text.match_indices(&workplace).filter(|(at, _)| is_absolute(*at));
    found.map(|(at, _)| format!("line {}: names a place of one machine", line_of(&file.text, at))).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails unless the rule finds exactly `count` violations in this file.
    fn expect(rule: fn(&SourceFile) -> Vec<String>, path: &str, text: &str, count: usize) {
        let found = rule(&SourceFile::new(path, text));
        assert_eq!(found.len(), count, "{path}: {text}: {found:?}");
    }

    #[test]
    fn a_clock_read_outside_the_clock_is_found() {
        expect(clock_reads, "src/a.rs", "let now = chrono::Utc::now();", 1);
        expect(clock_reads, "src/a.rs", "let t = Instant::now(); SystemTime::now();", 2);
        expect(clock_reads, "src/a.rs", "// Utc::now is not for here", 0);
        expect(clock_reads, CLOCK, "Utc::now()", 0);
    }

    #[test]
    fn a_lease_clock_that_stands_still_is_found() {
        let clock = crate::tree::file(CLOCK).text;
        expect(lease_clock, CLOCK, &clock, 0);
        expect(lease_clock, CLOCK, &clock.replace("ClockId::Boottime", "ClockId::Monotonic"), 1);
        expect(
            lease_clock,
            CLOCK,
            &clock.replace("clock_gettime(id)", "clock_gettime(ClockId::Realtime)"),
            1,
        );
        expect(lease_clock, CLOCK, "", 1);
    }

    #[test]
    fn a_file_called_mod_rs_is_found() {
        expect(mod_rs, "src/a/mod.rs", "", 1);
        expect(mod_rs, "src/a/xmod.rs", "", 0);
    }

    #[test]
    fn long_files_and_functions_are_found() {
        expect(too_long, "src/a.rs", &"\n".repeat(FILE_LINES_MAX), 0);
        expect(too_long, "src/a.rs", &"\n".repeat(FILE_LINES_MAX + 1), 1);
        let function = |lines: usize| format!("fn a() {{\n{}}}", "x();\n".repeat(lines - 2));
        expect(too_long, "src/a.rs", &function(FUNCTION_LINES_MAX), 0);
        expect(too_long, "src/a.rs", &function(FUNCTION_LINES_MAX + 1), 1);
    }

    #[test]
    fn a_module_without_an_introduction_is_found() {
        expect(missing_introduction, "src/a.rs", "//! What it is for.\nuse b;", 0);
        expect(missing_introduction, "src/a.rs", "use b;\n//! Too late.", 1);
        expect(missing_introduction, "src/a.rs", "// Not for the reader of the docs.", 1);
        expect(missing_introduction, "src/a.rs", "", 1);
    }

    #[test]
    fn an_exception_without_a_reason_is_found() {
        let reasonless = "#![allow(\n    clippy::panic,\n)]\n#[expect(dead_code)]\nfn a() {}";
        expect(exceptions_without_reason, "src/a.rs", reasonless, 2);
        expect(exceptions_without_reason, "src/a.rs", "#[allow(dead_code, reason = \"x)]\")]", 0);
        expect(exceptions_without_reason, "src/a.rs", "#[allow(a)]\n#[expect(b, reason = \"c\")]", 1);
    }

    #[test]
    fn unfinished_work_is_found() {
        expect(unfinished_code, "src/a.rs", "fn a() { todo!() }", 1);
        expect(unfinished_code, "src/a.rs", "fn a() { unimplemented!(\"b\") }", 1);
        expect(unfinished_code, "tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}", 1);
        expect(unfinished_code, "src/a.rs", "// no todo! here", 0);
        let note = ["FIX", "ME"].concat();
        expect(notes_to_self, "README.md", &format!("<!-- {note}: say more -->"), 1);
        expect(notes_to_self, "src/a.rs", &format!("// A{note}B"), 0);
    }

    #[test]
    fn a_sleep_in_a_test_is_found() {
        let sleep = "async fn a() { tokio::time::sleep(x).await }";
        expect(sleeps_in_tests, "tests/it/a.rs", sleep, 1);
        expect(sleeps_in_tests, "src/a/tests.rs", sleep, 1);
        expect(sleeps_in_tests, "src/a.rs", sleep, 0);
        expect(sleeps_in_tests, "src/a.rs", &format!("{sleep}\n#[cfg(test)]\nmod tests {{\n{sleep}\n}}"), 1);
        expect(sleeps_in_tests, "tests/it/a.rs", &sleep.replace("fn a", "fn eventually"), 0);
        expect(sleeps_in_tests, "tests/it/a.rs", "sql(\"SELECT pg_sleep(1)\")", 0);
    }

    #[test]
    fn a_place_on_one_machine_is_found() {
        let place = ["/wo", "rk/shared/x.md"].concat();
        expect(workplace_paths, "src/a.rs", &format!("// see {place}"), 1);
        expect(workplace_paths, "src/a.rs", &format!("open(\"{place}\")"), 1);
        expect(workplace_paths, "src/a.rs", &format!("open(\"home{place}\")"), 0);
    }
}

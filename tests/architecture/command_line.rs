//! The document of the command line, and the examples in its help, against the commands themselves.

use std::collections::BTreeSet;

use clap::Command;
use keystile::cli::definition;

use crate::tree;

const DOCUMENT: &str = "docs/command-line.md";
const NAME: &str = "keystile";

/// Every command that does something by itself, as it is called: `keystile keys create`.
fn leaves(command: &Command, path: &str) -> Vec<(String, Command)> {
    let below: Vec<_> = command.get_subcommands().filter(|it| it.get_name() != "help").collect();
    if below.is_empty() {
        return vec![(path.to_owned(), command.clone())];
    }
    below.into_iter().flat_map(|it| leaves(it, &format!("{path} {}", it.get_name()))).collect()
}

/// The sections of the document that are about a command, by its name.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### `") {
            found.push((name.trim_end_matches('`').to_owned(), String::new()));
        } else if line.starts_with('#') {
            found.push((String::new(), String::new()));
        } else if let Some((_, section)) = found.last_mut() {
            section.push_str(line);
            section.push('\n');
        }
    }
    found.retain(|(name, _)| !name.is_empty());
    found
}

/// The lines of a section's blocks of shell.
fn shell_lines(section: &str) -> Vec<&str> {
    section.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines()).collect()
}

/// Words as a shell splits them, to the end of the first command.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for character in text.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, '|' | '<' | '>' | ';' | '&' | ')') => break,
            (None, ' ') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The calls of the program in a line of shell, each as its words. What `xargs` gives is a key.
fn calls(line: &str) -> Vec<Vec<String>> {
    let call = format!("{NAME} ");
    let starts = line.match_indices(&call).map(|(at, _)| at);
    let starts = starts.filter(|at| line[..*at].chars().next_back().is_none_or(|before| before == ' '));
    let calls = starts.map(|at| {
        let mut words = words(&line[at..]);
        if line[..at].ends_with("xargs ") {
            words.push("17".to_owned());
        }
        words
    });
    calls.collect()
}

/// Fails unless the commands take every call of the program in `line`.
fn expect_taken(line: &str, place: &str) -> usize {
    let calls = calls(line);
    for call in &calls {
        let taken = definition().try_get_matches_from(call);
        assert!(taken.is_ok(), "{place}: {line}\n{}", taken.unwrap_err());
    }
    calls.len()
}

#[test]
fn every_command_has_its_section_with_an_example_and_no_other_has() {
    let text = tree::file(DOCUMENT).text;
    let sections = sections(&text);
    let documented: Vec<&str> = sections.iter().map(|(name, _)| name.as_str()).collect();
    let unique: BTreeSet<&str> = documented.iter().copied().collect();
    assert_eq!(unique.len(), documented.len(), "a command has two sections");
    let leaves = leaves(&definition(), NAME);
    let names: BTreeSet<&str> = leaves.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(unique, names);
    for (name, section) in &sections {
        let has_example = shell_lines(section).iter().any(|line| line.contains(name.as_str()));
        assert!(has_example, "{name} has no example");
    }
}

#[test]
fn every_example_of_the_document_is_taken() {
    let text = tree::file(DOCUMENT).text;
    let taken: usize = shell_lines(&text).into_iter().map(|line| expect_taken(line, DOCUMENT)).sum();
    assert!(taken > 50, "{taken}");
}

#[test]
fn every_example_of_the_help_is_taken() {
    let mut taken = 0;
    for (name, command) in leaves(&definition(), NAME) {
        let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
        let lines = help.lines().skip_while(|line| !line.starts_with("Examples:"));
        let of_command: usize = lines.map(|line| expect_taken(line, &name)).sum();
        assert!(of_command > 0, "{name} has no example");
        taken += of_command;
    }
    assert!(taken > 60, "{taken}");
}

#[test]
fn every_flag_that_the_document_names_is_one() {
    let mut flags = BTreeSet::new();
    for (_, mut command) in leaves(&definition(), NAME) {
        command.build();
        for arg in command.get_arguments() {
            flags.extend(arg.get_long().map(|flag| format!("--{flag}")));
            flags
                .extend(arg.get_visible_aliases().unwrap_or_default().iter().map(|flag| format!("--{flag}")));
        }
    }
    // Of the commands above them.
    flags.extend(["--help", "--server", "--timeout", "--token-file"].map(str::to_owned));
    let text = tree::file(DOCUMENT).text;
    for code in text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("--")) {
        let flag = code.split([' ', '=']).next().unwrap();
        assert!(flags.contains(flag), "{flag}");
    }
}

#[test]
fn a_line_of_shell_is_read() {
    assert_eq!(words("keystile a 'b c' \"$D\" '' | jq ."), ["keystile", "a", "b c", "$D", ""]);
    assert_eq!(calls("if keystile a < b >/dev/null; then keystile c; fi").len(), 2);
    assert_eq!(calls("x | xargs keystile keys revoke"), [["keystile", "keys", "revoke", "17"]]);
    assert!(calls("echo keystile.token mykeystile x").is_empty());
    assert_eq!(shell_lines("a\n```sh\nb\nc\n```\nd"), ["b", "c"]);
    assert_eq!(sections("# A\n### `x y`\nz\n## B\n"), [("x y".to_owned(), "z\n".to_owned())]);
}

//! Rust without its comments and literals, and what can be seen of it then.

/// Blanks comments and the insides of string and character literals with spaces. Lines stay lines, columns stay
/// columns (in characters), so that what is found in the result has its place in the source.
pub fn blank(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut blanked = Vec::with_capacity(characters.len());
    let mut at = 0;
    while at < characters.len() {
        let end = literal_end(&characters, at);
        if end == at {
            blanked.push(characters[at]);
            at += 1;
        } else {
            let inside = characters[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' });
            blanked.extend(inside);
            at = end;
        }
    }
    blanked.into_iter().collect()
}

/// Where the comment or literal that starts at `at` ends; `at` itself where none starts.
fn literal_end(source: &[char], at: usize) -> usize {
    let next = |offset: usize| source.get(at + offset).copied();
    match (source[at], next(1)) {
        ('/', Some('/')) => find(source, at, |rest| rest[0] == '\n'),
        ('/', Some('*')) => block_comment_end(source, at),
        ('"', _) => string_end(source, at),
        ('r' | 'b' | 'c', _) if !continues_a_word(source, at) => raw_string_end(source, at).unwrap_or(at),
        ('\'', Some('\\')) => find(source, at + 3, |rest| rest[0] == '\'') + 1,
        ('\'', Some(_)) if next(2) == Some('\'') => at + 3,
        _ => at,
    }
}

fn find(source: &[char], from: usize, is_it: impl Fn(&[char]) -> bool) -> usize {
    (from..source.len()).find(|at| is_it(&source[*at..])).unwrap_or(source.len())
}

fn continues_a_word(source: &[char], at: usize) -> bool {
    at > 0 && is_word(source[at - 1])
}

/// Whether a character can stand in an identifier.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn block_comment_end(source: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut here = at;
    while here < source.len() {
        if source[here..].starts_with(&['/', '*']) {
            depth += 1;
            here += 2;
        } else if source[here..].starts_with(&['*', '/']) {
            depth -= 1;
            here += 2;
            if depth == 0 {
                return here;
            }
        } else {
            here += 1;
        }
    }
    source.len()
}

fn string_end(source: &[char], at: usize) -> usize {
    let mut here = at + 1;
    while here < source.len() && source[here] != '"' {
        here += if source[here] == '\\' { 2 } else { 1 };
    }
    (here + 1).min(source.len())
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `b'…'`, `c"…"`; `None` where a word starts.
fn raw_string_end(source: &[char], at: usize) -> Option<usize> {
    let prefix = source[at..].iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let hashes = source[at + prefix..].iter().take_while(|c| **c == '#').count();
    let quote = at + prefix + hashes;
    let is_raw = source[at..at + prefix].contains(&'r');
    match source.get(quote) {
        Some('"') if is_raw => {
            let closing: Vec<char> = std::iter::once('"').chain("#".repeat(hashes).chars()).collect();
            Some(
                (find(source, quote + 1, |rest| rest.starts_with(&closing)) + closing.len())
                    .min(source.len()),
            )
        }
        Some('"') if hashes == 0 => Some(string_end(source, quote)),
        Some('\'') if prefix == 1 && source[at] == 'b' && hashes == 0 => Some(literal_end(source, quote)),
        _ => None,
    }
}

/// A function, by its lines, which count from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where `fn` stands.
    pub first: usize,
    /// Where its body ends.
    pub last: usize,
}

/// Every function with a body in blanked code, inner ones too.
pub fn functions(code: &str) -> Vec<Function> {
    let characters: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    for at in words(&characters, "fn") {
        let name: String =
            characters[at + 2..].iter().skip_while(|c| **c == ' ').take_while(|c| is_word(**c)).collect();
        let Some(body) = body_start(&characters, at).filter(|_| !name.is_empty()) else { continue };
        found.push(Function {
            name,
            first: line(&characters, at),
            last: line(&characters, body_end(&characters, body)),
        });
    }
    found
}

/// Where a word stands as a whole word.
fn words(characters: &[char], word: &str) -> Vec<usize> {
    let wanted: Vec<char> = word.chars().collect();
    (0..characters.len())
        .filter(|at| characters[*at..].starts_with(&wanted) && !continues_a_word(characters, *at))
        .filter(|at| !characters.get(at + wanted.len()).is_some_and(|c| is_word(*c)))
        .collect()
}

fn body_start(characters: &[char], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, character) in characters.iter().enumerate().skip(from) {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn body_end(characters: &[char], start: usize) -> usize {
    let mut depth = 0_i32;
    for (at, character) in characters.iter().enumerate().skip(start) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    characters.len()
}

fn line(characters: &[char], at: usize) -> usize {
    1 + characters[..at.min(characters.len())].iter().filter(|c| **c == '\n').count()
}

/// Lines, from 1, on which a function or method of this name is called in blanked code.
pub fn lines_calling(code: &str, name: &str) -> Vec<usize> {
    let characters: Vec<char> = code.chars().collect();
    let mut calls = words(&characters, name);
    calls.retain(|at| characters.get(at + name.chars().count()) == Some(&'('));
    calls.into_iter().map(|at| line(&characters, at)).collect()
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    for (source, kept) in [
        ("a(); // diesel\nb", "a();          \nb"),
        ("a /* x /* y */ \n z */ b", "a              \n      b"),
        (r#"f("a\"b", c)"#, "f(      , c)"),
        (r##"f(r#"a"b"#, c)"##, "f(        , c)"),
        (r#"f(b"ab", br"c\", d)"#, "f(     ,       , d)"),
        (r"f('a', '\'', '\u{1b}', b'x', &'a str)", "f(   ,     ,         ,     , &'a str)"),
        ("\"two\nlines\" x", "    \n       x"),
        ("for r in bar { r#type }", "for r in bar { r#type }"),
    ] {
        assert_eq!(blank(source), kept);
    }
}

#[test]
fn functions_are_found_with_their_lines() {
    let code = "trait T { fn a(&self) -> [u8; 2]; }\nfn b<F: fn(u8)>(\n    x: u8,\n) -> [u8; 2]\n{\n    fn c() {}\n}\n";
    let found: Vec<(String, usize, usize)> =
        functions(code).into_iter().map(|function| (function.name, function.first, function.last)).collect();
    assert_eq!(found, [("b".to_owned(), 2, 7), ("c".to_owned(), 6, 6)]);
}

#[test]
fn calls_are_told_from_words_like_them() {
    let code = "asleep(1);\nsleep(2); let sleep = 3;\npg_sleep(3); x.sleep(4)\nsleep;";
    assert_eq!(lines_calling(code, "sleep"), [2, 3]);
}

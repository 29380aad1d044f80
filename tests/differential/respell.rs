//! Values spelled differently: the same in other words, nearly the same, or malformed.

use crate::random::Random;

const ODD_PIECES: &[&str] = &[
    "*",
    "%",
    "/",
    "//",
    "/.",
    "/..",
    "/../",
    "?",
    "#",
    " ",
    ",",
    "\\",
    "\0",
    "\n",
    "\u{7f}",
    "\u{85}",
    "%2e",
    "%2E%2e",
    "%2F",
    "%25",
    "%5c",
    "%00",
    "%C3%a9",
    "%C3",
    "%80",
    "é",
    "e\u{301}",
    "𝄞",
    ":",
    ".",
    "..",
    "x",
    "1",
    "0",
    "255",
    "/8",
    "/33",
    "/0",
    "::",
    "%eth0",
    "\"",
    "|",
    "~",
    "%7e",
    "%41",
    "%zz",
    "GET ",
    "keystile.",
    ".*",
];

/// Inserts something odd, removes or doubles a character, or flips a case.
pub fn nearly(random: &mut Random, text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = random.below(chars.len() + 1);
    let (before, after) = chars.split_at(at);
    let before: String = before.iter().collect();
    let mut rest = after.iter().copied();
    match random.below(4) {
        0 => before + random.pick(ODD_PIECES) + &rest.collect::<String>(),
        1 => {
            rest.next();
            before + &rest.collect::<String>()
        }
        2 => {
            let doubled = after.iter().take(1).chain(after).collect::<String>();
            before + &doubled
        }
        _ => {
            let flipped = rest.next().map(flip_case).unwrap_or_default();
            before + &flipped + &rest.collect::<String>()
        }
    }
}

fn flip_case(char: char) -> String {
    if char.is_lowercase() { char.to_uppercase().collect() } else { char.to_lowercase().collect() }
}

/// Bytes that may be anything: odd pieces, raw bytes, or far too long.
pub fn hostile(random: &mut Random, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    match random.below(8) {
        0 => bytes.clear(),
        1 => bytes = bytes.repeat(1 + 300 / bytes.len().max(1)),
        2 if random.one_in(8) => bytes = bytes.repeat(1 + 8300 / bytes.len().max(1)),
        3 => bytes.insert(random.below(bytes.len() + 1), random.byte()),
        4 => bytes.insert(random.below(bytes.len() + 1), 0x80 | random.byte()),
        _ => {
            for _ in 0..=random.below(3) {
                bytes = nearly(random, &String::from_utf8_lossy(&bytes)).into_bytes();
            }
        }
    }
    bytes
}

/// A path in other words: mostly the same path.
pub fn path(random: &mut Random, path: &str) -> Vec<u8> {
    let mut spelled = Vec::new();
    for byte in path.bytes() {
        let lower = random.one_in(2);
        match random.below(12) {
            0 if byte != b'/' => {
                spelled.extend(if lower { format!("%{byte:02x}") } else { format!("%{byte:02X}") }.bytes());
            }
            1 if byte == b'/' => spelled.extend(b"//"),
            _ => spelled.push(byte),
        }
    }
    if random.one_in(6) {
        spelled.extend(random.pick(&["?x=1", "#top", "?a=/../%2f%", "/", "//", "?\u{0}"]).bytes());
    }
    spelled
}

/// The text of an address given as bits, in one of the ways to write it.
pub fn address(random: &mut Random, bits: &str) -> String {
    let number = |bits: &str| u32::from_str_radix(bits, 2).unwrap();
    if bits.len() == 128 {
        let groups: Vec<String> = (0..8).map(|at| format!("{:x}", number(&bits[at * 16..][..16]))).collect();
        let text = match random.below(3) {
            0 => shorten(&groups),
            1 => groups.iter().map(|group| format!("{group:0>4}")).collect::<Vec<_>>().join(":"),
            _ => groups.join(":"),
        };
        return if random.one_in(4) { text.to_uppercase() } else { text };
    }
    let parts: Vec<String> = (0..4).map(|at| number(&bits[at * 8..][..8]).to_string()).collect();
    match random.below(6) {
        0 => format!("::ffff:{}", parts.join(".")),
        1 => format!("::FFFF:{:x}:{:x}", number(&bits[..16]), number(&bits[16..])),
        2 => format!("0:0:0:0:0:ffff:{}", parts.join(".")),
        _ => parts.join("."),
    }
}

/// Replaces the first run of zero groups by `::`.
fn shorten(groups: &[String]) -> String {
    let Some(start) = groups.iter().position(|group| group == "0") else { return groups.join(":") };
    let run = groups[start..].iter().take_while(|group| *group == "0").count();
    format!("{}::{}", groups[..start].join(":"), groups[start + run..].join(":"))
}

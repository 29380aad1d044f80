//! Tokens that look like a true one.

const PUBLIC_PART: usize = "ks_".len() + 12;

/// The same brand and public id, another secret, and the right checksum: only the store can tell.
pub fn other_secret(token: &str) -> String {
    let checked = format!("{}_{}", &token[..PUBLIC_PART], "0".repeat(32));
    let checksum = checksum(&checked);
    checked + &checksum
}

/// The checksum of another number: its last digit is the next one.
pub fn broken_checksum(token: &str) -> String {
    let (head, last) = token.split_at(token.len() - 1);
    format!("{head}{}", if last == "0" { "1" } else { "0" })
}

/// The true secret under another brand, with the right checksum.
pub fn other_brand(token: &str) -> String {
    let (_, rest) = token.split_once('_').unwrap();
    let checked = format!("kt_{}", &rest[..rest.len() - 6]);
    let checksum = checksum(&checked);
    checked + &checksum
}

/// Capital letters as small ones, and the other way round.
pub fn other_case(token: &str) -> String {
    token
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect()
}

/// CRC-32 in base62, as the contract of tokens says.
fn checksum(checked: &str) -> String {
    let mut rest = crc32fast::hash(checked.as_bytes());
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        *digit = alphabet[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8(digits.to_vec()).unwrap()
}

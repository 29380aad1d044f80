//! Addresses and CIDRs as strings of `0` and `1`, parsed by hand.

/// 32 or 128 characters, IPv4-mapped addresses as 32; `None` for what is no address.
pub fn address_bits(text: &str) -> Option<String> {
    Some(unmap(raw_bits(text)?))
}

/// Whether a pattern says something.
pub fn cidr_is_valid(pattern: &str) -> bool {
    prefix_bits(pattern).is_some()
}

/// Whether the address lies in the pattern: it has the family's length and starts with the prefix.
pub fn cidr_contains(pattern: &str, address: &str) -> bool {
    let (Some((family, prefix)), Some(address)) = (prefix_bits(pattern), address_bits(address)) else {
        return false;
    };
    address.len() == family && address.starts_with(&prefix)
}

/// The family's number of bits, and those bits that are fixed.
fn prefix_bits(pattern: &str) -> Option<(usize, String)> {
    let mut parts = pattern.split('/');
    let bits = raw_bits(parts.next()?)?;
    let mut length = bits.len();
    if let Some(text) = parts.next() {
        let plain = text == "0" || !text.starts_with('0');
        if text.is_empty() || !plain || !text.chars().all(|char| char.is_ascii_digit()) {
            return None;
        }
        length = text.parse().ok()?;
    }
    if parts.next().is_some() || length > bits.len() || bits[length..].contains('1') {
        return None;
    }
    let is_mapped = unmap(bits.clone()) != bits;
    if is_mapped {
        Some((32, bits[96..length].to_owned()))
    } else {
        Some((bits.len(), bits[..length].to_owned()))
    }
}

/// `::ffff:a.b.c.d` is 80 zeros, 16 ones and the IPv4 address.
fn unmap(bits: String) -> String {
    let mapped = "0".repeat(80) + &"1".repeat(16);
    match bits.strip_prefix(&mapped) {
        Some(v4) if bits.len() == 128 => v4.to_owned(),
        _ => bits,
    }
}

fn raw_bits(text: &str) -> Option<String> {
    if text.contains(':') { v6_bits(text) } else { v4_bits(text) }
}

fn v4_bits(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 4 {
        return None;
    }
    let mut bits = String::new();
    for part in parts {
        let digits = part.chars().all(|char| char.is_ascii_digit());
        if part.is_empty() || part.len() > 3 || !digits || (part.len() > 1 && part.starts_with('0')) {
            return None;
        }
        let number: u32 = part.parse().ok()?;
        if number > 255 {
            return None;
        }
        bits += &format!("{number:08b}");
    }
    Some(bits)
}

fn v6_bits(text: &str) -> Option<String> {
    let halves: Vec<&str> = text.split("::").collect();
    match halves[..] {
        [whole] => groups_bits(whole, true).filter(|bits| bits.len() == 128),
        [left, right] => {
            let left = groups_bits(left, false)?;
            let right = groups_bits(right, true)?;
            // `::` stands for at least one group.
            let missing = 128usize.checked_sub(left.len() + right.len()).filter(|bits| *bits >= 16)?;
            Some(left + &"0".repeat(missing) + &right)
        }
        _ => None,
    }
}

/// Groups joined by `:`, the last of which may be written as IPv4 when it ends the address.
fn groups_bits(text: &str, ends_address: bool) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let groups: Vec<&str> = text.split(':').collect();
    let mut bits = String::new();
    for (index, group) in groups.iter().enumerate() {
        if group.contains('.') {
            if !ends_address || index + 1 != groups.len() {
                return None;
            }
            bits += &v4_bits(group)?;
        } else {
            if group.is_empty() || group.len() > 4 || !group.chars().all(|char| char.is_ascii_hexdigit()) {
                return None;
            }
            bits += &format!("{:016b}", u32::from_str_radix(group, 16).ok()?);
        }
    }
    Some(bits)
}

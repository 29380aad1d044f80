//! Known answers come from Python (`zlib.crc32`), the reference below from the description of the format.

use std::collections::HashSet;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::token::base62::tests::Scripted;
use crate::token::os_rng;

const KS: &str = "ks_0123456789AB_abcdefghijklmnopqrstuvwxyzABCDEF05fmQ7";
/// The shortest brand, and a checksum below 62⁴, which is padded.
const OTHER_BRAND: &str = "a_ZZZZZZZZZZZZ_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz1OvWvW";
const PADDED: &str = "ks_0123456789AB_0000000000000000000000000000003200Xbtm";
const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Own or not, and the prefix.
type Outcome<'a> = Result<(bool, &'a str), Malformed>;

/// For the brand `ks`.
fn classify(bytes: &[u8]) -> Outcome<'_> {
    Presented::classify(bytes, &Brand::default()).map(|presented| (presented.is_own(), presented.prefix()))
}

fn sealed(body: &str) -> String {
    format!("{body}{}", reference_checksum(body.as_bytes()))
}

/// CRC-32 bit by bit, and base62 by division of a wide number.
fn reference_checksum(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let crc = u64::from(!crc);
    let digit = |power: u32| {
        let value = crc / 62_u64.pow(power) % 62;
        ALPHABET.chars().nth(usize::try_from(value).unwrap()).unwrap()
    };
    (0..6).rev().map(digit).collect()
}

/// The rule as the documentation tells it, without regard to speed.
fn reference(bytes: &[u8]) -> Result<(bool, String), Malformed> {
    let text: String = bytes.iter().copied().map(char::from).collect();
    if text.chars().any(|c| !('\x21'..='\x7e').contains(&c)) || text.len() < 16 || text.len() > 72 {
        return Err(Malformed);
    }
    let foreign = Ok((false, text[..8].to_owned()));
    let parts: Vec<&str> = text.split('_').collect();
    let [brand, public_id, tail] = parts[..] else { return foreign };
    let base62 = |part: &str| part.chars().all(|c| ALPHABET.contains(c));
    if Brand::parse(brand).is_err() || public_id.len() != 12 || tail.len() != 38 {
        return foreign;
    }
    if !base62(public_id) || !base62(tail) {
        return foreign;
    }
    if reference_checksum(&bytes[..bytes.len() - 6]) == tail[32..] {
        return Ok((true, format!("{brand}_{public_id}")));
    }
    if brand == "ks" { Err(Malformed) } else { foreign }
}

#[test]
fn known_tokens_are_own() {
    assert_eq!(classify(KS.as_bytes()), Ok((true, "ks_0123456789AB")));
    assert_eq!(classify(PADDED.as_bytes()), Ok((true, "ks_0123456789AB")));
    assert_eq!(classify(OTHER_BRAND.as_bytes()), Ok((true, "a_ZZZZZZZZZZZZ")));
    assert!(KS.ends_with(&reference_checksum(&KS.as_bytes()[..48])));
}

#[test]
fn look_alikes() {
    let body = &KS[..48];
    let longest = sealed(&format!("abcdefg8{}", &body[2..]));
    let own_elsewhere = sealed(&format!("acme{}", &body[2..]));

    let cases: Vec<(String, Outcome<'_>)> = vec![
        // The own shape under other brands: right, and with a wrong checksum (foreign, as imports may look so).
        (longest.clone(), Ok((true, "abcdefg8_0123456789AB"))),
        (own_elsewhere.clone(), Ok((true, "acme_0123456789AB"))),
        (format!("{}0", &own_elsewhere[..own_elsewhere.len() - 1]), Ok((false, "acme_012"))),
        (format!("k{}", &KS[2..]), Ok((false, "k_012345"))),
        (format!("ks2{}", &KS[2..]), Ok((false, "ks2_0123"))),
        // What is no brand is not the own shape, whatever its checksum.
        (sealed(&format!("Ks{}", &body[2..])), Ok((false, "Ks_01234"))),
        (sealed(&format!("2s{}", &body[2..])), Ok((false, "2s_01234"))),
        (sealed(&body[2..]), Ok((false, "_0123456"))),
        (sealed(&format!("abcdefgh9{}", &body[2..])), Ok((false, "abcdefgh"))),
        (sealed(&format!("k-s{}", &body[2..])), Ok((false, "k-s_0123"))),
        // The configured brand, but another shape.
        (KS[..53].into(), Ok((false, "ks_01234"))),
        (format!("{KS}0"), Ok((false, "ks_01234"))),
        (KS.replacen('_', "-", 1), Ok((false, "ks-01234"))),
        (KS.replace("B_a", "B-a"), Ok((false, "ks_01234"))),
        (KS.replace("B_a", "_Ba"), Ok((false, "ks_01234"))),
        (sealed(&body.replace("abc", "ab-")), Ok((false, "ks_01234"))),
        (format!("{}~", &KS[..53]), Ok((false, "ks_01234"))),
        (KS.to_uppercase(), Ok((false, "KS_01234"))),
        // The configured brand and the own shape: the checksum decides, also about letter case.
        (format!("{body}000000"), Err(Malformed)),
        (format!("{body}05FMQ7"), Err(Malformed)),
        (KS.replace("abc", "ABC"), Err(Malformed)),
        (KS.replace("05fmQ7", "O5fmQ7"), Err(Malformed)),
        // A number above 2³² is no checksum.
        (format!("{body}zzzzzz"), Err(Malformed)),
        (format!(" {KS}"), Err(Malformed)),
        (format!("{KS}\n"), Err(Malformed)),
        (format!("{KS}\0"), Err(Malformed)),
        (KS.replace('a', "а"), Err(Malformed)),
    ];
    for (text, expected) in cases {
        assert_eq!(classify(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn foreign_tokens_are_printable_ascii_of_16_to_72_bytes() {
    for (len, accepted) in [(0, false), (1, false), (15, false), (16, true), (72, true), (73, false)] {
        let text = "x".repeat(len);
        assert_eq!(
            classify(text.as_bytes()),
            if accepted { Ok((false, "xxxxxxxx")) } else { Err(Malformed) }
        );
    }
    assert_eq!(classify(&vec![b'x'; 1 << 20]), Err(Malformed));
    for byte in 0..=u8::MAX {
        let mut bytes = *b"en_0123456789abcdef";
        bytes[10] = byte;
        let printable = (0x21..=0x7e).contains(&byte);
        assert_eq!(classify(&bytes).is_ok(), printable, "{byte:#x}");
    }
    assert_eq!(classify(b"\x7f\x7f en_ \xff\xfe 0123456789"), Err(Malformed));
    assert_eq!(classify("ünïcödé-töken-0123456789".as_bytes()), Err(Malformed));
}

#[test]
fn the_configured_brand_decides_what_is_mistyped() {
    let acme = Brand::parse("acme").unwrap();
    let mistyped = format!("{}0", &KS[..53]);
    assert_eq!(Presented::classify(mistyped.as_bytes(), &Brand::default()).err(), Some(Malformed));
    assert!(!Presented::classify(mistyped.as_bytes(), &acme).unwrap().is_own());
    assert!(Presented::classify(KS.as_bytes(), &acme).unwrap().is_own());
}

#[test]
fn brands() {
    for brand in ["k", "ks", "k8", "abcdefgh", "a1234567"] {
        assert_eq!(Brand::parse(brand).unwrap().as_str(), brand);
        assert_eq!(Brand::parse(brand).unwrap().to_string(), brand);
    }
    for brand in ["", "8k", "Ks", "kS", "k_s", "k s", "k-s", "ks ", "é", "kß", "abcdefghi", "k\0"] {
        assert_eq!(Brand::parse(brand), Err(InvalidBrand), "{brand:?}");
    }
    assert_eq!(Brand::default().as_str(), "ks");
}

#[test]
fn generated_from_a_script() {
    // Draws of 64 bytes: the public id takes the first 12 of one, the secret the first 32 of the next.
    let mut script: Vec<u8> = (0..64).collect();
    script.extend(20..62);
    script.extend([0; 22]);
    let token = Token::generate(&Brand::default(), &mut Scripted::new(script));
    assert_eq!(token.expose(), sealed("ks_0123456789AB_KLMNOPQRSTUVWXYZabcdefghijklmnop"));
    assert_eq!(token.prefix(), "ks_0123456789AB");
}

#[test]
fn generated_tokens_are_own_and_differ_in_every_part() {
    let brand = Brand::parse("acme").unwrap();
    let (mut public_ids, mut secrets) = (HashSet::new(), HashSet::new());
    let mut seen = vec![HashSet::new(); 44];
    for _ in 0..2000 {
        let token = Token::generate(&brand, &mut os_rng());
        let presented = Presented::classify(token.expose().as_bytes(), &Brand::default()).unwrap();
        assert!(presented.is_own());
        assert_eq!(presented.prefix(), token.prefix());
        assert_eq!(token.expose().len(), 56);
        assert!(public_ids.insert(token.expose()[5..17].to_owned()));
        assert!(secrets.insert(token.expose()[18..50].to_owned()));
        let digits = token.expose()[5..17].chars().chain(token.expose()[18..50].chars());
        for (digit, seen) in digits.zip(&mut seen) {
            seen.insert(digit);
        }
    }
    // 2000 draws of 62 leave one out with a probability below 10⁻¹⁰.
    assert!(seen.iter().all(|digits| digits.len() == 62));
}

#[test]
fn an_owned_copy_is_the_same_token() {
    for text in [KS, "en_foreign-token-0123456789"] {
        let presented = Presented::classify(text.as_bytes(), &Brand::default()).unwrap();
        assert_eq!(presented.bytes(), text.as_bytes());
        let token = presented.to_token();
        assert_eq!(token.expose(), text);
        assert_eq!(token.prefix(), presented.prefix());
    }
}

#[test]
fn debug_shows_the_prefix_only() {
    let show = |text: &str| {
        let presented = Presented::classify(text.as_bytes(), &Brand::default()).unwrap();
        (format!("{presented:?}"), format!("{:?}", presented.to_token()))
    };
    let (presented, token) = show(KS);
    assert_eq!(presented, "Presented(own, ks_0123456789AB…[REDACTED])");
    assert_eq!(token, "Token(ks_0123456789AB…[REDACTED])");
    let (presented, token) = show("foreign-token-16");
    assert_eq!(presented, "Presented(foreign, foreign-…[REDACTED])");
    assert_eq!(token, "Token(foreign-…[REDACTED])");
}

fn generated() -> impl Strategy<Value = String> {
    any::<u64>().prop_map(|seed| {
        Token::generate(&Brand::default(), &mut StdRng::seed_from_u64(seed)).expose().to_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn no_substitution_of_one_character_is_own(token in generated()) {
        for position in 0..token.len() {
            for byte in 0x21..=0x7e_u8 {
                let mut bytes = token.clone().into_bytes();
                if bytes[position] == byte {
                    continue;
                }
                bytes[position] = byte;
                let result = classify(&bytes);
                prop_assert_ne!(result.map(|(own, _)| own), Ok(true), "{} at {}", byte, position);
                // The own shape under the own brand is refused at once.
                if position > 2 && position != 15 && byte.is_ascii_alphanumeric() {
                    prop_assert_eq!(result, Err(Malformed), "{} at {}", byte, position);
                }
            }
        }
    }

    #[test]
    fn no_transposition_of_neighbours_is_own(token in generated()) {
        for position in 0..token.len() - 1 {
            let mut bytes = token.clone().into_bytes();
            bytes.swap(position, position + 1);
            if bytes == token.as_bytes() {
                continue;
            }
            prop_assert_ne!(classify(&bytes).map(|(own, _)| own), Ok(true), "at {}", position);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn classified_as_documented(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            proptest::collection::vec(0x21..=0x7e_u8, 14..75),
            "(ks|[a-z][a-z0-9]{0,8}|[A-Z]s)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}".prop_map(String::into_bytes),
            "(ks|[a-z][a-z0-9]{0,8}|[A-Z]s)_[0-9A-Za-z]{11,13}_[0-9A-Za-z-]{31,33}"
                .prop_map(|body| sealed(&body).into_bytes()),
            "(ks|[a-z][a-z0-9]{0,7})_[0-9A-Za-z]{12}_[0-9A-Za-z]{32}"
                .prop_map(|body| sealed(&body).into_bytes()),
        ],
    ) {
        let result = classify(&bytes).map(|(own, prefix)| (own, prefix.to_owned()));
        prop_assert_eq!(result, reference(&bytes));
    }
}

//! Normal forms, one rule at a time, and the properties that hold for every path.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::{MalformedPath, PATH_BYTES_MAX, normalise_path};

fn normal(source: &str) -> String {
    normalise_path(source.as_bytes()).unwrap().into_owned()
}

#[test]
fn a_path_in_normal_form_is_borrowed() {
    for path in ["/", "/v1/models", "/v1/files/", "/a.b/..c/.../x", "/a%20b/%C3%A9", "/a:b@c!$&'()*+,;=~_-"] {
        assert!(matches!(normalise_path(path.as_bytes()), Ok(Cow::Borrowed(same)) if same == path), "{path}");
    }
    assert!(matches!(normalise_path(b"/v1/models?limit=//..%"), Ok(Cow::Borrowed("/v1/models"))));
    assert!(matches!(normalise_path(b"/v1/models#\xff?"), Ok(Cow::Borrowed("/v1/models"))));
}

#[test]
fn spellings_of_one_path_have_one_normal_form() {
    for (source, expected) in [
        ("//v1///models", "/v1/models"),
        ("/v1/models//", "/v1/models/"),
        ("/%76%31/mo%64els", "/v1/models"),
        ("/a%2Db%2e%5F%7ec", "/a-b._~c"),
        ("/a%3ab", "/a%3Ab"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/a b", "/a%20b"),
        ("/\"<>[]^`{|}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("/...", "/..."),
        ("/a/.b", "/a/.b"),
        ("/%2E%2E%2E/x", "/.../x"),
    ] {
        assert_eq!(normal(source), expected, "{source}");
    }
    assert_eq!(normalise_path(b"/caf\xC3%a9").unwrap(), "/caf%C3%A9");
}

#[test]
fn what_differs_in_meaning_stays_different() {
    assert_ne!(normal("/v1/models"), normal("/v1/models/"));
    assert_ne!(normal("/v1/models"), normal("/V1/models"));
    assert_ne!(normal("/a:b"), normal("/a%3Ab"));
    assert_ne!(normal("/a*"), normal("/a%2A"));
}

#[test]
fn ambiguous_paths_are_malformed() {
    use MalformedPath::{
        Backslash, ControlCharacter, DotSegment, EncodedDelimiter, Escape, NotAbsolute, NotUtf8,
    };
    for (source, why) in [
        (&b""[..], NotAbsolute),
        (b"v1/models", NotAbsolute),
        (b"?/v1", NotAbsolute),
        (b" /v1", NotAbsolute),
        (b"http://host/v1", NotAbsolute),
        (b"*", NotAbsolute),
        (b"%2Fv1", NotAbsolute),
        (b"/.", DotSegment),
        (b"/..", DotSegment),
        (b"/a/../b", DotSegment),
        (b"/a/./b", DotSegment),
        (b"/a/..?x", DotSegment),
        (b"/a//..//b", DotSegment),
        (b"/a/%2e%2E/b", DotSegment),
        (b"/a/.%2e", DotSegment),
        (b"/a/%2E", DotSegment),
        (b"/a%2Fb", EncodedDelimiter),
        (b"/a%2fb", EncodedDelimiter),
        (b"/a%25b", EncodedDelimiter),
        (b"/%252e%252e/", EncodedDelimiter),
        (b"/a\\b", Backslash),
        (b"/a%5Cb", Backslash),
        (b"/a%5c..", Backslash),
        (b"/a\0", ControlCharacter),
        (b"/a%00", ControlCharacter),
        (b"/a\n", ControlCharacter),
        (b"/a%0D", ControlCharacter),
        (b"/a\x7f", ControlCharacter),
        (b"/a%7f", ControlCharacter),
        (b"/a\xC2\x85", ControlCharacter),
        (b"/a%C2%85", ControlCharacter),
        (b"/a%", Escape),
        (b"/a%4", Escape),
        (b"/a%4g", Escape),
        (b"/a%+1", Escape),
        (b"/a%\xC3\xA9", Escape),
        (b"/a%2?0", Escape),
        (b"/a\xff", NotUtf8),
        (b"/a%FF", NotUtf8),
        (b"/a%C3", NotUtf8),
        (b"/a%C3/b", NotUtf8),
        (b"/a%C3%41", NotUtf8),
        (b"/a%A9", NotUtf8),
        (b"/a\xC3?\xA9", NotUtf8),
        (b"/%C0%AF", NotUtf8),
        (b"/%C0%AE%C0%AE/", NotUtf8),
        (b"/%ED%A0%80", NotUtf8),
        (b"/%F4%90%80%80", NotUtf8),
    ] {
        assert_eq!(normalise_path(source), Err(why), "{:?}", String::from_utf8_lossy(source));
    }
}

#[test]
fn the_length_is_bounded_after_the_cut_as_given_and_as_normalised() {
    let longest = format!("/{}", "x".repeat(PATH_BYTES_MAX - 1));
    assert_eq!(normal(&longest), longest);
    assert_eq!(normal(&format!("{longest}?{}", "q".repeat(1 << 20))), longest);
    assert_eq!(normalise_path(format!("{longest}x").as_bytes()), Err(MalformedPath::TooLong));
    assert_eq!(normalise_path(&vec![b'/'; 1 << 20]), Err(MalformedPath::TooLong));
    // 2731 spaces are 2732 bytes as given and 8194 as normalised.
    assert_eq!(normalise_path(format!("/{}", " ".repeat(2731)).as_bytes()), Err(MalformedPath::TooLong));
    assert!(normalise_path(format!("/{}", " ".repeat(2730)).as_bytes()).is_ok());
}

/// Pieces of paths, so that long well-formed paths and near misses are both frequent.
fn source() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[a-zA-Z0-9._~/-]{0,6}".prop_map(String::into_bytes),
        3 => any::<u8>().prop_map(|byte| format!("%{byte:02x}").into_bytes()),
        3 => any::<char>().prop_map(|char| char.to_string().into_bytes()),
        2 => Just(b"/".to_vec()),
        1 => "[ -~]".prop_map(String::into_bytes),
        1 => Just(b"%c3%A9".to_vec()),
    ];
    vec(piece, 0..8).prop_map(|pieces| [b"/".to_vec(), pieces.concat()].concat())
}

proptest! {
    #[test]
    fn a_normalised_path_normalises_to_itself_without_allocation(source in source()) {
        if let Ok(path) = normalise_path(&source) {
            prop_assert!(matches!(normalise_path(path.as_bytes()), Ok(Cow::Borrowed(same)) if same == path));
        }
    }

    #[test]
    fn a_normalised_path_is_ascii_without_dot_segments_or_repeated_slashes(source in source()) {
        if let Ok(path) = normalise_path(&source) {
            prop_assert!(path.is_ascii() && path.starts_with('/') && !path.contains("//"));
            prop_assert!(!path.contains(['?', '#', '\\', ' ']));
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }

    #[test]
    fn slashes_queries_and_escaped_letters_do_not_change_the_outcome(source in source(), slashes in 1..4usize) {
        let cut = source.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(source.len());
        let mut respelled = b"/".repeat(slashes);
        // An escape keeps its digits; every other letter is written as an escape.
        let mut digits = 0;
        for byte in &source[..cut] {
            match byte {
                b'%' => { digits = 2; respelled.push(b'%'); }
                _ if digits > 0 => { digits -= 1; respelled.push(byte.to_ascii_lowercase()); }
                b'/' => respelled.extend(b"//"),
                _ if byte.is_ascii_alphanumeric() => respelled.extend(format!("%{byte:02x}").bytes()),
                _ => respelled.push(*byte),
            }
        }
        respelled.extend(b"?x=%zz");
        // A broken escape may become another one by this rewriting; only sound paths are compared.
        if let Ok(path) = normalise_path(&source) {
            prop_assert_eq!(normalise_path(&respelled), Ok(path));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(source in vec(any::<u8>(), 0..64)) {
        let _ = normalise_path(&source);
        let _ = normalise_path(&[b"/", &source[..]].concat());
    }
}

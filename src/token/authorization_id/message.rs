//! What is signed, as bytes.
//!
//! ```text
//! 1         version
//! 1         flags: what follows
//! 16        UUIDv7
//! 1..=10    key
//!           the key's charge: generation, time, tokens
//!           the owner's: his id, generation, time, tokens
//!           the caller's id of the request: 16 bytes of a UUID, or text to the end
//! ```
//!
//! Numbers are LEB128 and as short as they can be; a negative one is taken as the unsigned number with its bits. Times
//! are differences in microseconds to the UUID's, with the sign in the lowest bit: three bytes up to a second.
//! A request id that is a UUID in its usual spelling is packed, so that it fits into SHA-256's first block as well.
//!
//! Reading takes what writing makes, and nothing else.

use uuid::{Uuid, Variant};

use super::{Authorization, BYTES_MAX, Charge, Charges, OwnerCharge, TAG_BYTES, Verified};

const VERSION: u8 = 1;
/// Where the flags are.
const FLAGS_AT: usize = 1;

const RESERVED: u8 = 1;
const KEY_CHARGED: u8 = 1 << 1;
const OWNER_CHARGED: u8 = 1 << 2;
const REQUEST_ID_TEXT: u8 = 1 << 3;
const REQUEST_ID_UUID: u8 = 1 << 4;

/// The longest id of a request that is carried.
const REQUEST_ID_MAX: usize = 128;
/// Characters of a UUID with hyphens.
const UUID_CHARS: usize = 36;
/// A message has room for its tag left.
const MESSAGE_MAX: usize = BYTES_MAX - TAG_BYTES;
/// Seven bits a byte.
const NUMBER_BYTES_MAX: usize = 10;
/// All but text fits, whatever the numbers are.
const _: () = assert!(2 + 16 + NUMBER_BYTES_MAX * (1 + 3 + 4) + 16 <= MESSAGE_MAX);

/// Milliseconds since 1970 in a UUIDv7; less than 2⁴⁸.
pub(super) fn unix_millis(id: Uuid) -> i64 {
    let (high, _) = id.as_u64_pair();
    (high >> 16).cast_signed()
}

/// A message, and later its tag, on the stack. It is filled in its place, since moving it would cost as much again.
pub(super) struct Message {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl Message {
    pub(super) const EMPTY: Self = Self { bytes: [0; BYTES_MAX], len: 0 };

    /// Writes the whole of it, into an empty one.
    pub(super) fn write(&mut self, authorization: &Authorization, request_id: &str) {
        let Authorization { id, key_id, is_reserved, charges: Charges { key, owner } } = authorization;
        let made = unix_millis(*id) * 1000;
        let mut flags = if *is_reserved { RESERVED } else { 0 };
        self.put(&[VERSION, flags]);
        self.put(id.as_bytes());
        self.number(key_id.cast_unsigned());
        if let Some(charge) = key {
            flags |= KEY_CHARGED;
            self.charge(charge, made);
        }
        if let Some(OwnerCharge { user_id, charge }) = owner {
            flags |= OWNER_CHARGED;
            self.number(user_id.cast_unsigned());
            self.charge(charge, made);
        }
        flags |= self.request_id(request_id);
        if let Some(place) = self.bytes.get_mut(FLAGS_AT) {
            *place = flags;
        }
    }

    /// What has been written.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Puts the first bytes of its HMAC behind it.
    pub(super) fn seal(&mut self, hmac: &[u8]) {
        self.put(hmac.get(..TAG_BYTES).unwrap_or_default());
    }

    /// There is room: see above for a message, and [`MESSAGE_MAX`] for its tag.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn number(&mut self, number: u64) {
        let mut rest = number;
        while rest >= 0x80 {
            self.byte(low_bits(rest) | 0x80);
            rest >>= 7;
        }
        self.byte(low_bits(rest));
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn charge(&mut self, charge: &Charge, made: i64) {
        let Charge { generation, at_micros, tokens } = *charge;
        self.number(generation.cast_unsigned());
        let later = at_micros.wrapping_sub(made);
        self.number(((later << 1) ^ (later >> 63)).cast_unsigned());
        self.number(tokens.cast_unsigned());
    }

    /// Writes it where it fits. Its flag.
    fn request_id(&mut self, request_id: &str) -> u8 {
        let room = MESSAGE_MAX.saturating_sub(self.len).min(REQUEST_ID_MAX);
        if let Some(packed) = usual_uuid(request_id) {
            self.put(packed.as_bytes());
            REQUEST_ID_UUID
        } else if (1..=room).contains(&request_id.len()) {
            self.put(request_id.as_bytes());
            REQUEST_ID_TEXT
        } else {
            0
        }
    }
}

fn low_bits(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7f
}

/// The UUID that is spelled like this by whoever spells it, and not in capitals or without hyphens.
fn usual_uuid(text: &str) -> Option<Uuid> {
    if text.len() != UUID_CHARS || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

/// What a message says; `None` for one that was not written by [`Message::write`].
pub(super) fn read(message: &[u8]) -> Option<Verified> {
    let mut reader = Reader(message);
    let [version, flags] = reader.take()?;
    let known = RESERVED | KEY_CHARGED | OWNER_CHARGED | REQUEST_ID_TEXT | REQUEST_ID_UUID;
    if version != VERSION || flags & !known != 0 {
        return None;
    }
    let id = Uuid::from_bytes(reader.take()?);
    if id.get_version_num() != 7 || id.get_variant() != Variant::RFC4122 {
        return None;
    }
    let made = unix_millis(id) * 1000;
    let key_id = reader.number()?.cast_signed();
    let key = if flags & KEY_CHARGED == 0 { None } else { Some(reader.charge(made)?) };
    let owner = if flags & OWNER_CHARGED == 0 {
        None
    } else {
        let user_id = reader.number()?.cast_signed();
        Some(OwnerCharge { user_id, charge: reader.charge(made)? })
    };
    let request_id = reader.request_id(flags)?;
    let is_reserved = flags & RESERVED != 0;
    let authorization = Authorization { id, key_id, is_reserved, charges: Charges { key, owner } };
    Some(Verified { authorization, request_id })
}

/// What is still to be read.
struct Reader<'m>(&'m [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.take()?;
            let low = u64::from(byte & 0x7f);
            let shifted = low << shift;
            if shifted >> shift != low {
                return None;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(number);
            }
        }
        None
    }

    fn charge(&mut self, made: i64) -> Option<Charge> {
        let generation = self.number()?.cast_signed();
        let folded = self.number()?;
        let later = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        let tokens = self.number()?.cast_signed();
        Some(Charge { generation, at_micros: made.wrapping_add(later), tokens })
    }

    /// The rest, all of which is the request id.
    fn request_id(self, flags: u8) -> Option<Option<String>> {
        match flags & (REQUEST_ID_TEXT | REQUEST_ID_UUID) {
            0 => self.0.is_empty().then_some(None),
            REQUEST_ID_UUID => Some(Some(Uuid::from_slice(self.0).ok()?.to_string())),
            REQUEST_ID_TEXT => {
                let text = std::str::from_utf8(self.0).ok()?;
                let is_text = (1..=REQUEST_ID_MAX).contains(&text.len()) && usual_uuid(text).is_none();
                is_text.then(|| Some(text.to_owned()))
            }
            _ => None,
        }
    }
}

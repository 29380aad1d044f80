//! Known answers come from Python (`hmac`, `base64`, `uuid`).

use std::collections::HashSet;
use std::ops::Range;
use std::thread;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::token::PepperId;

/// Milliseconds since 1970: 1729340935470.
const ID: &str = "0192a4c0-8d2e-7b31-9f00-0123456789ab";
const MADE_MICROS: i64 = 1_729_340_935_470_000;
const SMALLEST: &str = "AQABkqTAjS57MZ8AASNFZ4mrB6hpArGzNENMaGLLteUj9kw";
const WITH_TEXT: &str = "AQ8BkqTAjS57MZ8AASNFZ4mrwYQ9A5_CHrAJKqwCIrAJcmVxXzGJpODg8ArTR7iEZhXQTRxq";
const WITH_UUID: &str =
    "ARcBkqTAjS57MZ8AASNFZ4mrwYQ9A5_CHrAJKqwCIrAJTwxvDopeTRybei8bbw6KXlGRBj6JE4hFKh6bVMekyx0";
const REQUEST_UUID: &str = "4f0c6f0e-8a5e-4d1c-9b7a-2f1b6f0e8a5e";
/// As many bytes of a message as SHA-256 takes in one block.
const BLOCK: usize = 55;

fn pepper(id: &str, first: u8) -> Pepper {
    let secret: Vec<u8> = (first..first + 32).collect();
    Pepper::new(PepperId::parse(id).unwrap(), &secret).unwrap()
}

fn ids() -> AuthorizationIds {
    AuthorizationIds::new(&Peppers::new(pepper("a", 0), Vec::new()).unwrap())
}

fn smallest() -> Authorization {
    Authorization {
        id: Uuid::try_parse(ID).unwrap(),
        key_id: 7,
        is_reserved: false,
        charges: Charges::default(),
    }
}

fn usual() -> Authorization {
    let key = Charge { generation: 3, at_micros: MADE_MICROS - 250_000, tokens: 1200 };
    let charge = Charge { generation: 300, at_micros: MADE_MICROS + 17, tokens: 1200 };
    let owner = OwnerCharge { user_id: 42, charge };
    let charges = Charges { key: Some(key), owner: Some(owner) };
    Authorization { key_id: 1_000_001, is_reserved: true, charges, ..smallest() }
}

/// Takes the most room.
fn extreme() -> Authorization {
    let charge = Charge { generation: -1, at_micros: MADE_MICROS.wrapping_add(i64::MIN), tokens: i64::MIN };
    let charges = Charges { key: Some(charge), owner: Some(OwnerCharge { user_id: -1, charge }) };
    Authorization { key_id: -1, charges, ..usual() }
}

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(|it| Uuid::from_u128(it & !(0xf << 76) & !(3 << 62) | (7 << 76) | (2 << 62)))
}

/// Small ones as often as any.
fn number() -> impl Strategy<Value = i64> {
    (any::<i64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

fn charge() -> impl Strategy<Value = Charge> {
    (number(), prop_oneof![number(), number().prop_map(|it| it.wrapping_add(MADE_MICROS))], number())
        .prop_map(|(generation, at_micros, tokens)| Charge { generation, at_micros, tokens })
}

fn authorization() -> impl Strategy<Value = Authorization> {
    let owner = (number(), charge()).prop_map(|(user_id, charge)| OwnerCharge { user_id, charge });
    let charges = (option::of(charge()), option::of(owner)).prop_map(|(key, owner)| Charges { key, owner });
    (id(), number(), any::<bool>(), charges).prop_map(|(id, key_id, is_reserved, charges)| Authorization {
        id,
        key_id,
        is_reserved,
        charges,
    })
}

fn request_id(len: Range<usize>) -> impl Strategy<Value = String> {
    prop_oneof![
        vec("[ -~äλ]", len).prop_map(|letters| letters.concat()),
        any::<u128>().prop_map(|random| Uuid::from_u128(random).to_string()),
        any::<u128>().prop_map(|random| Uuid::from_u128(random).to_string().to_uppercase()),
        any::<u128>().prop_map(|random| Uuid::from_u128(random).simple().to_string()),
        Just(String::new()),
    ]
}

fn written(authorization: &Authorization, request_id: &str) -> Vec<u8> {
    let mut message = Message::EMPTY;
    message.write(authorization, request_id);
    message.as_bytes().to_vec()
}

#[test]
fn the_texts_are_known() {
    let texts =
        [(smallest(), "", SMALLEST), (usual(), "req_1", WITH_TEXT), (usual(), REQUEST_UUID, WITH_UUID)];
    for (authorization, request_id, text) in texts {
        assert_eq!(ids().sign(&authorization, request_id), text);
        let request_id = Some(request_id.to_owned()).filter(|it| !it.is_empty());
        assert_eq!(ids().verify(text), Ok(Verified { authorization, request_id }));
    }
}

#[test]
fn what_is_usual_is_one_block() {
    assert!(written(&usual(), REQUEST_UUID).len() <= BLOCK);
    let key_id = 200_000_000;
    let charges = Charges { key: usual().charges.key, owner: None };
    assert!(written(&Authorization { key_id, charges, ..usual() }, "chatcmpl-9f3a51c2d7").len() <= BLOCK);
}

#[test]
fn the_time_is_that_of_the_id() {
    assert_eq!(usual().made_at().timestamp_micros(), MADE_MICROS);
    assert_eq!(Authorization { id: Uuid::max(), ..usual() }.made_at().timestamp_millis(), (1 << 48) - 1);
    assert_eq!(Authorization { id: Uuid::nil(), ..usual() }.made_at(), DateTime::UNIX_EPOCH);
}

#[test]
fn charges_are_told_with_the_key_first() {
    let charges = usual().charges;
    let (key, owner) = (charges.key.unwrap(), charges.owner.unwrap());
    assert!(charges.iter().eq([(None, key), (Some(42), owner.charge)]));
    assert!(Charges { key: None, ..charges }.iter().eq([(Some(42), owner.charge)]));
    assert!(!charges.is_empty() && !Charges { key: None, ..charges }.is_empty());
    assert!(Charges::default().is_empty() && Charges::default().iter().next().is_none());
}

#[test]
fn a_request_id_that_does_not_fit_is_left_out() {
    for (authorization, fits) in [(smallest(), 128), (usual(), 128), (extreme(), 78)] {
        for len in 1..=200 {
            let text = ids().sign(&authorization, &"x".repeat(len));
            assert!(text.len() <= AUTHORIZATION_ID_MAX);
            let request_id = (len <= fits).then(|| "x".repeat(len));
            assert_eq!(ids().verify(&text), Ok(Verified { authorization, request_id }), "{len}");
        }
    }
    assert_eq!(ids().sign(&extreme(), &"x".repeat(78)).len(), AUTHORIZATION_ID_MAX);
}

#[test]
fn a_uuid_in_another_spelling_comes_back_as_it_was() {
    let simple = REQUEST_UUID.replace('-', "");
    let spellings = [&REQUEST_UUID.to_uppercase(), &simple, &format!("{{{REQUEST_UUID}}}"), &"-".repeat(36)];
    for spelling in spellings {
        let verified = ids().verify(ids().sign(&usual(), spelling)).unwrap();
        assert_eq!(verified.request_id.as_ref(), Some(spelling));
    }
}

#[test]
fn every_changed_bit_is_refused() {
    for text in [SMALLEST, WITH_TEXT, WITH_UUID, &ids().sign(&extreme(), &"x".repeat(78))] {
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ids().verify(&bytes), Err(InvalidAuthorizationId), "bit {bit} of {text}");
        }
        // Behind base64, where several spellings could stand for the same bytes.
        let message = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        for bit in 0..message.len() * 8 {
            let mut bytes = message.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = BASE64_URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(ids().verify(&changed), Err(InvalidAuthorizationId), "bit {bit} behind {text}");
        }
    }
}

#[test]
fn a_text_that_is_cut_or_longer_is_refused() {
    for text in [SMALLEST, WITH_TEXT, WITH_UUID] {
        for len in 0..text.len() {
            assert_eq!(ids().verify(&text.as_bytes()[..len]), Err(InvalidAuthorizationId), "{len} of {text}");
        }
        for more in ["A", "AA", "AAAA", "=", "==", "\n", " ", "\0"] {
            assert_eq!(ids().verify(format!("{text}{more}")), Err(InvalidAuthorizationId), "{more:?}");
            assert_eq!(ids().verify(format!("{more}{text}")), Err(InvalidAuthorizationId), "{more:?}");
        }
        assert_eq!(ids().verify(text.repeat(100)), Err(InvalidAuthorizationId));
    }
    assert_eq!(ids().verify("A".repeat(1 << 20)), Err(InvalidAuthorizationId));
}

#[test]
fn one_of_another_pepper_is_refused_and_of_a_rotated_one_accepted() {
    let of = |current, accepted| AuthorizationIds::new(&Peppers::new(current, accepted).unwrap());
    let rotated = of(pepper("b", 1), vec![pepper("c", 2), pepper("a", 0)]);
    assert!(rotated.verify(WITH_TEXT).is_ok());
    let text = rotated.sign(&usual(), "req_1");
    assert_ne!(text, WITH_TEXT);
    assert_eq!(ids().verify(&text), Err(InvalidAuthorizationId));
    assert_eq!(of(pepper("a", 0), vec![pepper("b", 1)]).verify(&text), rotated.verify(WITH_TEXT));
    assert_eq!(of(pepper("b", 1), vec![pepper("c", 2)]).verify(WITH_TEXT), Err(InvalidAuthorizationId));
}

/// Nobody gets one signed by presenting it as a token.
#[test]
fn a_digest_of_a_token_is_no_signature() {
    let message = written(&usual(), "");
    let digest = pepper("a", 0).digest(&message);
    let forged = [&message, &digest.as_bytes()[..TAG_BYTES]].concat();
    let signed = BASE64_URL_SAFE_NO_PAD.decode(ids().sign(&usual(), "")).unwrap();
    assert_eq!(forged.len(), signed.len());
    assert_eq!(ids().verify(BASE64_URL_SAFE_NO_PAD.encode(forged)), Err(InvalidAuthorizationId));
}

#[test]
fn a_message_in_another_form_is_not_read() {
    let head = |version: u8, flags: u8, rest: &[u8]| {
        [&[version, flags], Uuid::try_parse(ID).unwrap().as_bytes().as_slice(), rest].concat()
    };
    let text = |len: usize| [&[7], "x".repeat(len).as_bytes()].concat();
    let uuid = [&[7], Uuid::try_parse(REQUEST_UUID).unwrap().as_bytes().as_slice()].concat();
    let another_variant = Uuid::from_u128(smallest().id.as_u128() | (3 << 62));
    let reads = |message: &[u8]| message::read(message).is_some();
    for message in [head(1, 0, &[7]), head(1, 8, &text(1)), head(1, 8, &text(128)), head(1, 16, &uuid)] {
        assert!(reads(&message));
    }
    assert!(reads(&head(1, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])));
    for (message, what) in [
        (head(0, 0, &[7]), "version 0"),
        (head(2, 0, &[7]), "version 2"),
        (head(1, 32, &[7]), "a flag that is not known"),
        (head(1, 128, &[7]), "the last flag"),
        (head(1, 0, &[]), "no key"),
        (head(1, 0, &[7, 0]), "more behind it"),
        (head(1, 0, &[0x87, 0]), "a number with a zero too many"),
        (head(1, 0, &[0x87]), "a number that is cut"),
        (head(1, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), "65 bits"),
        (head(1, 0, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81, 1]), "11 bytes"),
        (head(1, 2, &[7, 1, 1]), "a charge that is cut"),
        (head(1, 4, &[7, 1, 1, 1]), "an owner's charge without an owner"),
        (head(1, 8, &text(0)), "an empty text"),
        (head(1, 8, &text(129)), "a text that is too long"),
        (head(1, 8, &[7, 0xff]), "a text that is none"),
        (head(1, 8, &[&[7], REQUEST_UUID.as_bytes()].concat()), "a UUID as text"),
        (head(1, 16, &uuid[..16]), "a UUID that is cut"),
        (head(1, 16, &[&uuid[..], &[0]].concat()), "more behind a UUID"),
        (head(1, 24, &uuid), "text and UUID at once"),
        (written(&Authorization { id: Uuid::new_v4(), ..usual() }, ""), "a UUIDv4"),
        (written(&Authorization { id: another_variant, ..usual() }, ""), "a UUID of Microsoft's"),
        (written(&Authorization { id: Uuid::nil(), ..usual() }, ""), "the nil UUID"),
        (Vec::new(), "nothing"),
    ] {
        assert!(!reads(&message), "{what}");
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", ids()), "AuthorizationIds([REDACTED])");
}

#[test]
fn fresh_ids_have_their_time_and_ascend() {
    let now = smallest().made_at();
    let made: Vec<Uuid> = (0..2000).map(|_| fresh_id(now)).collect();
    assert!(made.is_sorted_by(|a, b| a < b));
    for id in &made {
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let authorization = Authorization { id: *id, ..usual() };
        assert_eq!(authorization.made_at(), now);
        assert_eq!(
            ids().verify(ids().sign(&authorization, "")).map(|it| it.authorization),
            Ok(authorization)
        );
    }
    let before = fresh_id(now - chrono::TimeDelta::milliseconds(1));
    assert!(before < made[0], "time went back");
    let authorization = Authorization { id: fresh_id(DateTime::<Utc>::MAX_UTC), ..usual() };
    assert_eq!(authorization.made_at().timestamp_millis(), (1 << 48) - 1);
    let authorization = Authorization { id: fresh_id(DateTime::<Utc>::MIN_UTC), ..usual() };
    assert_eq!(authorization.made_at(), DateTime::UNIX_EPOCH);
}

#[test]
fn fresh_ids_of_all_threads_and_of_one_time_again_differ() {
    let now = smallest().made_at();
    let make =
        |_| (0..20_000).map(|count| fresh_id(now + chrono::TimeDelta::milliseconds(count % 3))).collect();
    let made: Vec<Uuid> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|it| scope.spawn(move || -> Vec<Uuid> { make(it) })).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().collect::<HashSet<_>>().len(), 60_000);
}

proptest! {
    #[test]
    fn what_was_signed_is_read(authorization in authorization(), request_id in request_id(0..140)) {
        let text = ids().sign(&authorization, &request_id);
        prop_assert!(text.len() <= AUTHORIZATION_ID_MAX);
        prop_assert!(text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_'));
        let verified = ids().verify(&text).unwrap();
        prop_assert_eq!(verified.authorization, authorization);
        match verified.request_id {
            Some(carried) => prop_assert_eq!(carried, request_id),
            None => prop_assert!(request_id.is_empty() || request_id.len() > 78),
        }
    }

    #[test]
    fn any_other_bytes_are_refused(bytes in vec(any::<u8>(), 0..300), letters in "[A-Za-z0-9_-]{0,300}") {
        prop_assert_eq!(ids().verify(bytes), Err(InvalidAuthorizationId));
        prop_assert_eq!(ids().verify(letters), Err(InvalidAuthorizationId));
    }

    /// Were a message of another form ever signed, it would be refused still.
    #[test]
    fn what_is_read_would_be_written_like_this(
        authorization in authorization(),
        request_id in request_id(0..20),
        changes in vec((any::<prop::sample::Index>(), 0..3, any::<u8>()), 0..4),
    ) {
        let mut message = written(&authorization, &request_id);
        for (at, change, byte) in changes {
            let at = at.index(message.len());
            match change {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => { message.remove(at); }
            }
        }
        if let Some(Verified { authorization, request_id }) = message::read(&message) {
            prop_assert_eq!(written(&authorization, &request_id.unwrap_or_default()), message);
        }
    }
}

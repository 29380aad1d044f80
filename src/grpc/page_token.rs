//! Page tokens: opaque, and bound to the list that they continue.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::violations::Violations;

const LIST_BYTES: usize = 8;

/// Names a list: a page token of another list does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListName([u8; LIST_BYTES]);

impl ListName {
    /// The list that a filter and an order make; `order` also keeps lists of different things apart.
    #[must_use]
    pub fn of(filter: &impl Message, order: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(filter.encode_length_delimited_to_vec());
        hash.update(order.as_bytes());
        let hash = hash.finalize();
        let mut name = [0; LIST_BYTES];
        name.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Self(name)
    }
}

/// A token for the page after a place.
#[must_use]
pub fn write(list: ListName, place: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([list.0.as_slice(), place].concat())
}

/// The place that the page before ended with; `None` for a token that is not of this list.
#[must_use]
pub fn read(list: ListName, token: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (name, place) = bytes.split_at_checked(LIST_BYTES)?;
    (name == list.0).then(|| place.to_vec())
}

/// The place in the token of a request, where it has one; `parse` takes the place's bytes apart.
pub fn read_place<P>(
    violations: &mut Violations,
    list: ListName,
    token: &str,
    parse: impl Fn(&[u8]) -> Option<P>,
) -> Option<P> {
    if token.is_empty() {
        return None;
    }
    let place = read(list, token).and_then(|place| parse(&place));
    violations.require("page_token", place, "must be of the answer before, with the same filter and order")
}

/// A number of a place.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb::list_keys_request::Filter;

    #[test]
    fn a_token_continues_its_own_list_only() {
        let list = ListName::of(&Filter { tag: "a".into(), ..Filter::default() }, "key_id");
        let other = ListName::of(&Filter { tag: "b".into(), ..Filter::default() }, "key_id");
        let falling = ListName::of(&Filter { tag: "a".into(), ..Filter::default() }, "key_id desc");
        let place = 77_i64.to_be_bytes();
        let token = write(list, &place);
        assert_eq!(read(list, &token).as_deref().and_then(number), Some(77));
        assert_eq!(read(other, &token), None);
        assert_eq!(read(falling, &token), None);
        let headless: String = token.chars().skip(1).collect();
        for garbage in ["", "x", "!!!!", &headless] {
            assert_eq!(read(list, garbage), None, "{garbage:?}");
        }
        let longer = read(list, &format!("{token}AA"));
        assert_eq!(longer.as_deref().and_then(number), None);
    }
}

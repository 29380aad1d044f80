//! Page tokens: opaque, and bound to the list that they continue.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::policy::KeyId;

const LIST_BYTES: usize = 8;

/// Names a list: a page token of another list does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListName([u8; LIST_BYTES]);

impl ListName {
    /// The list that a filter and an order make.
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

/// A token for the page after a key.
#[must_use]
pub fn write(list: ListName, after: KeyId) -> String {
    URL_SAFE_NO_PAD.encode([list.0.as_slice(), &after.get().to_be_bytes()].concat())
}

/// The key that the page before ended with; `None` for a token that is not of this list.
#[must_use]
pub fn read(list: ListName, token: &str) -> Option<KeyId> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (name, id) = bytes.split_at_checked(LIST_BYTES)?;
    if name != list.0 {
        return None;
    }
    KeyId::new(i64::from_be_bytes(id.try_into().ok()?))
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
        let key = KeyId::new(77).unwrap();
        let token = write(list, key);
        assert_eq!(read(list, &token), Some(key));
        assert_eq!(read(other, &token), None);
        assert_eq!(read(falling, &token), None);
        let headless: String = token.chars().skip(1).collect();
        for garbage in ["", "x", "!!!!", &headless, &format!("{token}AA")] {
            assert_eq!(read(list, garbage), None, "{garbage:?}");
        }
    }
}

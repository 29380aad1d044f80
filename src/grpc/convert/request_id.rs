//! `request_id`: what makes a request safe to repeat.

use prost::Message;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::admin::RequestId;
use crate::grpc::violations::Violations;

/// 8-4-4-4-12 hexadecimal digits; other spellings of a UUID would be other ids to other readers.
const UUID_CHARS: usize = 36;

/// Takes the id out of a request, and the fingerprint of what is left of it; `None` where none is given.
pub fn take_request_id<M: Message>(
    violations: &mut Violations,
    request: &mut M,
    field: impl FnOnce(&mut M) -> &mut String,
) -> Option<RequestId> {
    let given = std::mem::take(field(request));
    if given.is_empty() {
        return None;
    }
    let id = Uuid::try_parse(&given).ok().filter(|id| given.len() == UUID_CHARS && !id.is_nil());
    let id = violations.require("request_id", id, "must be a UUID, and not the nil one")?;
    let fingerprint = Sha256::digest(request.encode_to_vec()).into();
    Some(RequestId { id, fingerprint })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb;

    const ID: &str = "6f1c2f6e-6d0f-4b3a-9a53-0d9f4f3b1a11";

    fn taken(mut request: pb::RotateKeyRequest) -> Option<RequestId> {
        let mut violations = Violations::default();
        take_request_id(&mut violations, &mut request, |request| &mut request.request_id)
    }

    fn rotate(key_id: i64, request_id: &str) -> pb::RotateKeyRequest {
        pb::RotateKeyRequest { key_id, request_id: request_id.into(), ..Default::default() }
    }

    #[test]
    fn the_fingerprint_is_of_the_request_and_not_of_its_id() {
        let one = taken(rotate(1, ID)).unwrap();
        assert_eq!(taken(rotate(1, &ID.to_uppercase())), Some(one), "hexadecimal digits have no case");
        let other_id = taken(rotate(1, "6f1c2f6e-6d0f-4b3a-9a53-0d9f4f3b1a12")).unwrap();
        assert_eq!(other_id.fingerprint, one.fingerprint);
        assert_ne!(other_id.id, one.id);
        assert_ne!(taken(rotate(2, ID)).unwrap().fingerprint, one.fingerprint);
        assert_eq!(taken(rotate(1, "")), None);
    }

    #[test]
    fn only_a_uuid_is_an_id() {
        let braced = format!("{{{ID}}}");
        let urn = format!("urn:uuid:{ID}");
        let simple = ID.replace('-', "");
        let nil = "00000000-0000-0000-0000-000000000000";
        for wrong in ["x", " ", &braced, &urn, &simple, nil, &format!("{ID} "), "6f1c2f6e"] {
            let mut violations = Violations::default();
            let id = take_request_id(&mut violations, &mut rotate(1, wrong), |it| &mut it.request_id);
            assert_eq!((id, violations.iter().count()), (None, 1), "{wrong}");
        }
    }
}

//! Tokens: what they look like, how they are recognised, and how they are proven.
//!
//! - [`Token`] and its format, and [`Presented`]: what a caller handed over, sorted into *own*, *foreign*
//!   and [`Malformed`] by its bytes alone. A mistyped own token is refused here, before any shared memory,
//!   database or bcrypt is touched.
//! - [`Digest`]: HMAC-SHA-256 of the token under a [`Pepper`], the fast way to a key's row.
//! - [`KeyHash`] and [`BcryptPool`]: bcrypt, the slow proof that survives a lost pepper, on bounded threads.
//! - [`AuthorizationIds`]: makes and reads the `authorization_id` of an ALLOW, which carries what was charged;
//!   [`fresh_id`] the UUIDv7 in it.
//! - [`os_rng`]: the one place that names the operating system's randomness for secrets.
//!
//! [`Presented::classify`] and [`Peppers::digest_current`] are on the path of every request and allocate
//! nothing. So are [`fresh_id`] and [`AuthorizationIds::sign`], which allocates the text that it gives.
//!
//! What does not belong here: looking keys up, deciding about them, and storing anything.

mod authorization_id;
mod base62;
mod bcrypt_pool;
mod digest;
mod format;
mod hash;
mod pepper;
mod pepper_file;
mod random;

pub use authorization_id::{
    AUTHORIZATION_ID_MAX, Authorization, AuthorizationIds, Charge, Charges, InvalidAuthorizationId,
    OwnerCharge, Verified, fresh_id,
};
pub use bcrypt_pool::{BcryptError, BcryptPool};
pub use digest::Digest;
pub use format::{Brand, InvalidBrand, Malformed, Presented, Token};
pub use hash::{BcryptCost, InvalidBcryptCost, InvalidKeyHash, KeyHash};
pub use pepper::{DuplicatePepperId, InvalidPepperId, Pepper, PepperId, PepperMark, PepperTooShort, Peppers};
pub use pepper_file::PepperFileError;
pub use random::os_rng;

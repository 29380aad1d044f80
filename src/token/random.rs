//! The operating system's randomness: the only place that names it.
//!
//! Whoever makes a secret takes the generator as a parameter, so that a test can script it; the program
//! passes [`os_rng`]. (bcrypt's salts, which are no secrets, come from the `bcrypt` crate.)

use rand::CryptoRng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

/// The operating system's generator (`getrandom`), with no state of its own in this process.
///
/// # Panics
/// A draw panics when the operating system has no randomness to give, which a running Linux or macOS does not
/// do. Going on without would make guessable secrets.
#[must_use]
pub fn os_rng() -> impl CryptoRng {
    UnwrapErr(SysRng)
}

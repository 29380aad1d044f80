//! The rule against an exact log of admissions: see `docs/limits-proof.md`.

//! (being written)

pub mod enclava;

//! The parts of `ank-fleet` that decide.

#![forbid(unsafe_code)]

pub mod inventory;
pub mod report;
pub mod selection;
mod vin;
pub mod waves;

pub use vin::{InvalidVin, Vin};

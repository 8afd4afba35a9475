//! The parts of `ank-fleet` that decide.

#![forbid(unsafe_code)]

pub mod inventory;
pub mod report;
pub mod rollout;
pub mod selection;
mod time;
mod vin;
pub mod waves;

pub use time::{InvalidTime, Time};
pub use vin::{InvalidVin, Vin};

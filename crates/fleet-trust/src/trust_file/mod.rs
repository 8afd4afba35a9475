//! The trust file: whose signatures a vehicle accepts, and what needs them.

mod file;
mod mistake;
mod read;
mod role;

#[cfg(test)]
mod tests;

pub use file::{DEFAULT_REQUIRE, MAX_TRUST_FILE, TrustFile};
pub use mistake::Mistake;
pub use role::{Keyring, NamedKey, Role, TRUST_UPDATE};

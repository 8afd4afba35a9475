//! Signed requests of a fleet.

#![forbid(unsafe_code)]

mod bundle;
mod hex;
mod key;
mod open;
mod recognize;
mod refusal;
mod serials;
mod sshsig;
mod statement;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod trust_file;

pub use bundle::{Bundle, MAX_SIGNATURE, MAX_SIGNATURES, PAYLOAD_TYPE};
pub use key::{KeyId, PublicKey};
pub use open::{Opened, Purpose, TRUST_UPDATE, open, open_update, sha256};
pub use recognize::is_bundle;
pub use refusal::{Reason, Refusal};
pub use serials::{Change, MAX_ITEMS, Serial, Serials};
pub use statement::{MAX_SERIAL, MAX_STATEMENT, MAX_VALIDITY, STATEMENT_TYPE, Statement, Vehicles};
pub use time::TimeFloor;
pub use trust_file::{
    DEFAULT_REQUIRE, Keyring, MAX_TRUST_FILE, Mistake, NamedKey, Role, TrustFile,
};

/// The namespace of the signatures: `ssh-keygen -Y sign -n fleet-connector/v1`.
pub const NAMESPACE: &str = "fleet-connector/v1";

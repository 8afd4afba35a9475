//! Signed requests: with a trust file, the vehicle does only what enough key holders have signed.
//!
//! ```text
//!  file      TRUST_FILE, read at the start and when it changes
//!  clock     the time by which signed requests are judged
//!  scope     what a request touches: the items whose serials count
//!  state     decides: which trust file is in force, which serials are accepted
//!  keeper    the task that owns the state, looks at TRUST_FILE, and writes to the store
//!   └ handle   how operations open signed requests and have them admitted
//!  store     what the keeper needs of the store; `revisions` implements it
//! ```
//!
//! ```text
//!  Operations ─► Trust::open ─► (signatures, statement, payload) ─► the operation
//!                                     Trust::admit ─► keeper ─► serials on the disk ─► the update
//! ```
//!
//! How signatures and statements are verified is in the crate `fleet-trust`.

mod clock;
mod file;
mod handle;
mod keeper;
mod scope;
mod state;
mod store;

pub(crate) use fleet_trust::is_bundle;

pub(crate) use file::TrustSource;
pub(crate) use handle::{Admission, Opened, Signed, Trust, TrustStatus, Unsigned, not_configured};
pub(crate) use keeper::keep;
pub(crate) use scope::Scope;
pub(crate) use store::{StoredTrust, TrustStore};

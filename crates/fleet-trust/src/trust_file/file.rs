//! What a trust file says.

use std::collections::BTreeSet;

use super::role::{Keyring, Role, TRUST_UPDATE};

/// Maximum size of a trust file, in bytes.
pub const MAX_TRUST_FILE: usize = 64 * 1024;

/// The operations that need a signature if the trust file has no `require`: all that change the
/// vehicle.
pub const DEFAULT_REQUIRE: [&str; 4] =
    ["manifest/apply", "manifest/delete", "manifest/rollback", "state/update"];

/// A trust file without mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFile {
    pub(super) fleet: String,
    pub(super) version: u64,
    pub(super) min_serial: u64,
    pub(super) require: BTreeSet<String>,
    pub(super) root: Keyring,
    pub(super) release: Keyring,
}

impl TrustFile {
    /// The fleet of the vehicle.
    #[must_use]
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// The version, from 1. Each new file has the next one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The smallest serial that is accepted.
    #[must_use]
    pub fn min_serial(&self) -> u64 {
        self.min_serial
    }

    /// The operations that need a signature, sorted.
    pub fn require(&self) -> impl Iterator<Item = &str> {
        self.require.iter().map(String::as_str)
    }

    /// Whether the operation is refused without a signature. [`TRUST_UPDATE`] always is.
    #[must_use]
    pub fn requires(&self, operation: &str) -> bool {
        operation == TRUST_UPDATE || self.require.contains(operation)
    }

    /// The keys of a role.
    #[must_use]
    pub fn keyring(&self, role: Role) -> &Keyring {
        match role {
            Role::Root => &self.root,
            Role::Release => &self.release,
        }
    }
}

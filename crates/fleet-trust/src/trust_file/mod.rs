//! The trust file: whose signatures a vehicle accepts, and what needs them.

mod mistake;
mod node;
mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

pub use mistake::Mistake;

use crate::key::{KeyId, PublicKey};
use crate::open::TRUST_UPDATE;

/// Maximum size of a trust file, in bytes.
pub const MAX_TRUST_FILE: usize = 64 * 1024;

/// The operations that need a signature if the trust file has no `require`: all that change the
/// vehicle.
pub const DEFAULT_REQUIRE: [&str; 4] =
    ["manifest/apply", "manifest/delete", "manifest/rollback", "state/update"];

/// A role: what its keys may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signs trust files.
    Root,
    /// Signs all other operations.
    Release,
}

impl Role {
    /// The role that signs an operation.
    #[must_use]
    pub fn of(operation: &str) -> Self {
        if operation == TRUST_UPDATE { Self::Root } else { Self::Release }
    }

    /// The name in trust files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The keys of a role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    role: Role,
    threshold: usize,
    keys: Vec<NamedKey>,
}

/// A key of a trust file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// The key.
    pub key: PublicKey,
    /// The comment of its line, usually who has it. May be empty.
    pub comment: String,
}

impl Keyring {
    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// How many different keys must sign, from 1 to the number of keys.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[NamedKey] {
        &self.keys
    }

    /// The key with a fingerprint.
    pub(crate) fn find(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.iter().map(|named| &named.key).find(|key| key.id() == id)
    }
}

/// A trust file without mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFile {
    fleet: String,
    version: u64,
    min_serial: u64,
    require: BTreeSet<String>,
    root: Keyring,
    release: Keyring,
}

impl TrustFile {
    /// Parses a trust file in YAML or JSON. `operations` are the names that `require` may have.
    ///
    /// # Errors
    /// All mistakes, sorted by position; never empty.
    pub fn parse(text: &[u8], operations: &[&str]) -> Result<Self, Vec<Mistake>> {
        read::trust_file(text, operations)
    }

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

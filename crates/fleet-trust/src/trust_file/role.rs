//! Roles: who may sign what.

use std::fmt;

use crate::key::{KeyId, PublicKey};

/// The operation that replaces the trust file. Only the role root can sign it.
pub const TRUST_UPDATE: &str = "trust/update";

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
    pub(super) role: Role,
    pub(super) threshold: usize,
    pub(super) keys: Vec<NamedKey>,
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

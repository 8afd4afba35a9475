//! The serials of signed requests, as far as revisions know them.

use serde::{Deserialize, Serialize};

/// The signatures of the request that has made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OriginSignature {
    pub serial: RequestSerial,
    /// The fingerprints of the keys.
    pub signed_by: Vec<String>,
}

/// The serial of a signed request. Two requests with the same one are the same if their digests are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestSerial {
    pub serial: u64,
    /// The SHA-256 hash of its statement, in hexadecimal digits.
    pub digest: String,
}

impl RequestSerial {
    /// The higher one of two.
    pub(super) fn higher(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.serial > one.serial { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    /// Whether this request is older than `floor`, or another one with the same serial.
    pub(super) fn is_before(&self, floor: &Self) -> bool {
        self.serial < floor.serial || (self.serial == floor.serial && self.digest != floor.digest)
    }
}

//! VINs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fleet_contract::topics::is_vin;
use serde::{Deserialize, Serialize};

/// The name of a vehicle: 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Vin(Arc<str>);

/// The error for text that is not a [`Vin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid VIN; use 1 to 64 of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidVin(String);

impl Vin {
    /// The text of the VIN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Vin {
    type Err = InvalidVin;

    fn from_str(text: &str) -> Result<Self, InvalidVin> {
        if is_vin(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidVin(text.chars().take(65).collect()))
        }
    }
}

impl TryFrom<String> for Vin {
    type Error = InvalidVin;

    fn try_from(text: String) -> Result<Self, InvalidVin> {
        text.parse()
    }
}

impl From<Vin> for String {
    fn from(vin: Vin) -> Self {
        vin.as_str().to_owned()
    }
}

impl fmt::Display for Vin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

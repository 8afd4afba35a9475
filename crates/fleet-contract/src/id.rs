//! Ids of subscriptions.

use std::fmt;

use ankaios_model::is_name;
use serde::{Deserialize, Serialize};

/// Maximum length of the id of a subscription, in characters.
const MAX_ID: usize = 63;

/// The id of a subscription: 1 to 63 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SubscriptionId(String);

/// The error for text that is not a [`SubscriptionId`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a valid id; use 1 to {MAX_ID} of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidId(String);

impl TryFrom<String> for SubscriptionId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        if !is_name(&id) {
            return Err(InvalidId(id.chars().take(MAX_ID + 1).collect()));
        }
        Ok(Self(id))
    }
}

impl SubscriptionId {
    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_topic_levels() {
        for id in ["a", "A-1_b", &"x".repeat(63)] {
            assert!(SubscriptionId::try_from(id.to_owned()).is_ok(), "{id}");
        }
        for id in ["", "a/b", "+", "a b", "ü", &"x".repeat(64)] {
            assert!(SubscriptionId::try_from(id.to_owned()).is_err(), "{id}");
        }
    }
}

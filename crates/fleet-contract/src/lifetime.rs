//! Lifetimes of subscriptions.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The lifetime of a subscription whose request has no `ttl`.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// The lifetime of a subscription: a duration, or unlimited (`0s`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Option<String>", into = "String")]
pub struct Lifetime(Option<Duration>);

impl Default for Lifetime {
    fn default() -> Self {
        Self(Some(DEFAULT_TTL))
    }
}

impl Lifetime {
    /// The duration; `None` if it is unlimited.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        self.0
    }
}

impl TryFrom<Option<String>> for Lifetime {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, String> {
        /// With a longer one, the end could be after the last date of RFC 3339.
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let Some(text) = text else { return Ok(Self::default()) };
        let ttl = humantime::parse_duration(&text).map_err(|error| {
            format!("{text:?}: {error}; write it as 30s, 10m or 24h, or 0s to never expire")
        })?;
        if ttl > LONGEST {
            return Err(format!("{text:?} is more than 100 years; write 0s to never expire"));
        }
        Ok(Self(Some(ttl).filter(|ttl| !ttl.is_zero())))
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0.unwrap_or_default()).fmt(formatter)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_a_duration_and_zero_is_unlimited() {
        let ttl = |ttl: Option<&str>| Lifetime::try_from(ttl.map(str::to_owned));
        assert_eq!(ttl(None).unwrap().0, Some(DEFAULT_TTL));
        assert_eq!(ttl(Some("0s")).unwrap().0, None);
        assert_eq!(ttl(Some("90s")).unwrap().0, Some(Duration::from_secs(90)));
        for wrong in ["", "-1s", "soon", "1", "10000years"] {
            assert!(ttl(Some(wrong)).is_err(), "{wrong}");
        }
    }
}

//! Limits of failures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::share::{InvalidShare, Share};

/// How many vehicles of a wave may fail: a number, or a percentage of those attempted, rounded
/// down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit(Share);

impl Limit {
    /// 2 %, the default for failures.
    pub const DEFAULT: Self = Self(Share::percent(2));

    /// No limit.
    pub const NONE: Self = Self(Share::ALL);

    /// How many of so many vehicles may fail.
    #[must_use]
    pub fn of(self, attempted: usize) -> usize {
        self.0.rounded_down(attempted)
    }
}

impl FromStr for Limit {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Limit {
    type Error = InvalidShare;

    fn try_from(text: String) -> Result<Self, InvalidShare> {
        text.parse()
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> Self {
        limit.to_string()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_down() {
        assert_eq!(Limit::DEFAULT.of(460), 9);
        assert_eq!(Limit::DEFAULT.of(49), 0);
        assert_eq!(Limit::NONE.of(7), 7);
        assert_eq!("3".parse::<Limit>().unwrap().of(1), 3);
        assert!("120%".parse::<Limit>().is_err());
    }
}

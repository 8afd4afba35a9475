//! Rates: how many vehicles are started per time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many vehicles per second, minute or hour: `200/m`. They are spread evenly over the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    count: u32,
    per: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
        }
    }

    fn time(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3600),
        }
    }
}

/// The error for text that is not a [`Rate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rate; write a number from 1 to 1000000 and /s, /m or /h, for example 200/m"
)]
pub struct InvalidRate(String);

impl Rate {
    /// The time between two starts.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per.time() / self.count
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let parse = || {
            let (count, unit) = text.split_once('/')?;
            let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
            let count =
                count.parse().ok().filter(|it| is_number && (1..=1_000_000).contains(it))?;
            let per = match unit {
                "s" => Unit::Second,
                "m" => Unit::Minute,
                "h" => Unit::Hour,
                _ => return None,
            };
            Some(Self { count, per })
        };
        parse().ok_or_else(|| InvalidRate(text.chars().take(30).collect()))
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, self.per.letter())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_per_time() {
        let rate: Rate = "200/m".parse().unwrap();
        assert_eq!(
            (rate.interval(), rate.to_string().as_str()),
            (Duration::from_millis(300), "200/m")
        );
        assert_eq!("10/s".parse::<Rate>().unwrap().interval(), Duration::from_millis(100));
        for text in ["", "200", "0/m", "200/d", "+1/m", "-1/m", "1.5/s", "/m", "1/m/m"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}

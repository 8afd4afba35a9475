//! A number of vehicles, or a percentage of them.

use std::fmt;
use std::str::FromStr;

/// A number of vehicles, or a percentage of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// So many vehicles.
    Count(usize),
    /// A percentage, in thousandths of a percent.
    Percent(u32),
}

/// Thousandths of a percent in the whole.
const WHOLE: u32 = 100_000;

/// The error for text that is not a [`Share`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShare {
    /// It is neither a number nor a percentage.
    #[error("{0:?} is neither a number of vehicles nor a percentage, for example 20 or 5%")]
    Unreadable(String),
    /// It is more than the whole.
    #[error("{0:?} is more than 100%")]
    TooMuch(String),
}

impl Share {
    /// 100 %.
    pub const ALL: Self = Self::Percent(WHOLE);

    /// So many percent.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self::Percent(percent * 1000)
    }

    /// The number of vehicles, rounded up.
    #[must_use]
    pub fn rounded_up(self, total: usize) -> usize {
        self.of(total, WHOLE as u64 - 1)
    }

    /// The number of vehicles, rounded down.
    #[must_use]
    pub fn rounded_down(self, total: usize) -> usize {
        self.of(total, 0)
    }

    fn of(self, total: usize, rest: u64) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(share) => {
                let share = (total as u64).saturating_mul(share.into()).saturating_add(rest);
                usize::try_from(share / u64::from(WHOLE)).unwrap_or(usize::MAX)
            }
        }
    }

    pub(super) fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }

    pub(super) fn has_kind_of(self, other: Self) -> bool {
        matches!(self, Self::Count(_)) == matches!(other, Self::Count(_))
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        let unreadable = || InvalidShare::Unreadable(text.chars().take(30).collect());
        let is_number = |text: &str| {
            (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| is_number(text));
        let Some(percent) = text.strip_suffix('%') else {
            return number(text).map(|count| Self::Count(count as usize)).ok_or_else(unreadable);
        };
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        if part.len() > 3 {
            return Err(unreadable());
        }
        let whole = number(whole).ok_or_else(unreadable)?;
        let part = number(&format!("{part:0<3}")).filter(|_| is_number(part));
        let part = part.ok_or_else(unreadable)?;
        let share = u64::from(whole) * 1000 + u64::from(part);
        match u32::try_from(share).ok().filter(|share| *share <= WHOLE) {
            Some(share) => Ok(Self::Percent(share)),
            None => Err(InvalidShare::TooMuch(text.to_owned())),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(formatter, "{count}"),
            Self::Percent(share) if share.is_multiple_of(1000) => {
                write!(formatter, "{}%", share / 1000)
            }
            Self::Percent(share) => {
                let part = format!("{:03}", share % 1000);
                write!(formatter, "{}.{}%", share / 1000, part.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_numbers_or_percentages() {
        for text in ["0", "17", "5%", "0.1%", "33.333%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["", "%", "-1", "+1", "1.5", "5 %", ".5%", "5.%", "0.0001%", "5%%", "1e3"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!(Share::percent(2).rounded_down(460), 9);
        assert_eq!(Share::percent(2).rounded_up(460), 10);
        assert_eq!(Share::Count(3).rounded_down(1), 3);
    }
}

//! Waves, limits and rates: how many vehicles a roll-out changes, and how fast.

mod limit;
mod rate;
mod share;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use limit::Limit;
pub use rate::Rate;
pub use share::{InvalidShare, Share};

/// With up to so many vehicles, all of them are one wave by default.
const SMALL_FLEET: usize = 10;

/// The waves of a roll-out, as the operator writes them: `1,5%,25%,100%`. Each is the number of
/// vehicles that are changed when the wave is over, those of earlier waves included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waves(Vec<Share>);

/// The error for text that is not a list of waves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WavesError {
    /// A part is neither a number nor a percentage.
    #[error("wave {wave}: {error}")]
    Invalid {
        /// The wave, from 1.
        wave: usize,
        /// What is wrong with it.
        error: InvalidShare,
    },
    /// A wave has no vehicles.
    #[error("wave {wave}: it has no vehicles; use at least 1")]
    Zero {
        /// The wave, from 1.
        wave: usize,
    },
    /// A wave is not larger than the one before it.
    #[error(
        "wave {wave}: {share} is not more than {before} before it; waves are cumulative, for \
         example 1,5%,25%,100%"
    )]
    NotGrowing {
        /// The wave, from 1.
        wave: usize,
        /// The wave as written.
        share: Share,
        /// The wave before it.
        before: Share,
    },
    /// The last wave leaves vehicles out.
    #[error("the last wave must be 100%, so that no vehicle is left out; it is {0}")]
    NotAll(Share),
    /// In a fleet of this size, a wave is smaller than the one before it.
    #[error(
        "wave {wave}: {share} of {total} vehicles are {size}, fewer than the {former} of the wave \
         before it"
    )]
    Shrinking {
        /// The wave, from 1.
        wave: usize,
        /// The wave as written.
        share: Share,
        /// The number of vehicles of the roll-out.
        total: usize,
        /// The number of vehicles up to this wave.
        size: usize,
        /// The number of vehicles up to the wave before it.
        former: usize,
    },
}

impl Waves {
    /// The waves of a roll-out to so many vehicles, if the operator has named none.
    #[must_use]
    pub fn default_for(vehicles: usize) -> Self {
        if vehicles <= SMALL_FLEET {
            return Self(vec![Share::ALL]);
        }
        Self(vec![Share::Count(1), Share::percent(5), Share::percent(25), Share::ALL])
    }

    /// The cumulative numbers of vehicles, each larger than the one before it; the last is `total`.
    /// Waves that are equal after rounding become one.
    ///
    /// # Errors
    /// A wave would have fewer vehicles than the one before it.
    pub fn sizes(&self, total: usize) -> Result<Vec<usize>, WavesError> {
        let mut sizes: Vec<usize> = Vec::new();
        for (index, share) in self.0.iter().enumerate() {
            let size = share.rounded_up(total).min(total);
            match sizes.last() {
                Some(&former) if size < former => {
                    let (wave, share) = (index + 1, *share);
                    return Err(WavesError::Shrinking { wave, share, total, size, former });
                }
                Some(&former) if size == former => {}
                _ => sizes.push(size),
            }
        }
        Ok(sizes)
    }
}

impl FromStr for Waves {
    type Err = WavesError;

    fn from_str(text: &str) -> Result<Self, WavesError> {
        let mut shares: Vec<Share> = Vec::new();
        for (index, part) in text.split(',').enumerate() {
            let wave = index + 1;
            let share: Share =
                part.trim().parse().map_err(|error| WavesError::Invalid { wave, error })?;
            if share.is_zero() {
                return Err(WavesError::Zero { wave });
            }
            if let Some(&before) = shares.iter().rev().find(|other| other.has_kind_of(share))
                && before >= share
            {
                return Err(WavesError::NotGrowing { wave, share, before });
            }
            if let Some(&before) = shares.last().filter(|before| **before == Share::ALL) {
                return Err(WavesError::NotGrowing { wave, share, before });
            }
            shares.push(share);
        }
        match shares.last() {
            Some(&last) if last != Share::ALL => Err(WavesError::NotAll(last)),
            _ => Ok(Self(shares)),
        }
    }
}

impl TryFrom<String> for Waves {
    type Error = WavesError;

    fn try_from(text: String) -> Result<Self, WavesError> {
        text.parse()
    }
}

impl From<Waves> for String {
    fn from(waves: Waves) -> Self {
        waves.to_string()
    }
}

impl fmt::Display for Waves {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&shares.join(","))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_cumulative_and_rounded_up() {
        let sizes = |waves: &str, total| waves.parse::<Waves>().unwrap().sizes(total).unwrap();
        assert_eq!(sizes("1,5%,25%,100%", 9214), [1, 461, 2304, 9214]);
        assert_eq!(sizes("1, 5%, 25%, 100%", 15), [1, 4, 15]);
        assert_eq!(sizes("0.1%,100%", 10_000), [10, 10_000]);
        assert_eq!(sizes("3,50,100%", 20), [3, 20]);
        assert_eq!(sizes("100%", 1), [1]);
        assert_eq!(Waves::default_for(10).sizes(10).unwrap(), [10]);
        assert_eq!(Waves::default_for(11).sizes(11).unwrap(), [1, 3, 11]);
    }

    #[test]
    fn waves_that_overlap_or_shrink_are_refused() {
        for (text, message) in [
            ("", "wave 1: \"\" is neither a number of vehicles nor a percentage"),
            ("1,x,100%", "wave 2: \"x\" is neither"),
            ("0,100%", "wave 1: it has no vehicles"),
            ("0%,100%", "wave 1: it has no vehicles"),
            ("5%,5%,100%", "wave 2: 5% is not more than 5% before it"),
            ("25%,5%,100%", "wave 2: 5% is not more than 25% before it"),
            ("5,10%,3,100%", "wave 3: 3 is not more than 5 before it"),
            ("100%,200", "wave 2: 200 is not more than 100% before it"),
            ("1,5%", "the last wave must be 100%, so that no vehicle is left out; it is 5%"),
            ("101%", "wave 1: \"101%\" is more than 100%"),
            ("1,,100%", "wave 2: \"\" is neither"),
        ] {
            let error = text.parse::<Waves>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        let error = "10,5%,100%".parse::<Waves>().unwrap().sizes(100).unwrap_err().to_string();
        assert_eq!(
            error,
            "wave 2: 5% of 100 vehicles are 5, fewer than the 10 of the wave before it"
        );
    }

    proptest::proptest! {
        #[test]
        fn sizes_grow_and_end_with_all(a in 1_usize..50, b in 1_u32..99, total in 1_usize..5000) {
            let waves: Waves = format!("{a},{b}%,100%").parse().unwrap();
            if let Ok(sizes) = waves.sizes(total) {
                assert!(sizes.is_sorted_by(|a, b| a < b));
                assert_eq!(sizes.last(), Some(&total));
            }
        }
    }
}

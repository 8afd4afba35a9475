//! Checks of settings, which collect all mistakes.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// All mistakes in the settings. Each says how to correct it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the settings cannot be used:")?;
        self.0.iter().try_for_each(|mistake| write!(formatter, "\n  {mistake}"))
    }
}

/// Parses settings and collects the mistakes in them.
#[derive(Debug, Default)]
pub struct Check(Mistakes);

impl Check {
    /// Adds a mistake in the setting `name`.
    pub fn mistake(&mut self, name: &str, message: impl fmt::Display) {
        self.0.0.push(format!("{name}: {message}"));
    }

    /// Returns the value of a result. An error becomes a mistake in the setting `name`.
    pub fn parsed<T, E: fmt::Display>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.mistake(name, error)).ok()
    }

    /// Parses a value whose error says what is expected.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        let result = text.trim().parse().map_err(|error| format!("{text:?}: {error}"));
        self.parsed(name, result)
    }

    /// Parses a value. `expected` describes it, such as "true or false".
    pub fn parse_as<T: FromStr>(&mut self, name: &str, text: &str, expected: &str) -> Option<T> {
        let result = text.trim().parse().map_err(|_| format!("{text:?} is not {expected}"));
        self.parsed(name, result)
    }

    /// Checks that a path that is set is not empty: a setting that somebody has tried to set must
    /// not be ignored. `kind` is what the path is of, such as "a file".
    pub fn path(&mut self, name: &str, path: Option<OsString>, kind: &str) -> Option<PathBuf> {
        let path = path?;
        if path.is_empty() {
            self.mistake(
                name,
                format!("it is empty; write the path of {kind}, or do not set it at all"),
            );
            return None;
        }
        Some(path.into())
    }

    /// Parses a duration such as `5s`.
    pub fn duration(&mut self, name: &str, text: &str) -> Option<Duration> {
        let result = humantime::parse_duration(text.trim())
            .map_err(|error| format!("{text:?}: {error}; write it as 5s, 10m or 24h"));
        self.parsed(name, result)
    }

    /// Parses a duration that must be in a range.
    pub fn duration_within(
        &mut self,
        name: &str,
        text: &str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let duration = self.duration(name, text)?;
        if range.contains(&duration) {
            return Some(duration);
        }
        let [least, most] = [range.start(), range.end()].map(|d| humantime::format_duration(*d));
        self.mistake(name, format!("{text} is not between {least} and {most}"));
        None
    }

    /// Returns the settings if there is no mistake. They may be `None` only after a mistake.
    ///
    /// # Errors
    /// All mistakes.
    pub fn finish<T>(self, settings: Option<T>) -> Result<T, Mistakes> {
        match settings {
            Some(settings) if self.0.0.is_empty() => Ok(settings),
            _ => Err(self.0),
        }
    }
}

//! Label selectors, with the meaning that Kubernetes gives them.

use std::fmt;
use std::str::FromStr;

use fleet_contract::Labels;

use super::parser;
use super::requirement::{Requirement, SelectorError};

/// A label selector: all requirements must be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Whether a vehicle with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.get(key).is_some(),
            Requirement::Absent(key) => labels.get(key).is_none(),
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        parser::parse(text).map(|requirements| Self { requirements })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            write!(formatter, "{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requirements_match_as_in_kubernetes() {
        let labels: Labels = "model=x,region=eu,empty=".parse().unwrap();
        for (text, matches) in [
            ("model=x", true),
            ("model==x", true),
            ("model = y", false),
            ("model=x,region in (eu,us),!canary", true),
            ("region in ( us , cn )", false),
            ("region notin (us)", true),
            ("other notin (us)", true),
            ("other!=us", true),
            ("region!=eu", false),
            ("empty=", true),
            ("empty in (,a)", true),
            ("empty", true),
            ("other", false),
            ("! other", true),
            ("!model", false),
            ("in", false),
            ("notin notin (a)", true),
        ] {
            let selector: Selector = text.parse().unwrap_or_else(|e| unreachable!("{text}: {e}"));
            assert_eq!(selector.matches(&labels), matches, "{text}");
            assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector, "{text}");
        }
    }
}

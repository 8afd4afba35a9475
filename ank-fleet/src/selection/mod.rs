//! Which vehicles a command is for: VINs, lists of VINs, and label selectors.

mod parser;
mod requirement;
mod selector;
mod vins;

use std::collections::BTreeSet;

use fleet_contract::Labels;

pub use requirement::{Requirement, SelectorError};
pub use selector::Selector;
pub use vins::{VinListError, parse_vins};

use crate::inventory::Fleet;
use crate::vin::Vin;

/// What the options of a command select.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// All vehicles that are known.
    pub all: bool,
    /// VINs from arguments and lists; `None` if there are no such arguments.
    pub vins: Option<BTreeSet<Vin>>,
    /// The label selector. With VINs, it selects from these.
    pub selector: Option<Selector>,
}

/// Why a selection selects no vehicles that a command could be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// There is no selection.
    #[error("no vehicles are selected; name VINs, or use --vehicles FILE, -l SELECTOR or --all")]
    Missing,
    /// There is none, for a command whose arguments are not VINs.
    #[error("no vehicles are selected; use --vehicle VIN, --vehicles FILE, -l SELECTOR or --all")]
    MissingOption,
    /// `--all` together with another selection.
    #[error("--all selects all vehicles, so it cannot be combined with VINs or -l")]
    Contradictory,
    /// VINs that are neither in the inventory nor were seen.
    #[error("{}", Unknown(.0))]
    Unknown(Vec<Vin>),
    /// No vehicle matches.
    #[error("the selection matches none of {known} vehicles")]
    Empty {
        /// The number of vehicles that are known.
        known: usize,
    },
}

struct Unknown<'a>(&'a [Vin]);

impl std::fmt::Display for Unknown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folded = crate::report::fold_vins(self.0);
        let (verb, seen) = if self.0.len() == 1 { ("is", "was") } else { ("are", "were") };
        write!(formatter, "{folded} {verb} not in the inventory and {seen} not seen on the broker")
    }
}

impl Selection {
    /// Whether there is no selection at all.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        !self.all && self.vins.is_none() && self.selector.is_none()
    }

    /// Whether it selects a vehicle with these labels. Without a selection, it does.
    #[must_use]
    pub fn includes(&self, vin: &Vin, labels: &Labels) -> bool {
        self.vins.as_ref().is_none_or(|vins| vins.contains(vin))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(labels))
    }

    /// The selected vehicles, sorted by VIN.
    ///
    /// # Errors
    /// See [`SelectionError`].
    pub fn select(&self, fleet: &Fleet) -> Result<Vec<Vin>, SelectionError> {
        if self.is_missing() {
            return Err(SelectionError::Missing);
        }
        if self.all && (self.vins.is_some() || self.selector.is_some()) {
            return Err(SelectionError::Contradictory);
        }
        if let Some(vins) = &self.vins {
            let unknown: Vec<Vin> =
                vins.iter().filter(|vin| fleet.get(vin).is_none()).cloned().collect();
            if !unknown.is_empty() {
                return Err(SelectionError::Unknown(unknown));
            }
        }
        let selected: Vec<Vin> = fleet
            .vehicles()
            .filter(|(vin, vehicle)| self.includes(vin, &vehicle.labels))
            .map(|(vin, _)| vin.clone())
            .collect();
        if selected.is_empty() {
            return Err(SelectionError::Empty { known: fleet.len() });
        }
        Ok(selected)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;

    fn fleet() -> Fleet {
        let text = "vin,region\nA1,eu\nA2,us\nA3,eu\n";
        Fleet::new(Some(&Inventory::parse_csv(text).unwrap()), [])
    }

    fn vins(names: &[&str]) -> Option<BTreeSet<Vin>> {
        Some(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn vins_and_selectors_select() {
        let selected = |selection: Selection| {
            let vins = selection.select(&fleet()).unwrap();
            vins.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let selector: Selector = "region=eu".parse().unwrap();
        assert_eq!(selected(Selection { all: true, ..Selection::default() }), ["A1", "A2", "A3"]);
        let by_label = Selection { selector: Some(selector.clone()), ..Selection::default() };
        assert_eq!(selected(by_label), ["A1", "A3"]);
        let both = Selection { vins: vins(&["A2", "A3"]), selector: Some(selector), all: false };
        assert_eq!(selected(both), ["A3"]);
    }

    #[test]
    fn what_selects_nothing_is_an_error() {
        let fleet = fleet();
        let error = |selection: Selection| selection.select(&fleet).unwrap_err().to_string();
        assert!(error(Selection::default()).starts_with("no vehicles are selected"));
        let unknown = Selection { vins: vins(&["A1", "B7", "B8"]), ..Selection::default() };
        assert_eq!(
            error(unknown),
            "B[7-8] are not in the inventory and were not seen on the broker"
        );
        let none = Selection { selector: "region=cn".parse().ok(), ..Selection::default() };
        assert_eq!(error(none), "the selection matches none of 3 vehicles");
        let both = Selection { all: true, vins: vins(&["A1"]), selector: None };
        assert!(error(both).starts_with("--all selects all vehicles"));
    }
}

//! Groups vehicles with the same answer.

use std::collections::BTreeMap;
use std::fmt;

use super::diff::ItemDiff;
use crate::vin::Vin;

/// Vehicles on which the same changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeGroup {
    /// What changes; empty if nothing does.
    pub changes: Vec<ItemDiff>,
    /// The vehicles, sorted.
    pub vins: Vec<Vin>,
}

/// Groups vehicles by what changes on them, the largest group first.
pub fn group(diffs: impl IntoIterator<Item = (Vin, Vec<ItemDiff>)>) -> Vec<ChangeGroup> {
    let mut groups: BTreeMap<Vec<ItemDiff>, Vec<Vin>> = BTreeMap::new();
    for (vin, changes) in diffs {
        groups.entry(changes).or_default().push(vin);
    }
    let mut groups: Vec<ChangeGroup> = groups
        .into_iter()
        .map(|(changes, mut vins)| {
            vins.sort();
            ChangeGroup { changes, vins }
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.vins.len()));
    groups
}

impl fmt::Display for ChangeGroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return formatter.write_str("unchanged");
        }
        let changes: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        formatter.write_str(&changes.join("; "))
    }
}

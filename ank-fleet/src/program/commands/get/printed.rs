//! The rows that were printed last, so that a state that comes again is not printed again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::items::ItemRow;
use crate::Vin;

/// Maximum length of the fields that are kept of a vehicle, in bytes: those of a thousand workloads.
const MAX_FIELDS: usize = 128 * 1024;

/// Hashes of the rows that were printed last, by vehicle and field.
#[derive(Debug, Default)]
pub(super) struct PrintedRows(BTreeMap<Vin, BTreeMap<String, u64>>);

impl PrintedRows {
    /// The rows that differ from those that were printed last. `is_all`: there are no others of this
    /// vehicle. Also returns the fields that are gone.
    pub(super) fn changed(
        &mut self,
        vin: &Vin,
        rows: Vec<ItemRow>,
        is_all: bool,
    ) -> (Vec<Value>, Vec<String>) {
        let former = self.0.entry(vin.clone()).or_default();
        let mut gone = Vec::new();
        if is_all {
            let kept: BTreeSet<&String> = rows.iter().map(|row| &row.field).collect();
            let is_gone = |field: &String, _: &mut u64| !kept.contains(field);
            gone.extend(former.extract_if(.., is_gone).map(|(field, _)| field));
        }
        let mut changed = Vec::new();
        for ItemRow { field, value } in rows {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            let hash = hasher.finish();
            if former.insert(field, hash) != Some(hash) {
                changed.push(value);
            }
        }
        // Better print all of it again than keep more and more of it.
        if former.keys().map(String::len).sum::<usize>() > MAX_FIELDS {
            former.clear();
        }
        (changed, gone)
    }

    /// The rows of a field, or of the fields below it, are gone.
    pub(super) fn removed(&mut self, vin: &Vin, field: &str) {
        let field = field.strip_suffix(".state").unwrap_or(field);
        let is_gone = |row: &str| {
            row.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(rows) = self.0.get_mut(vin) {
            rows.retain(|row, _| !is_gone(row));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(field: &str, value: &str) -> ItemRow {
        ItemRow { field: format!("workloadStates.agent_A.{field}"), value: json!(value) }
    }

    #[test]
    fn only_rows_that_differ_are_printed() {
        let (mut printed, vin) = (PrintedRows::default(), "V01".parse::<Vin>().unwrap());
        let none = Vec::<String>::new();
        let both = || vec![row("nginx.a", "1"), row("other.b", "1")];
        let all = vec![json!("1"), json!("1")];
        assert_eq!(printed.changed(&vin, both(), true), (all.clone(), none.clone()));
        // A renewal brings the same state.
        assert_eq!(printed.changed(&vin, both(), true), (Vec::new(), none.clone()));
        let one = |value| vec![row("nginx.a", value)];
        assert_eq!(printed.changed(&vin, one("2"), false), (vec![json!("2")], none.clone()));
        assert_eq!(printed.changed(&vin, one("2"), false), (Vec::new(), none.clone()));
        let other = "V02".parse().unwrap();
        assert_eq!(printed.changed(&other, one("2"), false), (vec![json!("2")], none));
        // What is missing in the whole state is gone.
        let gone = vec!["workloadStates.agent_A.other.b".to_owned()];
        assert_eq!(printed.changed(&vin, one("2"), true), (Vec::new(), gone));
        assert_eq!(printed.changed(&vin, both(), true).0.len(), 2);
    }

    #[test]
    fn little_is_kept_of_a_vehicle_whose_rows_never_end() {
        let (mut printed, vin) = (PrintedRows::default(), "V01".parse::<Vin>().unwrap());
        for number in 0..100 {
            let rows = (0..1000).map(|row_of| row(&format!("w{row_of}.{number}"), "1")).collect();
            assert_eq!(printed.changed(&vin, rows, false).0.len(), 1000);
            let kept: usize = printed.0[&vin].keys().map(String::len).sum();
            assert!(kept <= MAX_FIELDS);
        }
        // A whole state of this size takes no time for each pair of rows.
        let rows = || (0..100_000).map(|number| row(&format!("w.{number}"), "1")).collect();
        printed.changed(&vin, rows(), true);
        assert_eq!(printed.changed(&vin, rows(), true).0.len(), 100_000);
    }

    #[test]
    fn what_was_removed_is_printed_when_it_is_back() {
        let (mut printed, vin) = (PrintedRows::default(), "V01".parse::<Vin>().unwrap());
        let rows = || vec![row("nginx.a", "1"), row("nginx2.b", "1")];
        for (field, again) in [
            ("workloadStates.agent_A.nginx.a", 1),
            ("workloadStates.agent_A.nginx.a.state", 1),
            ("workloadStates.agent_A.nginx", 1),
            ("workloadStates.agent_A", 2),
            ("workloadStates.agent", 0),
        ] {
            printed.changed(&vin, rows(), true);
            printed.removed(&vin, field);
            assert_eq!(printed.changed(&vin, rows(), true).0.len(), again, "{field}");
        }
    }
}

//! Finds cycles in the dependencies between the workloads of a manifest.
//!
//! Ankaios refuses such a manifest in every state of the vehicle. Dependencies on workloads that
//! are not in the manifest are not followed.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::ank_base::Workload;

/// The name of a workload that depends on itself, directly or indirectly; `None` if there is no
/// cycle.
pub(super) fn find(workloads: &BTreeMap<String, Workload>) -> Option<&str> {
    let mut finished = BTreeSet::new();
    for start in workloads.keys() {
        // Depth-first search without recursion, because the input determines the depth.
        let mut on_path = BTreeSet::new();
        let mut stack = vec![Visit::Enter(start.as_str())];
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Leave(name) => {
                    on_path.remove(name);
                    finished.insert(name);
                }
                Visit::Enter(name) if finished.contains(name) => {}
                Visit::Enter(name) => {
                    if !on_path.insert(name) {
                        return Some(name);
                    }
                    stack.push(Visit::Leave(name));
                    let dependencies = workloads.get(name).and_then(|w| w.dependencies.as_ref());
                    let names = dependencies.iter().flat_map(|map| map.dependencies.keys());
                    stack.extend(names.map(|name| Visit::Enter(name)));
                }
            }
        }
    }
    None
}

/// A step of the search.
enum Visit<'a> {
    Enter(&'a str),
    Leave(&'a str),
}

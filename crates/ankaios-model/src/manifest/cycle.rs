//! Cycles among the dependencies of a manifest's workloads.
//!
//! Ankaios refuses them, whatever else runs on the vehicle. A dependency on a
//! workload outside of the manifest is left to Ankaios.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::ank_base::Workload;

/// The name of a workload that depends on itself, maybe by way of others.
pub(super) fn find(workloads: &BTreeMap<String, Workload>) -> Option<&str> {
    let mut finished = BTreeSet::new();
    for start in workloads.keys() {
        // A depth-first search with a stack of its own: the depth comes from outside.
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

enum Visit<'a> {
    Enter(&'a str),
    Leave(&'a str),
}

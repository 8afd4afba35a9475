//! What Ankaios accepts, but probably does not do what is meant.
//!
//! ```text
//!  text of a valid manifest ─► outline ─► fields ─────────► warnings with positions
//!                    its workloads ─────► runtime_config ─►
//! ```

mod fields;
mod list;
mod runtime_config;

pub use list::Warning;
use list::Warnings;

use super::outline::Outline;
use crate::proto::ank_base::State;

/// Finds the warnings in the text of a valid manifest.
pub(super) fn find(text: &str, state: &State) -> Vec<Warning> {
    let mut warnings = Warnings::default();
    if let Some(outline) = Outline::of(text) {
        fields::check(&outline.root, &mut warnings);
        let workloads = state.workloads.iter().flat_map(|map| &map.workloads);
        for (name, workload) in workloads {
            let node = outline.root.get("workloads").and_then(|workloads| workloads.get(name));
            let config = node.and_then(|node| node.get("runtimeConfig"));
            if let Some(config) = config {
                runtime_config::check(text, name, workload, config, &mut warnings);
            }
        }
    }
    warnings.finish()
}

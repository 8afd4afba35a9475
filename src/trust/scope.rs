//! What a signed request touches.

use ankaios_model::update_mask;
use fleet_contract::operation::Operation;

/// The items whose serials decide whether a request is a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// These items, as `workloads/nginx` or `configs/web`.
    Items(Vec<String>),
    /// All items: the request may change any of them.
    Everything,
    /// No item: requests for the same operation count.
    Operation(Operation),
}

/// Between the kind of an item and its name. No name of an item or of a kind has it, and those of
/// operations do not begin with a kind.
const SEPARATOR: char = '/';

/// Whether a name in the serials is that of an item. The others are names of operations.
pub(super) fn is_item(name: &str) -> bool {
    let kind = name.split_once(SEPARATOR).map(|(kind, _)| kind);
    matches!(kind, Some("workloads" | "configs"))
}

impl Scope {
    /// The scope of an update with these masks.
    pub(crate) fn of_update(operation: Operation, masks: &[String]) -> Self {
        let mut items = Vec::new();
        for mask in masks {
            match update_mask::parts(mask).as_slice() {
                ["desiredState", kind @ ("workloads" | "configs"), name, ..] if *name != "*" => {
                    items.push(format!("{kind}{SEPARATOR}{name}"));
                }
                // It belongs to every manifest and changes nothing.
                ["desiredState", "apiVersion"] => {}
                // It may be any item: `desiredState`, or what is no part of an item.
                _ => return Self::Everything,
            }
        }
        items.sort_unstable();
        items.dedup();
        if items.is_empty() { Self::Operation(operation) } else { Self::Items(items) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masks_name_the_items_or_everything() {
        let scope = |masks: &[&str]| {
            let masks: Vec<String> = masks.iter().map(|&mask| mask.to_owned()).collect();
            Scope::of_update(Operation::StateUpdate, &masks)
        };
        let nginx = "desiredState.workloads.nginx";
        let tags = "desiredState.workloads.nginx.tags";
        let config = "desiredState.configs.web.port";
        let items = ["configs/web", "workloads/nginx"].map(str::to_owned).to_vec();
        assert_eq!(scope(&[nginx, tags, config]), Scope::Items(items));
        let version = "desiredState.apiVersion";
        for masks in [&[] as &[&str], &[version]] {
            assert_eq!(scope(masks), Scope::Operation(Operation::StateUpdate), "{masks:?}");
        }
        for mask in ["desiredState", "desiredState.workloads", "desiredState.workloads.*", "*", ""]
        {
            assert_eq!(scope(&[nginx, mask]), Scope::Everything, "{mask}");
        }
    }
}

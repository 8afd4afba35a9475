//! Field masks: the part of a state that is read or updated.
//!
//! A mask is a path: field names separated by dots. In a mask for reading, `*` matches every
//! name. In an update mask, Ankaios takes `*` as the name of a field. An empty mask is a mistake
//! that Ankaios answers with an empty state.
//!
//! The connector also interprets masks, with code of its own. The simulator does not use it, so
//! that tests find a bug in either.

use crate::tree::{InvalidPath, Node};

/// One field mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldMask {
    parts: Vec<Box<str>>,
}

impl FieldMask {
    /// Splits a mask at its dots. An empty mask has no parts.
    pub(crate) fn parse(mask: &str) -> Self {
        let parts =
            if mask.is_empty() { Vec::new() } else { mask.split('.').map(Box::from).collect() };
        Self { parts }
    }

    /// Whether the mask is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The names in the path.
    pub(crate) fn parts(&self) -> &[Box<str>] {
        &self.parts
    }
}

/// Whether this part of a mask matches every name.
pub(crate) fn is_wildcard(part: &str) -> bool {
    part == "*"
}

/// The part of a state that any of the masks selects; no masks select all of it. A mask that
/// matches nothing is no error.
///
/// Follows two rules of Ankaios. A mask that starts with `desiredState` or `effectiveState` also
/// selects its `apiVersion`; if the selection has one of these without its `apiVersion`, the
/// result is empty. The state and the substate of a workload are always selected together.
pub(crate) fn select(state: &Node, masks: &[FieldMask]) -> Node {
    if masks.is_empty() {
        return state.clone();
    }
    if masks.iter().any(FieldMask::is_empty) {
        return Node::empty();
    }
    let mut selection = Node::empty();
    for mask in masks {
        copy(state, mask.parts(), &mut Vec::new(), &mut selection);
        if let Some(counterpart) = state_counterpart(mask) {
            copy(state, counterpart.parts(), &mut Vec::new(), &mut selection);
        }
    }
    for root in ["desiredState", "effectiveState"] {
        let asked = |mask: &FieldMask| mask.parts().first().is_some_and(|part| &**part == root);
        if masks.iter().any(asked)
            && let Some(version) = state.at([root, "apiVersion"])
        {
            put(&mut selection, &[root, "apiVersion"], version.clone());
        }
        let part = selection.get(root);
        if part.is_some_and(|part| part.get("apiVersion").is_none()) {
            return Node::empty();
        }
    }
    selection
}

fn copy<'a>(node: &'a Node, mask: &'a [Box<str>], path: &mut Vec<&'a str>, target: &mut Node) {
    let Some((part, rest)) = mask.split_first() else {
        return put(target, path, node.clone());
    };
    let Some(fields) = node.fields() else { return };
    if is_wildcard(part) {
        for (name, field) in fields {
            path.push(name);
            copy(field, rest, path, target);
            path.pop();
        }
    } else if let Some(field) = fields.get(&**part) {
        path.push(part);
        copy(field, rest, path, target);
        path.pop();
    }
}

/// Sets a value in a selection. A selection has the shape of its source, so the path leads
/// through maps only.
fn put(target: &mut Node, path: &[&str], value: Node) {
    let placed = target.set(path, value);
    debug_assert_eq!(placed, Ok(()), "a selection has the shape of its source");
}

/// The mask of the `subState` that belongs to the `state` that a mask selects, and vice versa.
fn state_counterpart(mask: &FieldMask) -> Option<FieldMask> {
    let [root, .., last] = mask.parts() else {
        return None;
    };
    if mask.parts().len() != 5 || &**root != "workloadStates" {
        return None;
    }
    let counterpart = match &**last {
        "state" => "subState",
        "subState" => "state",
        _ => return None,
    };
    let mut parts = mask.parts().to_vec();
    *parts.last_mut()? = counterpart.into();
    Some(FieldMask { parts })
}

/// Applies an update, mask by mask. Copies the value that the new state has at a mask, and removes
/// the value if the new state has none.
///
/// # Errors
/// The first mask whose path leads through a missing field or a value that is not a map.
pub(crate) fn merge(state: &mut Node, new: &Node, masks: &[String]) -> Result<(), String> {
    for text in masks {
        let mask = FieldMask::parse(text);
        let path: Vec<&str> = mask.parts().iter().map(|part| &**part).collect();
        let done = match new.at(path.iter().copied()) {
            Some(value) => state.set(&path, value.clone()),
            None => remove(state, &path),
        };
        done.map_err(|InvalidPath| text.clone())?;
    }
    Ok(())
}

/// Removes the value at a path. The parent must exist, unless it is a map that our tree omits
/// if it is empty: in Ankaios, removing a tag from a workload without tags succeeds.
fn remove(state: &mut Node, path: &[&str]) -> Result<(), InvalidPath> {
    let parent = path.split_last().map(|(_, parent)| parent);
    let may_be_omitted = match parent {
        Some(["desiredState", "configs"]) => true,
        Some(["desiredState", "workloads", name, field]) => {
            ["tags", "configs", "dependencies", "controlInterfaceAccess"].contains(field)
                && state.at(["desiredState", "workloads", name]).is_some()
        }
        _ => false,
    };
    if may_be_omitted && parent.is_some_and(|parent| state.at(parent.iter().copied()).is_none()) {
        return Ok(());
    }
    state.remove(path).map(|_removed| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn masks(texts: &[&str]) -> Vec<FieldMask> {
        texts.iter().map(|text| FieldMask::parse(text)).collect()
    }

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn workload(agent: &str) -> Node {
        Node::map([("agent", Node::text(agent)), ("runtime", Node::text("podman"))])
    }

    fn execution(state: &str) -> Node {
        Node::map([
            ("additionalInfo", Node::text("")),
            ("state", Node::text(state)),
            ("subState", Node::text("Ok")),
        ])
    }

    fn state() -> Node {
        Node::map([
            (
                "desiredState",
                Node::map([
                    ("apiVersion", Node::text("v1")),
                    ("workloads", Node::map([("one", workload("a")), ("two", workload("b"))])),
                ]),
            ),
            (
                "workloadStates",
                Node::map([(
                    "a",
                    Node::map([("one", Node::map([("id1", execution("Running"))]))]),
                )]),
            ),
        ])
    }

    #[test]
    fn no_mask_selects_everything_and_an_empty_one_nothing() {
        assert_eq!(select(&state(), &[]), state());
        assert_eq!(select(&state(), &masks(&["agents", ""])), Node::empty());
    }

    #[test]
    fn a_path_selects_one_field_and_the_api_version() {
        let selected = select(&state(), &masks(&["desiredState.workloads.one.agent"]));
        let expected = Node::map([(
            "desiredState",
            Node::map([
                ("apiVersion", Node::text("v1")),
                ("workloads", Node::map([("one", Node::map([("agent", Node::text("a"))]))])),
            ]),
        )]);
        assert_eq!(selected, expected);
    }

    #[test]
    fn a_wildcard_matches_one_level() {
        let selected = select(&state(), &masks(&["desiredState.workloads.*.agent"]));
        for (name, agent) in [("one", "a"), ("two", "b")] {
            let path = ["desiredState", "workloads", name];
            assert_eq!(selected.at(path), Some(&Node::map([("agent", Node::text(agent))])));
        }
        assert_eq!(select(&state(), &masks(&["*"])), state());
        assert_eq!(select(&state(), &masks(&["*.*.*.id1.*.*"])), Node::empty());
        assert_eq!(
            select(&state(), &masks(&["*.workloads.*.agent"])),
            Node::empty(),
            "there is no answer without an API version"
        );
    }

    #[test]
    fn an_unknown_path_selects_nothing() {
        assert_eq!(select(&state(), &masks(&["workloadStates.b", "nonsense"])), Node::empty());
        let only_version = select(&state(), &masks(&["desiredState.workloads.three"]));
        let version = Node::map([("apiVersion", Node::text("v1"))]);
        assert_eq!(only_version, Node::map([("desiredState", version)]));
    }

    #[test]
    fn state_and_substate_are_selected_together() {
        for mask in ["workloadStates.*.*.*.state", "workloadStates.a.one.id1.subState"] {
            let selected = select(&state(), &masks(&[mask]));
            let expected =
                Node::map([("state", Node::text("Running")), ("subState", Node::text("Ok"))]);
            assert_eq!(selected.at(["workloadStates", "a", "one", "id1"]), Some(&expected));
        }
    }

    #[test]
    fn a_mask_inside_a_selected_part_changes_nothing() {
        let selected = select(&state(), &masks(&["workloadStates", "workloadStates.a.one"]));
        assert_eq!(selected.get("workloadStates"), state().get("workloadStates"));
    }

    #[test]
    fn an_update_replaces_adds_and_removes_what_its_masks_select() {
        let new = Node::map([(
            "desiredState",
            Node::map([(
                "workloads",
                Node::map([
                    ("one", workload("c")),
                    ("three", workload("d")),
                    ("extra", workload("e")),
                ]),
            )]),
        )]);
        let mut updated = state();
        let update = names(&[
            "desiredState.workloads.one",
            "desiredState.workloads.two",
            "desiredState.workloads.three",
            "desiredState.workloads.four",
        ]);
        merge(&mut updated, &new, &update).unwrap();
        let workloads = updated.at(["desiredState", "workloads"]).unwrap();
        assert_eq!(workloads, &Node::map([("one", workload("c")), ("three", workload("d"))]));
        assert_eq!(updated.at(["desiredState", "apiVersion"]), Some(&Node::text("v1")));
    }

    #[test]
    fn an_update_mask_has_no_wildcard() {
        let mut updated = state();
        merge(&mut updated, &Node::empty(), &names(&["desiredState.workloads.*"])).unwrap();
        assert_eq!(updated, state());
    }

    #[test]
    fn an_update_below_a_missing_field_fails_with_its_mask() {
        let mut updated = state();
        let mask = "desiredState.workloads.nobody.tags.key";
        assert_eq!(merge(&mut updated, &Node::empty(), &names(&[mask])), Err(mask.to_owned()));
        let known = names(&["desiredState.workloads.one.tags.key", "desiredState.configs.none"]);
        assert_eq!(merge(&mut updated, &Node::empty(), &known), Ok(()));
        assert_eq!(updated, state());
    }
}

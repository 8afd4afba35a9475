//! Event subscriptions: what has changed between two states, in the words of
//! Ankaios.
//!
//! A field that is new is named once, at the highest level that is new
//! (`workloadStates.agent_A.nginx`), unless the mask of the subscription reaches
//! deeper (`workloadStates.*.*.*.state`): then what the mask names inside it is
//! listed. The same holds for removed fields. Updated fields are single values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet_connector::proto::ank_base::{
    AlteredFields, CompleteStateResponse, Response, response::ResponseContent,
};

use crate::conversion::{self, Missing};
use crate::document::Node;
use crate::mask::{self, Mask};

/// The live subscriptions by request id.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    masks: BTreeMap<String, Vec<Mask>>,
}

impl Subscriptions {
    /// Starts a subscription, or replaces the one with the same id.
    pub(crate) fn add(&mut self, request_id: String, masks: Vec<Mask>) {
        self.masks.insert(request_id, masks);
    }

    /// Ends a subscription; ending an unknown one is no error.
    pub(crate) fn remove(&mut self, request_id: &str) {
        self.masks.remove(request_id);
    }

    /// Ends them all, as the end of a session does.
    pub(crate) fn clear(&mut self) {
        self.masks.clear();
    }

    /// The ids of the live subscriptions.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.masks.keys().cloned().collect()
    }

    /// One event for each subscription that the change concerns.
    pub(crate) fn events(&self, old: &Node, new: &Node) -> Vec<Response> {
        let events = self.masks.iter().filter_map(|(request_id, masks)| {
            let altered = altered_fields(old, new, masks);
            let fields = [&altered.added_fields, &altered.removed_fields, &altered.updated_fields];
            let changed: Vec<Mask> =
                fields.into_iter().flatten().map(|field| Mask::parse(field)).collect();
            if changed.is_empty() {
                return None;
            }
            let state = conversion::to_message(&mask::select(new, &changed), Missing::Absent);
            Some(Response {
                request_id: request_id.clone(),
                response_content: Some(ResponseContent::CompleteStateResponse(
                    CompleteStateResponse {
                        complete_state: Some(state),
                        altered_fields: Some(altered),
                    },
                )),
            })
        });
        events.collect()
    }
}

/// The fields in which two states differ, as far as the masks cover them.
pub(crate) fn altered_fields(old: &Node, new: &Node, masks: &[Mask]) -> AlteredFields {
    let mut altered = AlteredFields::default();
    if masks.is_empty() {
        compare(old, new, &[], &mut Vec::new(), &mut altered);
    }
    for mask in masks {
        compare(old, new, mask.parts(), &mut Vec::new(), &mut altered);
    }
    altered
}

fn compare<'a>(
    old: &'a Node,
    new: &'a Node,
    mask: &[Box<str>],
    path: &mut Vec<&'a str>,
    altered: &mut AlteredFields,
) {
    if old.shared(new) {
        return;
    }
    match (old, new) {
        (Node::Map(old), Node::Map(new)) => {
            let names: BTreeSet<&Arc<str>> = match mask.first() {
                Some(part) if !mask::is_wildcard(part) => {
                    [old.get_key_value(&**part), new.get_key_value(&**part)]
                        .into_iter()
                        .flatten()
                        .map(|(name, _)| name)
                        .collect()
                }
                _ => old.keys().chain(new.keys()).collect(),
            };
            let rest = mask.get(1..).unwrap_or_default();
            for name in names {
                path.push(name);
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => compare(old, new, rest, path, altered),
                    (None, Some(new)) => list(new, rest, path, &mut altered.added_fields),
                    (Some(old), None) => list(old, rest, path, &mut altered.removed_fields),
                    (None, None) => {}
                }
                path.pop();
            }
        }
        (Node::List(was), Node::List(is)) if mask.is_empty() => {
            match (was.is_empty(), is.is_empty()) {
                (true, false) => altered.added_fields.push(join(path)),
                (false, true) => altered.removed_fields.push(join(path)),
                _ if was != is => altered.updated_fields.push(join(path)),
                _ => {}
            }
        }
        _ if mask.is_empty() && old != new => altered.updated_fields.push(join(path)),
        _ => {}
    }
}

/// Lists what the rest of a mask names inside a part that is new or gone.
///
/// A mask that ends with the name of a map in there lists nothing, which is how
/// Ankaios does it; one that ends with the name of a value, or with `*`, does.
fn list<'a>(node: &'a Node, mask: &[Box<str>], path: &mut Vec<&'a str>, fields: &mut Vec<String>) {
    let Some((part, rest)) = mask.split_first() else {
        return fields.push(join(path));
    };
    for (name, field) in node.fields().into_iter().flatten() {
        let is_map = field.fields().is_some_and(|fields| !fields.is_empty());
        if mask::is_wildcard(part) || **part == **name && !(rest.is_empty() && is_map) {
            path.push(name);
            list(field, rest, path, fields);
            path.pop();
        }
    }
}

/// Workloads without an agent are kept under an agent without a name, which the
/// path leaves out.
fn join(path: &[&str]) -> String {
    let named: Vec<&str> = path.iter().copied().filter(|name| !name.is_empty()).collect();
    named.join(".")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    const NONE: [Vec<String>; 3] = [const { Vec::new() }; 3];

    fn workload(config: &str, tags: &[(&str, &str)]) -> Node {
        let mut fields = vec![("agent", Node::text("a")), ("runtimeConfig", Node::text(config))];
        if !tags.is_empty() {
            let tags = tags.iter().map(|(key, value)| (*key, Node::text(*value)));
            fields.push(("tags", Node::map(tags)));
        }
        Node::map(fields)
    }

    fn desired<const N: usize>(workloads: [(&str, Node); N]) -> Node {
        let workloads = Node::map(workloads);
        let desired = [("apiVersion", Node::text("v1")), ("workloads", workloads)];
        Node::map([("desiredState", Node::map(desired))])
    }

    fn altered(old: &Node, new: &Node, masks: &[&str]) -> [Vec<String>; 3] {
        let masks: Vec<Mask> = masks.iter().map(|mask| Mask::parse(mask)).collect();
        let fields = altered_fields(old, new, &masks);
        [fields.added_fields, fields.updated_fields, fields.removed_fields]
    }

    fn fields(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("desiredState.workloads.{name}")).collect()
    }

    #[test]
    fn new_and_removed_parts_are_named_at_their_top() {
        let (without, with) = (desired([]), desired([("x", workload("1", &[("k", "v")]))]));
        for masks in [&[][..], &["desiredState"], &["*.workloads"], &["desiredState.workloads.x"]] {
            assert_eq!(altered(&without, &with, masks), [fields(&["x"]), vec![], vec![]]);
            assert_eq!(altered(&with, &without, masks), [vec![], vec![], fields(&["x"])]);
        }
    }

    #[test]
    fn a_mask_that_reaches_inside_lists_what_it_names_there() {
        let (without, with) = (desired([]), desired([("x", workload("1", &[("k", "v")]))]));
        let added = |masks: &[&str]| altered(&without, &with, masks)[0].clone();
        assert_eq!(added(&["desiredState.workloads.*.agent"]), fields(&["x.agent"]));
        assert_eq!(added(&["desiredState.workloads.x.tags.*"]), fields(&["x.tags.k"]));
        assert_eq!(
            added(&["desiredState.workloads.x.*"]),
            fields(&["x.agent", "x.runtimeConfig", "x.tags"])
        );
        assert_eq!(added(&["desiredState.workloads.x.tags"]), fields(&[]), "as in Ankaios");
        assert_eq!(added(&["desiredState.workloads.y", "agents"]), fields(&[]));
    }

    #[test]
    fn changed_values_are_named_one_by_one() {
        let old =
            desired([("x", workload("1", &[("a", "1"), ("b", "1")])), ("y", workload("1", &[]))]);
        let new =
            desired([("x", workload("2", &[("a", "2"), ("c", "1")])), ("y", workload("1", &[]))]);
        let expected = [
            fields(&["x.tags.c"]),
            fields(&["x.runtimeConfig", "x.tags.a"]),
            fields(&["x.tags.b"]),
        ];
        assert_eq!(altered(&old, &new, &[]), expected);
        assert_eq!(altered(&old, &new, &["desiredState.workloads.y"]), NONE);
        assert_eq!(
            altered(&old, &new, &["desiredState.workloads.*.runtimeConfig"])[1],
            fields(&["x.runtimeConfig"])
        );
    }

    #[test]
    fn lists_change_as_a_whole() {
        let list = |values: &[&str]| {
            Node::map([("l", Node::list(values.iter().map(|value| Node::text(*value))))])
        };
        let name = || vec!["l".to_owned()];
        assert_eq!(altered(&list(&[]), &list(&["1"]), &[]), [name(), vec![], vec![]]);
        assert_eq!(altered(&list(&["1"]), &list(&["1", "2"]), &["l"]), [vec![], name(), vec![]]);
        assert_eq!(altered(&list(&["1"]), &list(&[]), &["*"]), [vec![], vec![], name()]);
        assert_eq!(altered(&list(&["1"]), &list(&["2"]), &["l.0"]), NONE);
    }

    #[test]
    fn only_those_concerned_get_an_event_and_only_of_what_has_changed() {
        let mut subscriptions = Subscriptions::default();
        let masks = |text| vec![Mask::parse(text)];
        subscriptions.add("all".to_owned(), Vec::new());
        subscriptions.add("x".to_owned(), masks("desiredState.workloads.x"));
        subscriptions.add("agents".to_owned(), masks("agents"));
        let old = desired([("x", workload("1", &[])), ("y", workload("1", &[]))]);
        let new = desired([("x", workload("1", &[])), ("y", workload("2", &[]))]);
        let events = subscriptions.events(&old, &new);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].request_id, "all");
        let Some(ResponseContent::CompleteStateResponse(event)) = &events[0].response_content
        else {
            panic!("{events:?}");
        };
        let state = event.complete_state.clone().unwrap();
        let expected = desired([("y", Node::map([("runtimeConfig", Node::text("2"))]))]);
        assert_eq!(conversion::to_node(state), expected);

        subscriptions.remove("all");
        assert_eq!(subscriptions.events(&old, &new), []);
        assert_eq!(subscriptions.ids(), ["agents", "x"]);
    }
}

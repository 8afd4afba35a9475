//! Event subscriptions: the difference between two states, in the form that Ankaios reports.
//!
//! An added field is listed once, by the path of the topmost new map
//! (`workloadStates.agent_A.nginx`). If the mask of the subscription is longer
//! (`workloadStates.*.*.*.state`), the fields that the mask selects below it are listed
//! instead. The same applies to removed fields. Updated fields are always single values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ankaios_model::proto::ank_base::{
    AlteredFields, CompleteStateResponse, Response, response::ResponseContent,
};

use crate::conversion::{self, Absent};
use crate::field_mask::{self, FieldMask};
use crate::tree::Node;

/// The active subscriptions by request id.
#[derive(Debug, Default)]
pub(crate) struct EventSubscriptions {
    masks: BTreeMap<String, Vec<FieldMask>>,
}

impl EventSubscriptions {
    /// Starts a subscription, or replaces the one with the same id.
    pub(crate) fn add(&mut self, request_id: String, masks: Vec<FieldMask>) {
        self.masks.insert(request_id, masks);
    }

    /// Ends a subscription, if there is one with this id.
    pub(crate) fn remove(&mut self, request_id: &str) {
        self.masks.remove(request_id);
    }

    /// Ends all subscriptions, as the end of a session does.
    pub(crate) fn clear(&mut self) {
        self.masks.clear();
    }

    /// The request ids of the active subscriptions.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.masks.keys().cloned().collect()
    }

    /// One event for each subscription whose masks select a change.
    pub(crate) fn events(&self, old: &Node, new: &Node) -> Vec<Response> {
        let events = self.masks.iter().filter_map(|(request_id, masks)| {
            let altered = altered_fields(old, new, masks);
            let fields = [&altered.added_fields, &altered.removed_fields, &altered.updated_fields];
            let changed: Vec<FieldMask> =
                fields.into_iter().flatten().map(|field| FieldMask::parse(field)).collect();
            if changed.is_empty() {
                return None;
            }
            let state = conversion::to_message(&field_mask::select(new, &changed), Absent::AsUnset);
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

/// The fields in which two states differ, limited to what the masks select.
pub(crate) fn altered_fields(old: &Node, new: &Node, masks: &[FieldMask]) -> AlteredFields {
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
    if old.is_shared_with(new) {
        return;
    }
    match (old, new) {
        (Node::Map(old), Node::Map(new)) => {
            let names: BTreeSet<&Arc<str>> = match mask.first() {
                Some(part) if !field_mask::is_wildcard(part) => {
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

/// Lists the fields that the rest of a mask selects in an added or removed value.
///
/// Like Ankaios, lists nothing if the mask ends with the name of a map that is not empty.
fn list<'a>(node: &'a Node, mask: &[Box<str>], path: &mut Vec<&'a str>, fields: &mut Vec<String>) {
    let Some((part, rest)) = mask.split_first() else {
        return fields.push(join(path));
    };
    for (name, field) in node.fields().into_iter().flatten() {
        let is_map = field.fields().is_some_and(|fields| !fields.is_empty());
        if field_mask::is_wildcard(part) || **part == **name && !(rest.is_empty() && is_map) {
            path.push(name);
            list(field, rest, path, fields);
            path.pop();
        }
    }
}

/// Workloads that are not scheduled have an agent with an empty name. Paths omit it.
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
        let masks: Vec<FieldMask> = masks.iter().map(|mask| FieldMask::parse(mask)).collect();
        let fields = altered_fields(old, new, &masks);
        [fields.added_fields, fields.updated_fields, fields.removed_fields]
    }

    fn fields(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("desiredState.workloads.{name}")).collect()
    }

    #[test]
    fn added_and_removed_maps_are_listed_once() {
        let (without, with) = (desired([]), desired([("x", workload("1", &[("k", "v")]))]));
        for masks in [&[][..], &["desiredState"], &["*.workloads"], &["desiredState.workloads.x"]] {
            assert_eq!(altered(&without, &with, masks), [fields(&["x"]), vec![], vec![]]);
            assert_eq!(altered(&with, &without, masks), [vec![], vec![], fields(&["x"])]);
        }
    }

    #[test]
    fn a_longer_mask_lists_what_it_selects_in_an_added_map() {
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
    fn changed_values_are_listed_one_by_one() {
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
    fn a_list_changes_as_a_whole() {
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
    fn only_subscriptions_to_a_change_get_an_event_and_only_with_the_change() {
        let mut subscriptions = EventSubscriptions::default();
        let masks = |text| vec![FieldMask::parse(text)];
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
        assert_eq!(conversion::to_tree(state), expected);

        subscriptions.remove("all");
        assert_eq!(subscriptions.events(&old, &new), []);
        assert_eq!(subscriptions.ids(), ["agents", "x"]);
    }
}

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
            let fields = [
                &altered.added_fields,
                &altered.removed_fields,
                &altered.updated_fields,
            ];
            let changed: Vec<Mask> = fields
                .into_iter()
                .flatten()
                .map(|field| Mask::parse(field))
                .collect();
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
    let named: Vec<&str> = path
        .iter()
        .copied()
        .filter(|name| !name.is_empty())
        .collect();
    named.join(".")
}

//! The update for Ankaios that gives items their values, with marker and condition. Pure functions.

use std::collections::BTreeSet;
use std::sync::Arc;

use ankaios_model::json::ankaios::{StateError, parse_complete_state};
use ankaios_model::proto::ank_base::{CompleteState, State, UpdateStateRequest, WorkloadMap};
use prost::Message;
use serde_json::{Value, json};

use crate::revisions::item::{Item, ItemKind, ItemValue, Items, desired_state};
use crate::revisions::marker::{self, Marker};
use crate::revisions::revision::Revision;

/// The update that gives these items their values, with the marker. `from` has their present
/// values; only fields that differ are written, because an access rule may deny others.
///
/// # Errors
/// See [`add_items`].
pub(super) fn update_of(
    items: &Items,
    from: &Items,
    marker: &Marker,
) -> Result<UpdateStateRequest, StateError> {
    let mut update = UpdateStateRequest::default();
    add_items(&mut update, items, from)?;
    add_marker(&mut update, marker)?;
    Ok(update)
}

/// The size of the update that puts a whole overlay back, in bytes.
pub(super) fn size_of(overlay: &Items, marker: &Marker) -> Result<usize, StateError> {
    Ok(update_of(overlay, &Items::new(), marker)?.encoded_len())
}

/// Adds items to an update that does not contain them yet, see [`update_of`].
///
/// # Errors
/// A value that the checks of manifests refuse.
pub(super) fn add_items(
    update: &mut UpdateStateRequest,
    items: &Items,
    from: &Items,
) -> Result<(), StateError> {
    let is_missing = |item: &Item| {
        let own = item.mask();
        !update.update_mask.iter().any(|mask| *mask == own || mask.starts_with(&format!("{own}.")))
    };
    let missing: Items = items
        .iter()
        .filter(|(item, _)| is_missing(item))
        .map(|(item, value)| (item.clone(), value.clone()))
        .collect();
    let state = json!({"desiredState": desired_state(&missing)});
    // Ankaios may have values that the checks of manifests refuse. Without them the masks would
    // delete the items.
    let state = parse_complete_state(&state)?.desired_state.unwrap_or_default();
    let target = desired(update);
    if let Some(WorkloadMap { workloads }) = state.workloads {
        target.workloads.get_or_insert_default().workloads.extend(workloads);
    }
    if let Some(configs) = state.configs {
        target.configs.get_or_insert_default().configs.extend(configs.configs);
    }
    let present = |item: &Item| from.get(item).and_then(Option::as_ref);
    let masks = missing.iter().flat_map(|(item, value)| masks_of(item, value, present(item)));
    update.update_mask.extend(masks);
    Ok(())
}

/// The masks that change an item from one value to another.
fn masks_of(item: &Item, value: &ItemValue, from: Option<&Arc<Value>>) -> Vec<String> {
    let fields = |value: Option<&Arc<Value>>| value.and_then(|value| value.as_object().cloned());
    match (item.kind, fields(value.as_ref()), fields(from)) {
        (ItemKind::Workload, Some(new), Some(old)) => {
            let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
            let differing = names.into_iter().filter(|name| new.get(*name) != old.get(*name));
            differing.map(|name| format!("{}.{name}", item.mask())).collect()
        }
        _ if value.as_ref() == from => Vec::new(),
        _ => vec![item.mask()],
    }
}

/// Adds the condition to an update that Ankaios has this revision. Call it before
/// [`add_marker`].
///
/// Ankaios has no conditional updates, but it refuses to remove a field of a map that does not
/// exist, and takes an update as a whole or not at all. It handles masks in their order, so this one
/// comes first.
pub(super) fn add_condition(update: &mut UpdateStateRequest, current: &Revision) {
    update.update_mask.insert(0, marker::condition(&current.id));
}

/// Adds the marker to an update.
pub(super) fn add_marker(
    update: &mut UpdateStateRequest,
    marker: &Marker,
) -> Result<(), StateError> {
    let state = json!({"desiredState": {"configs": {marker::NAME: marker.to_value()}}});
    let state = parse_complete_state(&state)?.desired_state.unwrap_or_default();
    let configs = desired(update).configs.get_or_insert_default();
    configs.configs.extend(state.configs.unwrap_or_default().configs);
    update.update_mask.push(marker::MASK.into());
    Ok(())
}

fn desired(update: &mut UpdateStateRequest) -> &mut State {
    let state = update.new_state.get_or_insert_with(CompleteState::default);
    let desired = state.desired_state.get_or_insert_default();
    if desired.api_version.is_empty() {
        desired.api_version = "v1".into();
    }
    desired
}

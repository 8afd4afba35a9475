//! Plans: an update that is about to be sent, and the revision that it makes. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ankaios_model::json::ankaios::{StateError, parse_complete_state};
use ankaios_model::proto::ank_base::{CompleteState, State, UpdateStateRequest, WorkloadMap};
use ankaios_model::update_mask::merge;
use prost::Message;
use serde_json::{Value, json};

use super::job::{JobId, Queued};
use crate::revisions::item::{
    Item, ItemKind, ItemValue, Items, Scope, desired_state, items_of, to_value,
};
use crate::revisions::marker::{self, Marker};
use crate::revisions::revision::Revision;

/// Maximum number of deleted items that are remembered although the startup manifest does not have
/// them. To forget them changes nothing, unless a new startup manifest brings them.
const MAX_DELETED: usize = 1000;

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// A request changes something, or leaves it as it is.
    Change,
    /// A request goes back.
    Rollback,
    /// This revision is taken back because it has failed or was not confirmed.
    TakeBack(u64),
    /// The overlay is put back.
    Restore,
    /// An earlier overlay is put back instead.
    GiveUp,
}

/// An update, and what the core knows once Ankaios has taken it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) goal: Goal,
    /// The request or the decision; `None` for what follows from a check.
    pub(super) queued: Option<Queued>,
    /// The current revision afterwards; `None` if there is none before and afterwards.
    pub(super) revision: Option<Revision>,
    /// Whether the update makes this revision.
    pub(super) is_new: bool,
    /// The overlay of the revision.
    pub(super) overlay: Items,
    /// The values of the startup manifest that are known afterwards.
    pub(super) startup: Items,
    pub(super) update: UpdateStateRequest,
    /// The items whose values are those that Ankaios has afterwards.
    pub(super) read_back: BTreeSet<Item>,
    /// The workloads that the request names.
    pub(super) named: BTreeSet<String>,
    /// Whether the progress of its rollout is published.
    pub(super) is_published: bool,
    /// Whether the guard has to judge the update before it is sent.
    pub(super) is_judged: bool,
    /// Whether Ankaios had another value than what was read back.
    pub(super) was_corrected: bool,
    /// The request id in messages about the rollout.
    pub(super) request_id: String,
}

impl Plan {
    /// The request that waits for the answer.
    pub(super) fn id(&self) -> Option<JobId> {
        self.queued.as_ref().and_then(|queued| queued.id)
    }

    /// Whether it puts back a revision that has succeeded before.
    pub(super) fn restores_what_has_succeeded(&self) -> bool {
        let has_succeeded = self.revision.as_ref().is_some_and(|revision| revision.has_succeeded);
        self.goal == Goal::Restore && has_succeeded
    }

    /// Takes over the values that Ankaios has.
    pub(super) fn correct(&mut self, state: &Value) {
        let actual = items_of(state);
        for item in &self.read_back {
            let value = actual.get(item).cloned();
            if let Some(planned) = self.overlay.get_mut(item)
                && *planned != value
            {
                *planned = value;
                self.was_corrected = true;
            }
        }
    }
}

/// How the plan of a job begins.
#[derive(Debug)]
pub(super) enum Draft {
    /// The update is that of the request.
    Change,
    /// Go back to this overlay.
    Rollback(Items),
}

/// The workloads of an overlay that are started again when they end.
pub(super) fn restarted(overlay: &Items) -> BTreeSet<String> {
    let restarts = |value: &ItemValue| {
        let policy = value.as_ref().and_then(|value| value.get("restartPolicy"));
        policy.is_some_and(|policy| policy == "ALWAYS" || policy == "ON_FAILURE")
    };
    let workloads = overlay.iter().filter(|(item, _)| item.kind == ItemKind::Workload);
    workloads.filter(|(_, value)| restarts(value)).map(|(item, _)| item.name.clone()).collect()
}

/// The workloads among these items, without those that are deleted.
pub(super) fn workload_names(items: &Items) -> BTreeSet<String> {
    let workloads = items.iter().filter(|(item, _)| item.kind == ItemKind::Workload);
    workloads.filter(|(_, value)| value.is_some()).map(|(item, _)| item.name.clone()).collect()
}

/// The overlay after a change, and what is needed for it.
#[derive(Debug, PartialEq)]
pub(super) struct NextOverlay {
    pub(super) overlay: Items,
    pub(super) startup: Items,
    /// The items that have another value than before, or that are new.
    pub(super) changed: Items,
    pub(super) read_back: BTreeSet<Item>,
}

/// The field masks that select what an update touches, and the marker. Empty if it touches nothing
/// that revisions contain.
pub(super) fn masks_to_read(update_mask: &[String]) -> Vec<String> {
    let mut masks: BTreeSet<String> = update_mask
        .iter()
        .filter_map(|mask| match Scope::of(mask) {
            Scope::Item(item) | Scope::Part(item) => Some(item.mask()),
            Scope::All(Some(kind)) => Some(format!("desiredState.{}", kind.map())),
            Scope::All(None) => Some("desiredState".into()),
            Scope::Other => None,
        })
        .collect();
    if !masks.is_empty() {
        masks.insert(marker::MASK.into());
    }
    masks.into_iter().collect()
}

/// The field masks that select these items and the marker. Of many items, the whole maps are read: a
/// request with a mask for each could be too large.
pub(super) fn masks_of_items<'a>(items: impl IntoIterator<Item = &'a Item>) -> Vec<String> {
    let mut masks: Vec<String> = items.into_iter().map(Item::mask).collect();
    if masks.len() > MAX_MASKS {
        masks = [ItemKind::Workload, ItemKind::Config]
            .map(|kind| format!("desiredState.{}", kind.map()))
            .to_vec();
    }
    masks.push(marker::MASK.into());
    masks
}

/// Maximum number of items that are read one by one.
const MAX_MASKS: usize = 1000;

/// Whether what an update does to the overlay does not depend on the state: it sets or deletes whole
/// items that the overlay has.
pub(super) fn needs_no_state(overlay: &Items, update_mask: &[String]) -> bool {
    update_mask
        .iter()
        .all(|mask| matches!(Scope::of(mask), Scope::Item(item) if overlay.contains_key(&item)))
}

/// What an update does to the overlay. `state` has what [`masks_to_read`] selects.
pub(super) fn next_overlay(
    overlay: &Items,
    startup: &Items,
    update: &UpdateStateRequest,
    state: &Value,
) -> NextOverlay {
    let before = without_marker(items_of(state));
    let new = update.new_state.as_ref().map(to_value).unwrap_or_default();
    let mut after = if state.is_object() { state.clone() } else { json!({}) };
    for mask in &update.update_mask {
        // Ankaios refuses a mask that leads through a field without subfields.
        let _ = merge(&mut after, &new, mask);
    }
    let after = without_marker(items_of(&after));
    let (mut touched, mut read_back) = (BTreeSet::new(), BTreeSet::new());
    for mask in &update.update_mask {
        match Scope::of(mask) {
            Scope::Item(item) => {
                touched.insert(item);
            }
            Scope::Part(item) => {
                touched.insert(item.clone());
                read_back.insert(item);
            }
            Scope::All(kind) => {
                let all = before.keys().chain(after.keys()).chain(overlay.keys());
                let of_kind = all.filter(|item| kind.is_none_or(|kind| kind == item.kind));
                let differing = of_kind.filter(|item| {
                    before.get(item) != after.get(item) || overlay.contains_key(item)
                });
                let differing: Vec<Item> = differing.cloned().collect();
                read_back.extend(differing.iter().cloned());
                touched.extend(differing);
            }
            Scope::Other => {}
        }
    }
    let mut next = NextOverlay {
        overlay: overlay.clone(),
        startup: startup.clone(),
        changed: Items::new(),
        read_back,
    };
    for item in &touched {
        let value = after.get(item).cloned();
        let former = overlay.get(item);
        // Deleting what is not there changes nothing.
        if former.is_none() && value.is_none() && !before.contains_key(item) {
            continue;
        }
        if former != Some(&value) {
            next.changed.insert(item.clone(), value.clone());
        }
        if former.is_none() {
            next.startup.insert(item.clone(), before.get(item).cloned());
        }
        next.overlay.insert(item.clone(), value);
    }
    next.read_back.retain(|item| next.overlay.contains_key(item));
    forget_deleted(&mut next, &touched);
    next
}

/// Bounds the number of deleted items that the startup manifest does not have.
fn forget_deleted(next: &mut NextOverlay, touched: &BTreeSet<Item>) {
    let NextOverlay { overlay, startup, .. } = next;
    let is_needless = |item: &Item, value: &ItemValue| {
        value.is_none() && startup.get(item).is_some_and(Option::is_none)
    };
    if overlay.iter().filter(|(item, value)| is_needless(item, value)).count() > MAX_DELETED {
        overlay.retain(|item, value| touched.contains(item) || !is_needless(item, value));
    }
    if startup.len() > MAX_DELETED + overlay.len() {
        startup.retain(|item, _| overlay.contains_key(item));
    }
}

fn without_marker(mut items: BTreeMap<Item, Arc<Value>>) -> BTreeMap<Item, Arc<Value>> {
    items.remove(&Item::config(marker::NAME));
    items
}

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

/// What differs between two overlays: the values of the second one, with those of the startup
/// manifest for items that are only in the first.
///
/// # Errors
/// An item whose value in the startup manifest is not known.
pub(super) fn difference(from: &Items, to: &Items, startup: &Items) -> Result<Items, Item> {
    let mut differing = Items::new();
    for item in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
        let value = match (from.get(item), to.get(item)) {
            (former, Some(value)) if former == Some(value) => continue,
            (_, Some(value)) => value.clone(),
            (_, None) => startup.get(item).ok_or_else(|| item.clone())?.clone(),
        };
        differing.insert(item.clone(), value);
    }
    Ok(differing)
}

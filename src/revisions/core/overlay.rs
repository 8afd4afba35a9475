//! What an update does to the overlay, and what differs between two overlays. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ankaios_model::proto::ank_base::{RestartPolicy, UpdateStateRequest};
use ankaios_model::update_mask::merge;
use serde_json::{Value, json};

use crate::revisions::item::{Item, ItemKind, ItemValue, Items, Scope, items_of, to_value};
use crate::revisions::marker;

/// Maximum number of deleted items that are remembered although the startup manifest does not have
/// them. To forget them changes nothing, unless a new startup manifest brings them.
const MAX_DELETED: usize = 1000;

/// The restart policies of the workloads of an overlay, without those that are never started again.
pub(super) fn restarted(overlay: &Items) -> BTreeMap<String, RestartPolicy> {
    let policy = |value: &ItemValue| {
        let policy = value.as_ref()?.get("restartPolicy")?.as_str()?;
        RestartPolicy::from_str_name(policy).filter(|policy| *policy != RestartPolicy::Never)
    };
    let workloads = overlay.iter().filter(|(item, _)| item.kind == ItemKind::Workload);
    workloads.filter_map(|(item, value)| Some((item.name.clone(), policy(value)?))).collect()
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

/// What differs between two overlays, like [`difference`]. The value of an item that is only in the
/// first one may not be known; then it counts as deleted.
pub(super) fn changed_items(from: &Items, to: &Items, startup: &Items) -> Items {
    let mut known = startup.clone();
    from.keys().for_each(|item| {
        known.entry(item.clone()).or_default();
    });
    difference(from, to, &known).unwrap_or_default()
}

/// The items that have another value than `present`.
pub(super) fn different(items: &Items, present: &Items) -> Items {
    let differing = items.iter().filter(|(item, value)| present.get(item) != Some(value));
    differing.map(|(item, value)| (item.clone(), value.clone())).collect()
}

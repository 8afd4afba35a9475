//! The text of items, as it is in a file.

use std::path::Path;

use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::manifest;
use serde_json::{Value, json};

use super::error::StoreError;
use super::sealed::seal;
use crate::revisions::item::{Item, Items, desired_state, items_of};

/// The field of a file that lists the masks of deleted items.
const DELETED: &str = "deleted";

/// The file with these items: a manifest, with the list of what is deleted.
pub(super) fn items_text(path: &Path, items: &Items) -> Result<Vec<u8>, StoreError> {
    let failed = |reason: String| StoreError::invalid(path, reason);
    let mut state = desired_state(items);
    let deleted: Vec<String> =
        items.iter().filter(|(_, value)| value.is_none()).map(|(item, _)| item.mask()).collect();
    if let (Some(fields), false) = (state.as_object_mut(), deleted.is_empty()) {
        fields.insert(DELETED.into(), deleted.into());
    }
    let text = manifest::to_yaml(&state).map_err(|error| failed(error.to_string()))?;
    // What would not be read as it was written must not be kept.
    match parse_items(&text) {
        Ok(read) if read == *items => Ok(seal(&text)),
        Ok(_) => Err(failed("the items cannot be written as YAML".into())),
        Err(reason) => Err(failed(reason)),
    }
}

/// The items in the text of a file.
pub(super) fn parse_items(text: &str) -> Result<Items, String> {
    let mut state: Value = manifest::read_yaml(text).map_err(|error| error.to_string())?;
    let deleted = state.as_object_mut().and_then(|fields| fields.remove(DELETED));
    let state = json!({"desiredState": state});
    // Ankaios must accept it again.
    parse_complete_state(&state).map_err(|error| error.to_string())?;
    let mut items: Items =
        items_of(&state).into_iter().map(|(item, value)| (item, Some(value))).collect();
    let deleted: Vec<Item> = serde_json::from_value(deleted.unwrap_or(json!([])))
        .map_err(|error| format!("{DELETED}: {error}"))?;
    items.extend(deleted.into_iter().map(|item| (item, None)));
    Ok(items)
}

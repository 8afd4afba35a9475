//! The text of items, as it is in a file.

use std::path::Path;

use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::manifest;
use serde_json::{Value, json};

use super::error::StoreError;
use super::sealed::seal;
use crate::revisions::item::{Item, Items, desired_state, items_of};

/// Begins a line with the mask of a deleted item. These lines are before the manifest. They are
/// comments, because Ankaios refuses a manifest with a field that it does not know.
const DELETED: &str = "# deleted: ";

/// The file with these items: a manifest, with the list of what is deleted.
pub(super) fn items_text(path: &Path, items: &Items) -> Result<Vec<u8>, StoreError> {
    let failed = |reason: String| StoreError::invalid(path, reason);
    let deleted = items.iter().filter(|(_, value)| value.is_none());
    let mut text: String = deleted.map(|(item, _)| format!("{DELETED}{}\n", item.mask())).collect();
    let manifest = manifest::to_yaml(&desired_state(items));
    text += &manifest.map_err(|error| failed(error.to_string()))?;
    // What would not be read as it was written must not be kept.
    match parse_items(&text) {
        Ok(read) if read == *items => Ok(seal(&text)),
        Ok(_) => Err(failed("the items cannot be written as YAML".into())),
        Err(reason) => Err(failed(reason)),
    }
}

/// The items in the text of a file.
pub(super) fn parse_items(text: &str) -> Result<Items, String> {
    // A text in the manifest can have such a line, too.
    let deleted = text.lines().map_while(|line| line.strip_prefix(DELETED));
    let deleted = deleted.map(|mask| Item::try_from(mask.to_owned()));
    let deleted: Vec<Item> =
        deleted.collect::<Result<_, _>>().map_err(|error| format!("{DELETED}{error}"))?;
    let state: Value = manifest::read_yaml(text).map_err(|error| error.to_string())?;
    let state = json!({"desiredState": state});
    // Ankaios must accept it again.
    parse_complete_state(&state).map_err(|error| error.to_string())?;
    let mut items: Items =
        items_of(&state).into_iter().map(|(item, value)| (item, Some(value))).collect();
    items.extend(deleted.into_iter().map(|item| (item, None)));
    Ok(items)
}

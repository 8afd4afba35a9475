//! The differences between two desired states.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::text::{MAX_NAME, shortened};

/// A workload or a config that changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemDiff {
    /// Whether it is a config; otherwise it is a workload.
    pub is_config: bool,
    /// Its name.
    pub name: String,
    /// How it changes.
    pub change: ItemChange,
}

/// How a workload or a config changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemChange {
    /// It is new.
    Added,
    /// It is deleted.
    Removed,
    /// These fields change. For a config, that is one without a name.
    Changed(Vec<FieldChange>),
}

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// The beginning of its value before and after, for the agent, and image or tag of the image.
    pub values: Option<(String, String)>,
}

/// The workloads and configs that differ, workloads first, by name.
#[must_use]
pub fn diff_items(before: &Value, after: &Value) -> Vec<ItemDiff> {
    let mut diffs = Vec::new();
    for (is_config, kind) in [(false, "workloads"), (true, "configs")] {
        let (before, after) = (items(before, kind), items(after, kind));
        let names: BTreeSet<&String> =
            before.into_iter().chain(after).flat_map(|map| map.keys()).collect();
        for name in names {
            let former = before.and_then(|map| map.get(name));
            let change = match (former, after.and_then(|map| map.get(name))) {
                (None, Some(_)) => ItemChange::Added,
                (Some(_), None) => ItemChange::Removed,
                (Some(former), Some(new)) if former != new => {
                    ItemChange::Changed(fields(former, new, is_config))
                }
                _ => continue,
            };
            diffs.push(ItemDiff { is_config, name: name.clone(), change });
        }
    }
    diffs
}

fn items<'a>(state: &'a Value, kind: &str) -> Option<&'a serde_json::Map<String, Value>> {
    state.get("desiredState")?.get(kind)?.as_object()
}

fn fields(before: &Value, after: &Value, is_config: bool) -> Vec<FieldChange> {
    let (Some(old), Some(new), false) = (before.as_object(), after.as_object(), is_config) else {
        return vec![FieldChange { field: String::new(), values: None }];
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed
        .map(|name| {
            let text = |map: &serde_json::Map<String, Value>| {
                map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let (old, new) = (text(old), text(new));
            let values = match name.as_str() {
                "agent" => Some((old, new)),
                "runtimeConfig" => images(&old, &new),
                _ => None,
            };
            let short = |text: String| shortened(&text, MAX_NAME).into_owned();
            let values = values.map(|(old, new)| (short(old), short(new)));
            FieldChange { field: name.clone(), values }
        })
        .collect()
}

/// The images of two runtime configs if nothing else differs: of the same image only the tags.
fn images(before: &str, after: &str) -> Option<(String, String)> {
    let image = |text: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with("image:"))?;
        let (_, image) = line.split_once(':')?;
        let image = image.trim().trim_matches(['"', '\'']).to_owned();
        Some((text.replacen(line, "", 1), image))
    };
    let ((rest, old), (new_rest, new)) = (image(before)?, image(after)?);
    if rest != new_rest {
        return None;
    }
    let tag = |image: &str| {
        let (name, tag) = image.rsplit_once(':')?;
        (!tag.contains('/')).then(|| (name.to_owned(), tag.to_owned()))
    };
    match (tag(&old), tag(&new)) {
        (Some((name, old)), Some((new_name, new))) if name == new_name => Some((old, new)),
        _ => Some((old, new)),
    }
}

impl fmt::Display for ItemDiff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        if self.is_config {
            formatter.write_str("config ")?;
        }
        let fields = match &self.change {
            ItemChange::Added => return write!(formatter, "{name} new"),
            ItemChange::Removed => return write!(formatter, "{name} deleted"),
            ItemChange::Changed(fields) => fields,
        };
        write!(formatter, "{name}")?;
        for (index, FieldChange { field, values }) in fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match values {
                Some((old, new)) => write!(formatter, "{comma} {old} → {new}")?,
                None if field.is_empty() => formatter.write_str(" changed")?,
                None => write!(formatter, "{comma} {field} changed")?,
            }
        }
        Ok(())
    }
}

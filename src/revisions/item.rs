//! Items: what a revision consists of. An item is one workload or one config of the desired
//! state.

use std::collections::BTreeMap;
use std::sync::Arc;

use ankaios_model::json::{self, StateFormat};
use ankaios_model::proto::ank_base::CompleteState;
use ankaios_model::update_mask::{get, parts};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kind of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ItemKind {
    Workload,
    Config,
}

impl ItemKind {
    /// The name of the map that contains the items of this kind.
    pub(super) fn map(self) -> &'static str {
        match self {
            Self::Workload => "workloads",
            Self::Config => "configs",
        }
    }
}

/// One workload or one config of the desired state. In files its text is its field mask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Item {
    pub(super) kind: ItemKind,
    pub(super) name: String,
}

impl Item {
    #[cfg(test)]
    pub(super) fn workload(name: impl Into<String>) -> Self {
        Self { kind: ItemKind::Workload, name: name.into() }
    }

    pub(super) fn config(name: impl Into<String>) -> Self {
        Self { kind: ItemKind::Config, name: name.into() }
    }

    /// The field mask that selects the item.
    pub(super) fn mask(&self) -> String {
        format!("desiredState.{}.{}", self.kind.map(), self.name)
    }
}

impl From<Item> for String {
    fn from(item: Item) -> Self {
        item.mask()
    }
}

impl TryFrom<String> for Item {
    type Error = &'static str;

    fn try_from(mask: String) -> Result<Self, Self::Error> {
        match Scope::of(&mask) {
            Scope::Item(item) => Ok(item),
            Scope::Part(_) | Scope::All(_) | Scope::Other => Err("it is not the mask of an item"),
        }
    }
}

/// The value of an item in Ankaios' own format; `None` if the item is deleted or absent. Shared,
/// because a value stays the same in many revisions.
pub(super) type ItemValue = Option<Arc<Value>>;

/// Items with their values.
pub(super) type Items = BTreeMap<Item, ItemValue>;

/// What an update mask names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One whole item.
    Item(Item),
    /// A part of an item.
    Part(Item),
    /// All items of one kind, or of all kinds.
    All(Option<ItemKind>),
    /// Nothing that revisions contain, such as the tags of agents.
    Other,
}

impl Scope {
    pub(super) fn of(mask: &str) -> Self {
        let kind = |map: &str| match map {
            "workloads" => Some(ItemKind::Workload),
            "configs" => Some(ItemKind::Config),
            _ => None,
        };
        match parts(mask)[..] {
            ["desiredState"] => Self::All(None),
            ["desiredState", map] => kind(map).map_or(Self::Other, |kind| Self::All(Some(kind))),
            ["desiredState", map, name] => kind(map)
                .map_or(Self::Other, |kind| Self::Item(Item { kind, name: name.to_owned() })),
            ["desiredState", map, name, ..] => kind(map)
                .map_or(Self::Other, |kind| Self::Part(Item { kind, name: name.to_owned() })),
            _ => Self::Other,
        }
    }
}

/// A state in Ankaios' own format. Equal states have equal values: absent and empty fields of a
/// workload are the same.
pub(super) fn to_value(state: &CompleteState) -> Value {
    serde_json::to_value(json::complete_state(state, StateFormat::Ankaios))
        .expect("a state is maps with names as keys, lists and texts")
}

/// The items of a state in Ankaios' own format.
pub(super) fn items_of(state: &Value) -> BTreeMap<Item, Arc<Value>> {
    let mut items = BTreeMap::new();
    for kind in [ItemKind::Workload, ItemKind::Config] {
        let map = get(state, &["desiredState", kind.map()]).and_then(Value::as_object);
        for (name, value) in map.into_iter().flatten() {
            let item = Item { kind, name: name.clone() };
            items.insert(item, Arc::new(normalised(kind, value.clone())));
        }
    }
    items
}

/// The desired state that consists of the items that have a value.
pub(super) fn desired_state<'a>(
    items: impl IntoIterator<Item = (&'a Item, &'a ItemValue)>,
) -> Value {
    let (mut workloads, mut configs) = (Map::new(), Map::new());
    for (item, value) in items {
        if let Some(value) = value {
            let map = match item.kind {
                ItemKind::Workload => &mut workloads,
                ItemKind::Config => &mut configs,
            };
            map.insert(item.name.clone(), Value::clone(value));
        }
    }
    let mut state = Map::new();
    state.insert("apiVersion".into(), "v1".into());
    for (name, map) in [("workloads", workloads), ("configs", configs)] {
        if !map.is_empty() {
            state.insert(name.into(), map.into());
        }
    }
    state.into()
}

/// Removes what has no meaning in a workload: empty maps and lists, and a restart policy that is
/// the default. In a config everything has a meaning.
fn normalised(kind: ItemKind, mut value: Value) -> Value {
    if kind == ItemKind::Workload {
        remove_empty(&mut value);
        if let Some(fields) = value.as_object_mut()
            && fields.get("restartPolicy").is_some_and(|policy| policy == "NEVER")
        {
            fields.remove("restartPolicy");
        }
    }
    value
}

fn remove_empty(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| {
            remove_empty(field);
            let is_empty = field.as_object().is_some_and(Map::is_empty)
                || field.as_array().is_some_and(Vec::is_empty);
            !is_empty
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mask_names_an_item_a_part_of_one_or_many() {
        let nginx = || Item::workload("nginx");
        for (mask, scope) in [
            ("desiredState", Scope::All(None)),
            ("desiredState.workloads", Scope::All(Some(ItemKind::Workload))),
            ("desiredState.configs", Scope::All(Some(ItemKind::Config))),
            ("desiredState.workloads.nginx", Scope::Item(nginx())),
            ("desiredState.configs.c", Scope::Item(Item::config("c"))),
            ("desiredState.workloads.nginx.tags.a", Scope::Part(nginx())),
            ("desiredState.apiVersion", Scope::Other),
            ("desiredState.apiVersion.x", Scope::Other),
            ("agents.agent_A.tags", Scope::Other),
        ] {
            assert_eq!(Scope::of(mask), scope, "{mask}");
        }
        assert_eq!(nginx().mask(), "desiredState.workloads.nginx");
    }

    #[test]
    fn values_of_equal_workloads_are_equal() {
        let state = |workload: Value, config: Value| json!({"desiredState": {"workloads": {"w": workload}, "configs": {"c": config}}});
        let short = state(json!({"agent": "a", "runtime": "podman"}), json!([]));
        let long = state(
            json!({"agent": "a", "runtime": "podman", "tags": {}, "restartPolicy": "NEVER",
                   "controlInterfaceAccess": {"allowRules": [], "denyRules": []}}),
            json!([]),
        );
        assert_eq!(items_of(&short), items_of(&long));
        assert_eq!(*items_of(&long)[&Item::config("c")], json!([]), "an empty list is a value");
    }

    #[test]
    fn a_state_is_made_of_its_items() {
        let state = json!({"desiredState": {"apiVersion": "v1", "workloads": {"w": {"agent": "a"}},
                                            "configs": {"c": "1"}}});
        let mut items: Items =
            items_of(&state).into_iter().map(|(item, value)| (item, Some(value))).collect();
        items.insert(Item::config("gone"), None);
        assert_eq!(desired_state(&items), state["desiredState"]);
    }
}

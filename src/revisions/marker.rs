//! The marker: a config in the desired state that says which revision Ankaios has.
//!
//! Ankaios takes an update as a whole or not at all, and every update contains the marker. So the
//! marker is exact.

use std::collections::BTreeSet;

use ankaios_model::is_name;
use ankaios_model::proto::ank_base::UpdateStateRequest;
use ankaios_model::update_mask::{get, parts};
use serde_json::{Value, json};

use super::item::{Item, ItemKind};
use super::serial::RequestSerial;
use crate::guard::MARKER_CONFIG;

/// The name of the config.
pub(crate) const NAME: &str = MARKER_CONFIG;

/// The path of the config in the state.
const PATH: [&str; 3] = ["desiredState", "configs", NAME];

/// The field mask that selects the config.
pub(crate) const MASK: &str = "desiredState.configs.fleetconnector_revision";

/// The fields that an event subscription follows. Ankaios 1.0.1 sends no event for the config as a
/// whole when it is the first one of all.
pub(super) const EVENT_FIELDS: [&str; 2] = [
    "desiredState.configs.fleetconnector_revision.revision",
    "desiredState.configs.fleetconnector_revision.id",
];

/// Which revision Ankaios has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) revision: u64,
    /// Distinguishes revisions that two connectors have given the same number.
    pub(super) id: String,
    /// The operation that made the revision.
    pub(super) operation: String,
    /// The request that made it.
    pub(super) request_id: String,
    pub(super) release: Option<String>,
    /// The highest serial of the signed requests until then.
    pub(super) serial: Option<RequestSerial>,
    /// The items of the revision's overlay.
    pub(super) items: BTreeSet<Item>,
}

impl Marker {
    /// The value of the config. All numbers are texts: Ankaios' schema has no numbers.
    pub(super) fn to_value(&self) -> Value {
        let names = |kind| {
            let of_kind = self.items.iter().filter(move |item| item.kind == kind);
            of_kind.map(|item| item.name.as_str()).collect::<Vec<_>>()
        };
        let mut value = json!({
            "revision": self.revision.to_string(),
            "id": self.id,
            IS: {&self.id: {}},
            "operation": self.operation,
            "request_id": self.request_id,
            "workloads": names(ItemKind::Workload),
            "configs": names(ItemKind::Config),
        });
        if let (Some(fields), Some(release)) = (value.as_object_mut(), &self.release) {
            fields.insert("release".into(), release.as_str().into());
        }
        if let (Some(fields), Some(RequestSerial { serial, digest })) =
            (value.as_object_mut(), &self.serial)
        {
            fields.insert("serial".into(), serial.to_string().into());
            fields.insert("digest".into(), digest.as_str().into());
        }
        value
    }

    /// The marker of an event about [`EVENT_FIELDS`]. An event has only what has changed, so this is
    /// no more than a reason to read the marker. `None` if there is none.
    pub(super) fn hint(state: &Value) -> Option<Self> {
        let value = get(state, &PATH)?;
        let text = |field| value.get(field).and_then(Value::as_str);
        let (revision, id) = (text("revision"), text("id"));
        (revision.is_some() || id.is_some()).then(|| Self {
            revision: revision.and_then(number).unwrap_or_default(),
            id: id.unwrap_or_default().to_owned(),
            operation: String::new(),
            request_id: String::new(),
            release: None,
            serial: None,
            items: BTreeSet::new(),
        })
    }

    /// The marker in a state in Ankaios' own format. `None` if there is none, or one that this
    /// version cannot read: then it is replaced, as if there were none.
    pub(super) fn of(state: &Value) -> Option<Self> {
        let value = get(state, &PATH)?;
        let id = value.get("id").and_then(Value::as_str).filter(|id| is_id(id))?;
        // Updates refer to it.
        value.get(IS)?.get(id)?.as_object()?;
        let text = |field| value.get(field).and_then(Value::as_str);
        let names = |kind: ItemKind| {
            let names = value.get(kind.map()).and_then(Value::as_array).into_iter().flatten();
            let names =
                names.filter_map(Value::as_str).filter(|name| is_name(name) && *name != NAME);
            names.map(move |name| Item { kind, name: name.to_owned() }).collect::<Vec<_>>()
        };
        Some(Self {
            revision: number(text("revision")?)?,
            id: id.to_owned(),
            operation: text("operation").unwrap_or_default().to_owned(),
            request_id: text("request_id").unwrap_or_default().to_owned(),
            release: text("release").map(str::to_owned),
            serial: text("serial").and_then(number).map(|serial| RequestSerial {
                serial,
                digest: text("digest").unwrap_or_default().to_owned(),
            }),
            items: [ItemKind::Workload, ItemKind::Config].into_iter().flat_map(names).collect(),
        })
    }
}

/// The field of the marker that an update can refer to, see [`condition`].
const IS: &str = "is";

/// A mask that Ankaios refuses unless its marker has this id: it removes a field, which is not there,
/// of a map that only this marker has.
pub(super) fn condition(id: &str) -> String {
    format!("{MASK}.{IS}.{id}.none")
}

/// A number as the connector writes it. The last ones are left for those that follow.
fn number(text: &str) -> Option<u64> {
    let number = text.parse().ok().filter(|number| (1..=MAX_REVISION).contains(number))?;
    (number.to_string() == text).then_some(number)
}

/// The largest number of a revision that is taken over from Ankaios.
pub(super) const MAX_ADOPTED: u64 = 1 << 52;

/// The largest number that is read. It leaves room for changes after a revision that was taken over.
const MAX_REVISION: u64 = 1 << 53;

/// Whether this is an id as the connector makes them. It is part of a mask.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes the marker from the new state of a request. A mask of all configs would write it.
pub(crate) fn remove_from(update: &mut UpdateStateRequest) {
    let state = update.new_state.as_mut().and_then(|state| state.desired_state.as_mut());
    if let Some(configs) = state.and_then(|state| state.configs.as_mut()) {
        configs.configs.remove(NAME);
    }
}

/// The first of these masks that names the marker or a part of it. A mask of all configs does not:
/// the connector adds the marker to its update. To Ankaios `*` in an update is an ordinary name.
pub(crate) fn named_by(masks: &[String]) -> Option<&String> {
    masks.iter().find(|mask| parts(mask).starts_with(&PATH))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker {
            revision: 12,
            id: "ab".into(),
            operation: "manifest/apply".into(),
            request_id: "r".into(),
            release: Some("1.0".into()),
            serial: Some(RequestSerial { serial: 9, digest: "ab".into() }),
            items: [Item::workload("w"), Item::config("c"), Item::config("d")].into(),
        }
    }

    fn read(value: Value) -> Option<Marker> {
        Marker::of(&json!({"desiredState": {"configs": {NAME: value}}}))
    }

    #[test]
    fn a_written_marker_can_be_read() {
        assert_eq!(read(marker().to_value()), Some(marker()));
        let plain = Marker { release: None, serial: None, items: BTreeSet::new(), ..marker() };
        assert_eq!(read(plain.to_value()), Some(plain));
        assert_eq!(MASK, PATH.join("."));
    }

    #[test]
    fn an_event_has_only_the_fields_that_have_changed() {
        let hint =
            |value: Value| Marker::hint(&json!({"desiredState": {"configs": {NAME: value}}}));
        let both = hint(json!({"revision": "12", "id": "ab"})).unwrap();
        assert_eq!((both.revision, both.id.as_str()), (12, "ab"));
        let one = hint(json!({"revision": "13"})).unwrap();
        assert_eq!((one.revision, one.id.as_str()), (13, ""));
        assert_eq!(hint(json!({})), None);
        assert_eq!(Marker::hint(&json!({})), None);
        assert!(EVENT_FIELDS.iter().all(|field| field.starts_with(MASK)));
    }

    #[test]
    fn anything_else_is_no_marker() {
        for value in [
            json!("12"),
            json!({"revision": "x", "id": "a"}),
            json!({"revision": "-1", "id": "a"}),
            json!({"revision": "0", "id": "a", "is": {"a": {}}}),
            json!({"revision": "007", "id": "a", "is": {"a": {}}}),
            json!({"revision": "+7", "id": "a", "is": {"a": {}}}),
            json!({"revision": u64::MAX.to_string(), "id": "a", "is": {"a": {}}}),
            json!({"revision": "1"}),
            json!({"revision": "1", "id": "a"}),
            json!({"revision": "1", "id": "a.b", "is": {"a.b": {}}}),
            json!({"revision": "1", "id": "a", "is": {"b": {}}}),
            json!({"revision": ["1"], "id": "a"}),
        ] {
            assert_eq!(read(value.clone()), None, "{value}");
        }
        let odd = json!({"revision": "1", "id": "a", "is": {"a": {}},
                         "workloads": ["a b", "w", {}], "configs": [NAME]});
        assert_eq!(read(odd).unwrap().items, [Item::workload("w")].into());
        assert_eq!(Marker::of(&json!({})), None);
    }

    #[test]
    fn only_masks_that_name_the_marker_itself_are_found() {
        let named = |mask: &str| named_by(&[mask.to_owned()]).is_some();
        for mask in [MASK, "desiredState.configs.fleetconnector_revision.id"] {
            assert!(named(mask), "{mask}");
        }
        for mask in ["desiredState", "desiredState.configs", "desiredState.configs.other", "*.*.*"]
        {
            assert!(!named(mask), "{mask}");
        }
    }
}

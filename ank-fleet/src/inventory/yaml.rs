//! Inventories in YAML.

use fleet_contract::Labels;
use serde::Deserialize;
use serde::de::IgnoredAny;
use yaml_events::{EventData, Mark, YamlEvent, YamlEvents};

use super::listed::{Inventory, InventoryError};

const EXPECTED: &str = "expected a map from VINs to labels, or a list of VINs";

/// Maximum depth of collections: `vehicles`, a list, an entry, its labels.
const MAX_DEPTH: usize = 4;

/// A node and where it begins.
#[derive(Debug)]
struct Node {
    line: usize,
    column: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(String),
    /// A plain scalar that means `null`.
    Null,
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    fn error(&self, reason: impl Into<String>) -> InventoryError {
        InventoryError { line: self.line, column: self.column, reason: reason.into() }
    }

    fn text(&self, expected: &str) -> Result<&str, InventoryError> {
        match &self.kind {
            Kind::Scalar(text) => Ok(text),
            _ => Err(self.error(format!("expected {expected}"))),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Inventory, InventoryError> {
    let mut builder = Builder { open: Vec::new(), root: None };
    for event in YamlEvents::new(text) {
        let event = event.map_err(|_| syntax_error(text))?;
        builder.event(&event)?;
    }
    let empty = Node { line: 1, column: 1, kind: Kind::Null };
    let root = builder.root.unwrap_or(empty);
    let vehicles = match &root.kind {
        Kind::Map(entries) => match entries.as_slice() {
            [(Node { kind: Kind::Scalar(key), .. }, vehicles)] if key == "vehicles" => vehicles,
            _ => &root,
        },
        _ => &root,
    };
    let mut inventory = Inventory::default();
    match &vehicles.kind {
        Kind::Map(entries) => {
            for (vin, value) in entries {
                let name = vin.text("a VIN")?;
                inventory.add(name, labels(value)?).map_err(|reason| vin.error(reason))?;
            }
        }
        Kind::List(items) => items.iter().try_for_each(|item| add_item(&mut inventory, item))?,
        Kind::Scalar(_) | Kind::Null => return Err(vehicles.error(EXPECTED)),
    }
    Ok(inventory)
}

/// Adds an item of a list: a VIN, or `{vin: …, labels: {…}}`.
fn add_item(inventory: &mut Inventory, item: &Node) -> Result<(), InventoryError> {
    let expected = "expected a VIN, or a map with vin and labels";
    let (vin, labels) = match &item.kind {
        Kind::Scalar(_) => (item, Labels::default()),
        Kind::Map(entries) => {
            let (mut vin, mut found) = (None, Labels::default());
            for (key, value) in entries {
                match key.text("vin or labels")? {
                    "vin" => vin = Some(value),
                    "labels" => found = labels(value)?,
                    other => {
                        return Err(key.error(format!("expected vin or labels, found {other:?}")));
                    }
                }
            }
            (vin.ok_or_else(|| item.error(expected))?, found)
        }
        _ => return Err(item.error(expected)),
    };
    inventory.add(vin.text("a VIN")?, labels).map_err(|reason| vin.error(reason))
}

fn labels(node: &Node) -> Result<Labels, InventoryError> {
    let mut labels = Labels::default();
    match &node.kind {
        Kind::Null => {}
        Kind::Map(entries) => {
            for (key, value) in entries {
                let name = key.text("a label key")?;
                let text = match &value.kind {
                    Kind::Null => "",
                    _ => value.text("a label value")?,
                };
                if labels.get(name).is_some() {
                    return Err(key.error(format!("the label {name:?} is there twice")));
                }
                labels.insert(name, text).map_err(|reason| value.error(reason))?;
            }
        }
        _ => return Err(node.error("expected labels, for example {region: eu}")),
    }
    Ok(labels)
}

/// The iterator does not say what is wrong; the deserializer of the same libyaml does.
fn syntax_error(text: &str) -> InventoryError {
    let error = serde_yaml::Deserializer::from_str(text)
        .find_map(|document| IgnoredAny::deserialize(document).err());
    let location = error.as_ref().and_then(serde_yaml::Error::location);
    let reason = error.map_or("it ends too early".to_owned(), |error| error.to_string());
    let (line, column) = location.map_or((1, 1), |it| (it.line().max(1), it.column().max(1)));
    InventoryError { line, column, reason: format!("it is not valid YAML: {reason}") }
}

/// Builds the tree from events.
struct Builder {
    /// Collections that have not ended, each with the key that waits for its value.
    open: Vec<(Node, Option<Node>)>,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: &YamlEvent) -> Result<(), InventoryError> {
        let Mark { line, column, .. } = event.start();
        let (line, column) = (line + 1, column + 1);
        let error = |reason: &str| InventoryError { line, column, reason: reason.to_owned() };
        let kind = match event.data() {
            EventData::DocumentStart if self.root.is_some() => {
                return Err(error("a second YAML document begins here; write only one"));
            }
            EventData::StreamStart
            | EventData::StreamEnd
            | EventData::DocumentStart
            | EventData::DocumentEnd => return Ok(()),
            EventData::SequenceEnd | EventData::MappingEnd => {
                if let Some((node, _)) = self.open.pop() {
                    self.add(node);
                }
                return Ok(());
            }
            EventData::Alias { .. } => {
                return Err(error("aliases are not supported; write the value"));
            }
            EventData::Scalar { value, plain, .. } => {
                let text = String::from_utf8_lossy(value).into_owned();
                let is_null = plain && ["", "~", "null", "Null", "NULL"].contains(&text.as_str());
                if is_null { Kind::Null } else { Kind::Scalar(text) }
            }
            EventData::SequenceStart(_) => Kind::List(Vec::new()),
            EventData::MappingStart(_) => Kind::Map(Vec::new()),
        };
        let node = Node { line, column, kind };
        match node.kind {
            Kind::Scalar(_) | Kind::Null => self.add(node),
            _ if self.open.len() >= MAX_DEPTH => {
                return Err(error("lists and maps are nested too deeply"));
            }
            _ => self.open.push((node, None)),
        }
        Ok(())
    }

    /// Adds a complete node to the innermost collection.
    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Node { kind: Kind::List(items), .. }, _)) => items.push(node),
            Some((Node { kind: Kind::Map(entries), .. }, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            Some(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_give_the_same_inventory() {
        let expected = Inventory::parse_csv("vin,region\nA1,eu\n12,\n").unwrap();
        for text in [
            "A1: {region: eu}\n12:\n",
            "vehicles:\n  A1:\n    region: \"eu\"\n  12: {}\n",
            "- 12\n- vin: A1\n  labels: {region: eu}\n",
            "vehicles:\n- {vin: 12}\n- {labels: {region: eu}, vin: A1}\n",
            r#"{"vehicles": {"A1": {"region": "eu"}, "12": null}}"#,
        ] {
            assert_eq!(parse(text), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn errors_have_line_and_column() {
        for (text, line, column, reason) in [
            ("", 1, 1, EXPECTED),
            ("vehicles: 3", 1, 11, EXPECTED),
            ("A1: {region: -x}", 1, 14, "is not a valid label value"),
            ("A1: eu", 1, 5, "expected labels"),
            ("A/1:\n", 1, 1, "is not a valid VIN"),
            ("A1:\nA1:\n", 2, 1, "listed twice"),
            ("- A1\n- name: A2\n", 2, 3, "expected vin or labels, found \"name\""),
            ("- A1\n- labels: {}\n", 2, 3, "expected a VIN, or a map with vin and labels"),
            ("- [A1]\n", 1, 3, "expected a VIN, or a map"),
            ("A1: {a: 1, a: 2}", 1, 12, "the label \"a\" is there twice"),
            ("a: &x {}\nb: *x\n", 2, 4, "aliases are not supported"),
            ("A1:\n---\nA2:\n", 2, 1, "a second YAML document"),
            ("A1: {", 2, 1, "it is not valid YAML"),
            ("[[[[[", 1, 5, "nested too deeply"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        }
    }
}

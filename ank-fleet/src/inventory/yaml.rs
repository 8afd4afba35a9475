//! Inventories in YAML.

use fleet_contract::Labels;
use yaml_events::tree::{self, Kind, Node, Position, TreeError};

use super::listed::{Inventory, InventoryError};

const EXPECTED: &str = "expected a map from VINs to labels, or a list of VINs";

/// Maximum depth of collections: `vehicles`, a list, an entry, its labels.
const MAX_DEPTH: usize = 4;

fn error(node: &Node, reason: impl Into<String>) -> InventoryError {
    InventoryError { line: node.at.line, column: node.at.column, reason: reason.into() }
}

fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, InventoryError> {
    match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => Ok(text),
        _ => Err(error(node, format!("expected {expected}"))),
    }
}

pub(super) fn parse(text_of_file: &str) -> Result<Inventory, InventoryError> {
    let root = tree::parse(text_of_file, MAX_DEPTH).map_err(|TreeError { at, reason }| {
        InventoryError { line: at.line, column: at.column, reason }
    })?;
    let Some(root) = root else {
        let Position { line, column } = Position::START;
        return Err(InventoryError { line, column, reason: EXPECTED.to_owned() });
    };
    let vehicles = match &root.kind {
        Kind::Map(entries) => match entries.as_slice() {
            [(Node { kind: Kind::Scalar { text, .. }, .. }, vehicles)] if text == "vehicles" => {
                vehicles
            }
            _ => &root,
        },
        _ => &root,
    };
    let mut inventory = Inventory::default();
    match &vehicles.kind {
        Kind::Map(entries) => {
            for (vin, value) in entries {
                let name = text(vin, "a VIN")?;
                inventory.add(name, labels(value)?).map_err(|reason| error(vin, reason))?;
            }
        }
        Kind::List(items) => items.iter().try_for_each(|item| add_item(&mut inventory, item))?,
        Kind::Scalar { .. } => return Err(error(vehicles, EXPECTED)),
    }
    Ok(inventory)
}

/// Adds an item of a list: a VIN, or `{vin: …, labels: {…}}`.
fn add_item(inventory: &mut Inventory, item: &Node) -> Result<(), InventoryError> {
    let expected = "expected a VIN, or a map with vin and labels";
    let (vin, labels) = match &item.kind {
        Kind::Scalar { .. } => (item, Labels::default()),
        Kind::Map(entries) => {
            let (mut vin, mut found) = (None, Labels::default());
            for (key, value) in entries {
                match text(key, "vin or labels")? {
                    "vin" => vin = Some(value),
                    "labels" => found = labels(value)?,
                    other => {
                        return Err(error(key, format!("expected vin or labels, found {other:?}")));
                    }
                }
            }
            (vin.ok_or_else(|| error(item, expected))?, found)
        }
        _ => return Err(error(item, expected)),
    };
    inventory.add(text(vin, "a VIN")?, labels).map_err(|reason| error(vin, reason))
}

fn labels(node: &Node) -> Result<Labels, InventoryError> {
    let mut labels = Labels::default();
    match &node.kind {
        _ if node.is_null() => {}
        Kind::Map(entries) => {
            for (key, value) in entries {
                let name = text(key, "a label key")?;
                let label = if value.is_null() { "" } else { text(value, "a label value")? };
                if labels.get(name).is_some() {
                    return Err(error(key, format!("the label {name:?} is there twice")));
                }
                labels.insert(name, label).map_err(|reason| error(value, reason))?;
            }
        }
        _ => return Err(error(node, "expected labels, for example {region: eu}")),
    }
    Ok(labels)
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
            ("a: &x {}\nb: *x\n", 1, 4, "anchors and aliases are not supported"),
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

//! The vehicles of an inventory.

use std::collections::BTreeMap;

use fleet_contract::Labels;

use crate::vin::Vin;

/// The vehicles of an inventory file, with their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    vehicles: BTreeMap<Vin, Labels>,
}

/// A mistake in an inventory file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct InventoryError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what is expected.
    pub reason: String,
}

impl Inventory {
    /// The vehicles with their labels, sorted by VIN.
    pub fn vehicles(&self) -> impl Iterator<Item = (&Vin, &Labels)> {
        self.vehicles.iter()
    }

    /// Adds a vehicle; the error does not have a position.
    pub(super) fn add(&mut self, vin: &str, labels: Labels) -> Result<(), String> {
        let vin: Vin = vin.parse().map_err(|error: crate::vin::InvalidVin| error.to_string())?;
        match self.vehicles.insert(vin, labels) {
            None => Ok(()),
            Some(_) => Err("the vehicle is listed twice, remove one of the entries".to_owned()),
        }
    }
}

//! The inventory: which vehicles there should be, and their labels.
//!
//! It is a file in one of three forms:
//!
//! ```yaml
//! # A map from VINs to labels, or the same below a key `vehicles`.
//! WDB0412: {region: eu, model: x}
//! WDB0533:
//! ```
//! ```yaml
//! # A list of VINs, or of VINs with labels, or the same below a key `vehicles`.
//! - WDB0412
//! - vin: WDB0533
//!   labels: {region: eu}
//! ```
//! ```csv
//! vin,region,model
//! WDB0412,eu,x
//! WDB0533,,"y"
//! ```
//! In CSV, each column but `vin` is a label; an empty field means that the vehicle does not have
//! it. YAML is read unless the name of the file ends with `.csv`.

mod csv;
mod fleet;
mod yaml;

use std::collections::BTreeMap;

use fleet_contract::Labels;

pub use fleet::{Fleet, KnownVehicle};

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
    /// Parses a file: CSV if its name ends with `.csv`, otherwise YAML.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, InventoryError> {
        let extension = file_name.rsplit_once('.').map(|(_, extension)| extension);
        if extension.is_some_and(|it| it.eq_ignore_ascii_case("csv")) {
            Self::parse_csv(text)
        } else {
            Self::parse_yaml(text)
        }
    }

    /// Parses CSV.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse_csv(text: &str) -> Result<Self, InventoryError> {
        csv::parse(text.strip_prefix('\u{FEFF}').unwrap_or(text))
    }

    /// Parses YAML.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse_yaml(text: &str) -> Result<Self, InventoryError> {
        yaml::parse(text.strip_prefix('\u{FEFF}').unwrap_or(text))
    }

    /// The vehicles with their labels, sorted by VIN.
    pub fn vehicles(&self) -> impl Iterator<Item = (&Vin, &Labels)> {
        self.vehicles.iter()
    }

    /// Adds a vehicle; the error does not have a position.
    fn add(&mut self, vin: &str, labels: Labels) -> Result<(), String> {
        let vin: Vin = vin.parse().map_err(|error: crate::vin::InvalidVin| error.to_string())?;
        match self.vehicles.insert(vin, labels) {
            None => Ok(()),
            Some(_) => Err("the vehicle is listed twice, remove one of the entries".to_owned()),
        }
    }
}

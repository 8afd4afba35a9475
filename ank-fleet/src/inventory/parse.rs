//! Reads inventory files.

use super::listed::{Inventory, InventoryError};
use super::{csv, yaml};

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
}

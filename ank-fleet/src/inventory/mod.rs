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
mod listed;
mod parse;
mod yaml;

pub use fleet::{Fleet, KnownVehicle};
pub use listed::{Inventory, InventoryError};

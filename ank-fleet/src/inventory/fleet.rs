//! The vehicles that are known: from the inventory, and from what vehicles say of themselves.

use std::collections::BTreeMap;

use fleet_contract::Labels;

use super::listed::Inventory;
use crate::vin::Vin;

/// All vehicles that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    vehicles: BTreeMap<Vin, KnownVehicle>,
}

/// A vehicle that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownVehicle {
    /// The labels of the inventory, and those that the vehicle declares under other keys.
    pub labels: Labels,
    /// Whether the inventory lists it.
    pub is_listed: bool,
    /// Whether its status was seen on the broker.
    pub is_seen: bool,
}

impl Fleet {
    /// Merges the inventory with the vehicles that were seen and the labels that they declare.
    pub fn new(
        inventory: Option<&Inventory>,
        seen: impl IntoIterator<Item = (Vin, Labels)>,
    ) -> Self {
        let listed = inventory.into_iter().flat_map(Inventory::vehicles);
        let listed = listed.map(|(vin, labels)| {
            let labels = labels.clone();
            (vin.clone(), KnownVehicle { labels, is_listed: true, is_seen: false })
        });
        let mut fleet = Self { vehicles: listed.collect() };
        for (vin, declared) in seen {
            fleet.see(vin, &declared);
        }
        fleet
    }

    /// Adds a vehicle that was seen for the first time, with the labels that it declares.
    pub fn see(&mut self, vin: Vin, declared: &Labels) {
        let vehicle = self.vehicles.entry(vin).or_default();
        if !vehicle.is_seen {
            vehicle.labels = std::mem::take(&mut vehicle.labels).or(declared);
            vehicle.is_seen = true;
        }
    }

    /// A vehicle.
    #[must_use]
    pub fn get(&self, vin: &Vin) -> Option<&KnownVehicle> {
        self.vehicles.get(vin)
    }

    /// All vehicles, sorted by VIN.
    pub fn vehicles(&self) -> impl Iterator<Item = (&Vin, &KnownVehicle)> {
        self.vehicles.iter()
    }

    /// The number of vehicles.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vehicles.len()
    }

    /// Whether no vehicle is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vehicles.is_empty()
    }

    /// The number of vehicles that were seen.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.vehicles.values().filter(|vehicle| vehicle.is_seen).count()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_inventory_come_first() {
        let inventory = Inventory::parse_yaml("A1: {region: eu}\nA2:\n").unwrap();
        let seen =
            ["A1", "A3"].map(|vin| (vin.parse().unwrap(), "region=us,model=x".parse().unwrap()));
        let fleet = Fleet::new(Some(&inventory), seen);
        let labels = |vin: &str| fleet.get(&vin.parse().unwrap()).unwrap().labels.clone();
        assert_eq!(labels("A1"), "region=eu,model=x".parse().unwrap());
        assert_eq!(labels("A2"), Labels::default());
        assert_eq!(labels("A3"), "region=us,model=x".parse().unwrap());
        assert_eq!((fleet.len(), fleet.seen()), (3, 2));
    }
}

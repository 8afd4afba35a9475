//! The plan of a roll-out: made once, before anything is sent, and never changed.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_contract::revision::RollbackMode;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::id::RolloutId;
use crate::time::Time;
use crate::vin::Vin;
use crate::waves::{Limit, Rate, Waves, WavesError};

/// The operation that makes the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// `manifest/apply`.
    #[serde(rename = "manifest/apply")]
    Apply,
    /// `manifest/delete`.
    #[serde(rename = "manifest/delete")]
    Delete,
    /// `state/update`.
    #[serde(rename = "state/update")]
    Update,
}

/// What happens when a limit or a gate stops the roll-out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing new is sent.
    #[default]
    Stop,
    /// What the roll-out has changed is taken back.
    Undo,
}

/// The options of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `--max-failures`.
    pub max_failures: Limit,
    /// `--max-unreachable`.
    pub max_unreachable: Limit,
    /// `--parallel`: how many vehicles at most are being changed.
    pub parallel: usize,
    /// `--rate`: how many vehicles are started per time.
    pub rate: Option<Rate>,
    /// `--deadline`: the time for each vehicle.
    pub deadline: Duration,
    /// `--queue`: how long the broker keeps the request for a vehicle that is offline.
    pub queue: Option<Duration>,
    /// `--soak`: how long what runs must stay up after each wave.
    pub soak: Option<Duration>,
    /// `--gate`: the command that must succeed after each wave.
    pub gate: Option<String>,
    /// `--pause-after`: the wave after which the roll-out pauses, from 1.
    pub pause_after: Option<usize>,
    /// `--rollback`, passed on to the vehicle.
    pub rollback: RollbackMode,
    /// `--on-failure`.
    pub on_failure: OnFailure,
    /// `--until`: nothing is started after this time.
    pub until: Option<Time>,
    /// `--release`, passed on to the vehicle.
    pub release: Option<String>,
    /// `--force`: lifts the protection of workloads.
    #[serde(default)]
    pub force: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_failures: Limit::DEFAULT,
            max_unreachable: Limit::NONE,
            parallel: 50,
            rate: None,
            deadline: Duration::from_secs(600),
            queue: None,
            soak: None,
            gate: None,
            pause_after: None,
            rollback: RollbackMode::OnFailure,
            on_failure: OnFailure::Stop,
            until: None,
            release: None,
            force: false,
        }
    }
}

/// The plan of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The id of the roll-out.
    pub id: RolloutId,
    /// When the plan was made.
    pub created: Time,
    /// The operation that makes the change.
    pub operation: Change,
    /// Its payload: a manifest, or a signed bundle.
    pub payload: String,
    /// The options.
    pub options: Options,
    /// The cumulative sizes of the waves; the last is the number of vehicles.
    pub waves: Vec<usize>,
    /// The vehicles, in the order in which they are changed.
    pub vehicles: Vec<Vin>,
    /// Those of them that have the change already.
    pub unchanged: BTreeSet<Vin>,
}

impl Plan {
    /// Makes the plan for these vehicles, in an order that depends on the id and the VINs only.
    ///
    /// # Errors
    /// The waves do not suit the number of vehicles.
    pub fn new(
        id: RolloutId,
        created: Time,
        (operation, payload): (Change, String),
        vehicles: impl IntoIterator<Item = Vin>,
        waves: Option<&Waves>,
        options: Options,
    ) -> Result<Self, WavesError> {
        let vehicles: BTreeSet<Vin> = vehicles.into_iter().collect();
        let count = vehicles.len();
        let waves = match waves {
            Some(waves) => waves.sizes(count)?,
            None => Waves::default_for(count).sizes(count)?,
        };
        let mut vehicles: Vec<Vin> = vehicles.into_iter().collect();
        vehicles.sort_by_cached_key(|vin| order_key(&id, vin));
        let unchanged = BTreeSet::new();
        Ok(Self { id, created, operation, payload, options, waves, vehicles, unchanged })
    }
}

/// SHA-256(id ‖ VIN): random, and the same on each machine.
fn order_key(id: &RolloutId, vin: &Vin) -> [u8; 32] {
    Sha256::new().chain_update(id.as_str()).chain_update(vin.as_str()).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(id: &str) -> Plan {
        let vins = (0..200).map(|n| format!("V{n}").parse().unwrap());
        let change = (Change::Apply, String::new());
        let id = id.parse().unwrap();
        Plan::new(id, Time::from_millis(0), change, vins, None, Options::default()).unwrap()
    }

    #[test]
    fn the_order_depends_on_the_id_and_the_vins() {
        assert_eq!(plan("7f3a"), plan("7f3a"));
        assert_ne!(plan("7f3a").vehicles, plan("7f3b").vehicles);
        assert_eq!(plan("7f3a").waves, [1, 10, 50, 200]);
        let first = plan("7f3a").vehicles.into_iter().next().unwrap();
        let all = plan("7f3a").vehicles;
        let key = |vin: &Vin| Sha256::digest(format!("7f3a{vin}"));
        assert!(all.iter().all(|vin| key(&first) <= key(vin)));
    }

    #[test]
    fn plans_are_read_as_they_were_written() {
        let json = serde_json::to_string(&plan("7f3a")).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan("7f3a"));
    }
}

//! A single replica.

use crate::support::connector::start_connector_at;
use crate::support::vehicle::Vehicle;
use crate::support::{Process, Proxy};

/// The log lines that say that a replica has taken over, and that it has seen another active
/// one.
pub(crate) const BECOMES_ACTIVE: &str = "this replica becomes active";
pub(crate) const IS_STANDBY: &str = "standby: another connector is active";

/// A connector with its own agent and its own uplink.
pub(crate) struct Replica {
    pub(crate) name: &'static str,
    pub(crate) proxy: Proxy,
    pub(crate) vehicle: Vehicle,
    pub(crate) connector: Process,
}

impl Replica {
    pub(crate) async fn start(broker: u16, name: &'static str) -> Self {
        let proxy = Proxy::start(broker).await;
        let vehicle = Vehicle::start().await;
        let connector = start(&proxy, &vehicle, name);
        connector.line("the link to Ankaios is up").await;
        Self { name, proxy, vehicle, connector }
    }

    /// Replaces a process that has ended with a new one.
    pub(crate) fn start_again(&mut self) {
        self.connector = start(&self.proxy, &self.vehicle, self.name);
    }

    /// Whether it is standby, according to the end of its log.
    pub(crate) fn is_standby(&self) -> bool {
        let output = self.connector.output();
        let last = |part: &str| output.iter().rposition(|line| line.contains(part));
        last(IS_STANDBY) > last(BECOMES_ACTIVE)
    }

    /// How many lines of its log contain this part.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.connector.output().iter().filter(|line| line.contains(part)).count()
    }
}

pub(crate) fn start(proxy: &Proxy, vehicle: &Vehicle, name: &str) -> Process {
    let settings = [("REPLICA_ID", name), ("MQTT_KEEP_ALIVE", "5s")];
    start_connector_at(proxy.port(), vehicle.control_interface(), &settings)
}

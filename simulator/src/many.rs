//! The demo with many vehicles, for `ank-fleet`.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use futures_util::future::{join_all, select_all};
use tokio::time::{interval, sleep};
use tracing::level_filters::LevelFilter;
use vehicle_simulator::{SimulatedVehicle, execution};

use crate::connector::RunningConnector;
use crate::fleet;

/// The name of the fleet.
const FLEET: &str = "demo";

/// From so many vehicles on, two fail and one is offline.
const MIN_WITH_FAULTS: u16 = 4;

/// How often it is looked whether a workload has started that is to crash.
const CRASH_INTERVAL: Duration = Duration::from_millis(100);

/// What a vehicle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Good,
    /// What operators start on it crashes.
    Fails,
    Offline,
}

/// Many vehicles with their connectors.
pub(crate) struct Many {
    vehicles: Vec<(Role, String, SimulatedVehicle)>,
    connectors: Vec<RunningConnector>,
}

/// The name of a vehicle, counted from 1.
fn vin(number: u16) -> String {
    format!("SIM{number:04}")
}

fn role(number: u16, count: u16) -> Role {
    match count - number {
        _ if count < MIN_WITH_FAULTS => Role::Good,
        0 => Role::Offline,
        1 | 2 => Role::Fails,
        _ => Role::Good,
    }
}

fn labels(number: u16) -> String {
    let region = if number % 2 == 1 { "eu" } else { "us" };
    let model = match number % 3 {
        0 => "x",
        1 => "y",
        _ => "z",
    };
    let canary = if number <= 2 { ",canary=true" } else { "" };
    format!("region={region},model={model}{canary}")
}

impl Many {
    /// Starts the vehicles and their connectors.
    pub(crate) async fn start(
        count: u16,
        host: &str,
        port: u16,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut many = Self { vehicles: Vec::new(), connectors: Vec::new() };
        for number in 1..=count {
            let (vin, role) = (vin(number), role(number, count));
            let folder = folder.join(&vin);
            let control_interface = folder.join("control_interface");
            let vehicle = SimulatedVehicle::start(&control_interface, fleet::options()).await?;
            let state = fleet::with_workloads(vehicle.state());
            vehicle.set_startup_manifest(state.desired_state.clone().unwrap_or_default())?;
            vehicle.set_state(state);
            let (state_dir, labels) = (folder.join("state"), labels(number));
            let settings: [(&str, &OsStr); 4] = [
                ("--vin", vin.as_ref()),
                ("--labels", labels.as_ref()),
                ("--fleet", FLEET.as_ref()),
                ("--state-dir", state_dir.as_os_str()),
            ];
            // The log of so many is too much.
            let log = std::env::var_os("LOG_LEVEL").is_none().then_some(LevelFilter::ERROR);
            let connector =
                RunningConnector::start(host, port, &control_interface, &settings, log)?;
            if role == Role::Offline {
                // It leaves a status that says so.
                sleep(Duration::from_secs(1)).await;
                connector.stop().await?;
            } else {
                many.connectors.push(connector);
            }
            many.vehicles.push((role, vin, vehicle));
        }
        Ok(many)
    }

    /// Runs them. Returns only if a connector ends.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        let Self { vehicles, connectors } = self;
        let activity = vehicles.iter().map(|(role, _, vehicle)| async {
            match role {
                Role::Fails => tokio::join!(fleet::run(vehicle), crash(vehicle)).0,
                Role::Good | Role::Offline => fleet::run(vehicle).await,
            }
        });
        let ends: Vec<_> = connectors.iter_mut().map(|it| Box::pin(it.ended())).collect();
        tokio::select! {
            _ = join_all(activity) => Ok(()),
            (result, ..) = select_all(ends) => {
                result?;
                bail!("a connector has ended; the log above says why");
            }
        }
    }

    /// Stops all connectors.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let stopped = join_all(self.connectors.into_iter().map(RunningConnector::stop)).await;
        stopped.into_iter().collect()
    }

    /// Prints what runs and what to try.
    pub(crate) fn print_instructions(&self, options: &str, host: &str, port: u16) {
        let names = |wanted: Role| {
            let vehicles = self.vehicles.iter().filter(|(role, ..)| *role == wanted);
            vehicles.map(|(_, vin, _)| vin.as_str()).collect::<Vec<_>>().join(", ")
        };
        println!(
            "{} vehicles are simulated, with labels; the fleet is {FLEET}.",
            self.vehicles.len()
        );
        if !names(Role::Fails).is_empty() {
            println!("  fail:    {} (what is started there crashes)", names(Role::Fails));
            println!("  offline: {}", names(Role::Offline));
        }
        println!("  MQTT broker: {host}:{port}");
        println!();
        println!("Try this:");
        println!();
        println!("  export MQTT_BROKER_ADDR={host} MQTT_BROKER_PORT={port} FLEET={FLEET}");
        println!("  ank-fleet get vehicles -o wide");
        println!("  ank-fleet apply manifests/nginx.yaml -l region=eu --max-failures 20%");
        println!("  ank-fleet rollout list");
        println!("  mosquitto_sub{options} -v -t 'vehicle/+/manifest/apply/status'");
        println!();
        println!("Ctrl-C stops everything.");
    }
}

/// Lets each workload crash that operators start.
async fn crash(vehicle: &SimulatedVehicle) {
    let own = fleet::workload_names();
    let mut ticks = interval(CRASH_INTERVAL);
    loop {
        ticks.tick().await;
        let workloads = vehicle.desired_state().workloads.unwrap_or_default().workloads;
        for name in workloads.keys().filter(|name| !own.contains(&name.as_str())) {
            let instance = vehicle.instance(name);
            let state = instance.and_then(|instance| vehicle.execution_state(&instance));
            if state == Some(execution::running()) {
                // Fails if the workload has been deleted meanwhile.
                let _ = vehicle.log(name, [format!("{name}: cannot open /dev/can0")]).await;
                let _ = vehicle.crash(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_twenty_vehicles_two_fail_and_one_is_offline() {
        let count = |wanted: Role| (1..=20).filter(|number| role(*number, 20) == wanted).count();
        assert_eq!((count(Role::Good), count(Role::Fails), count(Role::Offline)), (17, 2, 1));
        assert!((1..=3).all(|number| role(number, 3) == Role::Good));
        assert_eq!(
            (vin(7).as_str(), labels(2).as_str()),
            ("SIM0007", "region=us,model=z,canary=true")
        );
    }
}

//! One vehicle: a simulated Ankaios with its connector.

use std::path::Path;

use fleet_connector::connector;
use fleet_connector::settings::Settings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vehicle_simulator::{SimulatedVehicle, VehicleOptions};

/// The name of the fleet.
pub(crate) const FLEET: &str = "load";

/// How long a workload must stay up before a change has succeeded. Roll-outs wait for it; it is short,
/// so that they show what the command and the connectors need.
const STABLE_TIME: &str = "500ms";

/// A running vehicle.
pub(crate) struct Vehicle {
    _ankaios: SimulatedVehicle,
    stop: CancellationToken,
    connector: AbortOnDropHandle<Result<(), connector::Error>>,
}

/// The VIN of a vehicle, counted from 1.
pub(crate) fn vin(number: usize) -> String {
    format!("L{number:05}")
}

fn labels(number: usize) -> String {
    let region = ["eu", "us", "asia"].into_iter().cycle().nth(number % 3).unwrap_or_default();
    format!("region={region},model=m{}", number % 7)
}

impl Vehicle {
    /// Starts it, with its files in `folder`. The connector reads all other settings from the
    /// environment.
    pub(crate) async fn start(number: usize, folder: &Path) -> anyhow::Result<Self> {
        let vin = vin(number);
        let folder = folder.join(&vin);
        let control_interface = folder.join("control_interface");
        let ankaios =
            SimulatedVehicle::start(&control_interface, VehicleOptions::default()).await?;
        let (labels, state) = (labels(number), folder.join("state"));
        let arguments = [
            "fleet-connector".as_ref(),
            "--vin".as_ref(),
            vin.as_ref(),
            "--labels".as_ref(),
            labels.as_ref(),
            "--fleet".as_ref(),
            FLEET.as_ref(),
            "--control-interface-dir".as_ref(),
            control_interface.as_os_str(),
            "--state-dir".as_ref(),
            state.as_os_str(),
            "--stable-time".as_ref(),
            STABLE_TIME.as_ref(),
        ];
        let settings = Settings::from_args(arguments)?;
        let stop = CancellationToken::new();
        let running = connector::run(settings, stop.clone());
        let connector = AbortOnDropHandle::new(tokio::spawn(running));
        Ok(Self { _ankaios: ankaios, stop, connector })
    }

    /// Waits for the end of its connector.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        Ok((&mut self.connector).await??)
    }

    /// Cancelling it stops the connector.
    pub(crate) fn stop_handle(&self) -> CancellationToken {
        self.stop.clone()
    }
}

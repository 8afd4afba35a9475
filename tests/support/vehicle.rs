//! A simulated vehicle in its own directory.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vehicle_simulator::{SimulatedVehicle, VehicleOptions};

/// A simulated Ankaios with its FIFOs in a temporary directory.
pub struct Vehicle {
    ankaios: SimulatedVehicle,
    control_interface: PathBuf,
    _folder: TempDir,
}

impl Vehicle {
    /// Starts a vehicle with one agent, `agent_A`.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let control_interface = folder.path().join("control_interface");
        let ankaios =
            SimulatedVehicle::start(&control_interface, VehicleOptions::default()).await.unwrap();
        Self { ankaios, control_interface, _folder: folder }
    }

    /// The directory with the FIFOs.
    pub fn control_interface(&self) -> &Path {
        &self.control_interface
    }
}

impl Deref for Vehicle {
    type Target = SimulatedVehicle;

    fn deref(&self) -> &SimulatedVehicle {
        &self.ankaios
    }
}

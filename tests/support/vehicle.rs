//! A simulated vehicle in its own directory.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vehicle_simulator::{SimulatedVehicle, VehicleOptions};

use super::DEADLINE;

/// A simulated Ankaios with its FIFOs in a temporary directory.
pub struct Vehicle {
    ankaios: SimulatedVehicle,
    control_interface: PathBuf,
    _folder: TempDir,
}

impl Vehicle {
    /// Starts a vehicle with one agent, `agent_A`.
    pub async fn start() -> Self {
        Self::start_in("").await
    }

    /// Like [`start`](Self::start), with the control interface in the folder that an agent makes for
    /// a workload of this name.
    pub async fn start_as(workload: &str) -> Self {
        Self::start_in(&format!("agent_A_io/{workload}.{}", "0".repeat(64))).await
    }

    async fn start_in(path: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let control_interface = folder.path().join(path).join("control_interface");
        let ankaios =
            SimulatedVehicle::start(&control_interface, VehicleOptions::default()).await.unwrap();
        Self { ankaios, control_interface, _folder: folder }
    }

    /// Waits until the guard of a connector with these settings has subscribed, which it does by
    /// itself after its start. Without protected workloads it does not.
    pub async fn wait_for_guard(&self, settings: &[(&str, &str)]) {
        let is_guarded = !settings.contains(&("PROTECTED_WORKLOADS", ""));
        self.wait_for_event_streams(usize::from(is_guarded)).await;
    }

    /// Waits until at least `count` event subscriptions are active.
    pub async fn wait_for_event_streams(&self, count: usize) {
        loop {
            let requests = self.request_count();
            if self.streams()["events"].len() >= count {
                return;
            }
            self.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
        }
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

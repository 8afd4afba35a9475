//! The real `fleet-connector`.

use std::path::Path;

use tokio::process::Command;

use super::{Broker, Process};

/// The VIN of the vehicle in the tests.
pub const VIN: &str = "1";

/// The prefix of this vehicle's topics.
pub const BASE: &str = "vehicle/1";

/// Starts the connector between `broker` and the FIFOs in `control_interface`. `settings` are
/// environment variables that are added to those set here or replace them; the connector
/// inherits no other environment variables.
pub fn start_connector(
    broker: &Broker,
    control_interface: &Path,
    settings: &[(&str, &str)],
) -> Process {
    start_connector_at(broker.port(), control_interface, settings)
}

/// Like [`start_connector`], with any broker on that port of the loopback interface.
pub fn start_connector_at(
    port: u16,
    control_interface: &Path,
    settings: &[(&str, &str)],
) -> Process {
    let binary = Path::new(env!("CARGO_BIN_EXE_fleet-connector"));
    start_connector_binary(binary, port, control_interface, settings)
}

/// Like [`start_connector_at`], with another binary, such as that of the image.
pub fn start_connector_binary(
    binary: &Path,
    port: u16,
    control_interface: &Path,
    settings: &[(&str, &str)],
) -> Process {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("VIN", VIN)
        .env("MQTT_BROKER_ADDR", "127.0.0.1")
        .env("MQTT_BROKER_PORT", port.to_string())
        .env("CONTROL_INTERFACE_DIR", control_interface)
        .env("LOG_LEVEL", "debug")
        .envs(settings.iter().copied());
    Process::start("fleet-connector", command)
}

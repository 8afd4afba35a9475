//! The command line of the demo.

use std::path::PathBuf;

use clap::Parser;

/// Try the fleet connector without a vehicle: starts an MQTT broker, a simulated
/// vehicle that runs Eclipse Ankaios, and the connector between them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  vehicle-simulator
      Everything, for vehicle 1, with a broker on 127.0.0.1:1883.
  vehicle-simulator --broker localhost:1883 --vin WDB123
      The same with a broker that is already running.
  vehicle-simulator --vehicles 20
      Twenty vehicles with labels, of which two fail and one is offline, for ank-fleet.
  vehicle-simulator --no-connector --control-interface-dir /tmp/control_interface
      Only the broker and the vehicle. Start your own connector with
      VIN=1 CONTROL_INTERFACE_DIR=/tmp/control_interface fleet-connector"
)]
pub(crate) struct Arguments {
    /// Use this MQTT broker instead of starting one on 127.0.0.1:1883
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_broker)]
    pub(crate) broker: Option<(String, u16)>,

    /// The vehicle identification number; all topics begin with vehicle/<VIN>/
    #[arg(long, default_value = "1")]
    pub(crate) vin: String,

    /// Simulate so many vehicles, SIM0001 and so on; from four on, two fail and one is offline
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["vin", "control_interface_dir"],
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) vehicles: Option<u16>,

    /// Directory for the two FIFOs of the control interface [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) control_interface_dir: Option<PathBuf>,

    /// Do not start a connector; use your own
    #[arg(long, requires = "control_interface_dir")]
    pub(crate) no_connector: bool,
}

fn parse_broker(text: &str) -> Result<(String, u16), String> {
    let (host, port) =
        text.rsplit_once(':').ok_or("give host and port, such as `localhost:1883`")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("the host is missing; write something like `localhost:1883`".to_owned());
    }
    let port = port.parse().map_err(|_| format!("`{port}` is not a valid port number"))?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_given_as_host_and_port() {
        assert_eq!(parse_broker("broker.example:8883"), Ok(("broker.example".to_owned(), 8883)));
        assert_eq!(parse_broker("[::1]:1883"), Ok(("::1".to_owned(), 1883)));
        for wrong in ["localhost", ":1883", "localhost:mqtt", "localhost:99999"] {
            assert!(parse_broker(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_connector_requires_a_folder() {
        assert!(Arguments::try_parse_from(["x", "--no-connector"]).is_err());
        assert!(
            Arguments::try_parse_from(["x", "--no-connector", "--control-interface-dir", "/tmp/x"])
                .is_ok()
        );
    }
}

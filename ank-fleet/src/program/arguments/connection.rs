//! The connection to the broker, and what is known of the fleet.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCandidates;
use fleet_contract::fleet::FleetName;
use mqtt_session::{AddressBook, BrokerArgs, SessionOptions};
use service_kit::settings::Check;

use super::super::failure::Failure;
use super::super::input::read_file;
use super::contexts::contexts;
use crate::inventory::Inventory;

/// The largest message that is received, in bytes: states of vehicles, and their logs.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// The keep-alive time. It is shorter than [`READ_TIMEOUT`](crate::rollout::READ_TIMEOUT): after a
/// laptop has slept, the loss of the connection is noticed, and what is being read is read again,
/// before a vehicle that could not answer is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

const _: () = assert!(KEEP_ALIVE.as_secs() < crate::rollout::READ_TIMEOUT.as_secs());

/// The connection to the broker, and what is known of the fleet, as text.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Context of the configuration file
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(contexts))]
    pub(crate) context: Option<String>,
    /// Configuration file [default: ~/.config/ank-fleet/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Name of the fleet: its vehicles are asked who is there
    #[arg(long, env, value_name = "NAME", hide_env_values = true)]
    fleet: Option<String>,
    /// The vehicles that there should be, with labels: a YAML or CSV file
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    inventory: Option<PathBuf>,
    /// Time over which the vehicles of the fleet spread their answers, at most 60s
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    spread: String,
    /// How long to try to reach the broker
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    connect_timeout: String,
}

/// The checked connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) options: SessionOptions,
    pub(crate) fleet: Option<FleetName>,
    pub(crate) inventory: Option<Inventory>,
    pub(crate) spread: Duration,
    pub(crate) patience: Duration,
}

impl ConnectionArgs {
    /// The name of the fleet, for commands without a connection.
    ///
    /// # Errors
    /// It is not a name.
    pub(crate) fn fleet_name(&self) -> Result<Option<FleetName>, Failure> {
        let name = self.fleet.as_deref().filter(|name| !name.is_empty());
        name.map(str::parse)
            .transpose()
            .map_err(|error| Failure::usage(format!("--fleet: {error}")))
    }

    /// Checks the settings, and reads the inventory.
    ///
    /// # Errors
    /// All mistakes.
    pub(crate) fn check(&self) -> Result<Connection, Failure> {
        let mut check = Check::default();
        let broker = self.broker.check(&mut check);
        let name = self.fleet.as_deref().filter(|name| !name.is_empty());
        let fleet = name.and_then(|name| check.parsed("FLEET", name.parse::<FleetName>()));
        let seconds = Duration::from_secs;
        let spread = check.duration_within("--spread", &self.spread, seconds(0)..=seconds(60));
        let patience = check.duration_within(
            "--connect-timeout",
            &self.connect_timeout,
            seconds(0)..=seconds(24 * 3600),
        );
        let inventory = self
            .inventory
            .as_ref()
            .and_then(|path| check.parsed("INVENTORY", read_inventory(path)));
        let connection = || {
            let broker = broker?;
            Some(Connection {
                options: SessionOptions {
                    brokers: broker.brokers,
                    transport: broker.transport,
                    addresses: AddressBook::default(),
                    tls: broker.tls,
                    login: broker.login,
                    client_id: "ank-fleet".to_owned(),
                    session_expiry: Duration::ZERO,
                    will_delay: Duration::ZERO,
                    reconnect_spread: Duration::ZERO,
                    drain_timeout: Duration::ZERO,
                    keep_alive: KEEP_ALIVE,
                    max_payload: MAX_PAYLOAD,
                    base_topic: "vehicle/+".to_owned(),
                    content_type: "application/json",
                    user_properties: &[],
                },
                fleet,
                inventory,
                spread: spread?,
                patience: patience?,
            })
        };
        check.finish(connection()).map_err(Failure::usage)
    }
}

fn read_inventory(path: &std::path::Path) -> Result<Inventory, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = read_file(path).map_err(|error| wrong(&error))?;
    Inventory::parse(&path.to_string_lossy(), &text).map_err(|error| wrong(&error))
}

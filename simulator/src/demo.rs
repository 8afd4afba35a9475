//! Starts the parts of the demo, tells what to try, and stops them again.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use fleet_connector::connector;
use fleet_connector::settings::{Settings, SettingsError};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use vehicle_simulator::SimulatedVehicle;
use vehicle_simulator::broker::{Broker, BrokerError};

use crate::{Arguments, fleet};

/// Where the demo's own broker listens, and where the Mosquitto clients look
/// for one unless told otherwise.
const OWN_BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
const DEFAULT_PORT: u16 = 1883;

/// For a broker that somebody else runs to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Runs the demo until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Before anything is started, so that no signal is missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let (host, port, own_broker) = match &arguments.broker {
        Some((host, port)) => {
            reach_broker(host, *port).await?;
            (host.clone(), *port, None)
        }
        None => {
            let broker = start_broker().await?;
            (broker.address().ip().to_string(), broker.address().port(), Some(broker))
        }
    };
    let temporary = tempfile::tempdir().context("can't make a temporary folder")?;
    let folder = arguments
        .control_interface_dir
        .clone()
        .unwrap_or_else(|| temporary.path().join("control_interface"));
    let vehicle = SimulatedVehicle::start(&folder, fleet::options())
        .await
        .with_context(|| format!("can't make the FIFOs in {}", folder.display()))?;
    vehicle.set_state(fleet::with_workloads(vehicle.state()));
    vehicle.set_lose_half_read_frames(true);
    let mut connector = if arguments.no_connector {
        None
    } else {
        Some(start_connector(&host, port, &folder, &arguments.vin)?)
    };

    introduce(&arguments, &host, port, own_broker.is_some(), &folder);
    tokio::select! {
        _ = interrupt.recv() => println!("\nStopping."),
        _ = terminate.recv() => println!("Stopping."),
        () = fleet::live(&vehicle) => {}
        ended = ended(connector.as_mut()) => {
            ended?;
            bail!("the connector has ended by itself; its log above says why");
        }
    }
    if let Some(connector) = connector {
        connector.stop.cancel();
        connector.task.await??;
    }
    println!("Stopped.");
    Ok(())
}

async fn start_broker() -> anyhow::Result<Broker> {
    Broker::start(OWN_BROKER).await.map_err(|error| match error {
        BrokerError::AddressTaken(address) => anyhow::anyhow!(
            "{error}. Use that one with `--broker {address}`, or stop it and try again."
        ),
        BrokerError::Other(..) => error.into(),
    })
}

async fn reach_broker(host: &str, port: u16) -> anyhow::Result<()> {
    let connection = timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await;
    connection
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map(drop)
        .with_context(|| format!("no MQTT broker answers at {host}:{port}"))
}

/// A running connector.
struct Connector {
    stop: CancellationToken,
    task: JoinHandle<Result<(), connector::Error>>,
}

/// Starts the real connector, in this process. What it is not told here it takes
/// from the environment, such as `LOG_LEVEL`.
fn start_connector(
    broker_host: &str,
    broker_port: u16,
    control_interface_dir: &Path,
    vin: &str,
) -> Result<Connector, SettingsError> {
    let mut arguments: Vec<OsString> = vec!["fleet-connector".into()];
    let port = broker_port.to_string();
    let settings: [(&str, &OsStr); 4] = [
        ("--vin", vin.as_ref()),
        ("--mqtt-broker-addr", broker_host.as_ref()),
        ("--mqtt-broker-port", port.as_ref()),
        ("--control-interface-dir", control_interface_dir.as_os_str()),
    ];
    for (name, value) in settings {
        arguments.extend([name.into(), value.to_owned()]);
    }
    let settings = Settings::from_args(arguments)?;
    log_to_standard_error(settings.log.level);
    let stop = CancellationToken::new();
    let task = tokio::spawn(connector::run(settings, stop.clone()));
    Ok(Connector { stop, task })
}

/// The log of the connector, and what the broker warns of.
fn log_to_standard_error(level: LevelFilter) {
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let targets =
        Targets::new().with_default(LevelFilter::WARN).with_target("fleet_connector", level);
    let subscriber = tracing_subscriber::registry().with(targets).with(log);
    // It can only be set once, and only this program sets it.
    let _already_set = tracing::subscriber::set_global_default(subscriber);
}

async fn ended(connector: Option<&mut Connector>) -> anyhow::Result<()> {
    match connector {
        Some(connector) => Ok((&mut connector.task).await??),
        None => std::future::pending().await,
    }
}

/// Says what runs and what to try next.
fn introduce(arguments: &Arguments, host: &str, port: u16, own_broker: bool, folder: &Path) {
    let vin = &arguments.vin;
    let started = if own_broker { "started here" } else { "yours" };
    println!("Vehicle {vin} is simulated: agents agent_A and agent_B, a few workloads.");
    println!("  MQTT broker:       {host}:{port} ({started})");
    println!("  control interface: {}", folder.display());
    if arguments.no_connector {
        println!();
        println!("Start a connector of your own:");
        println!();
        println!(
            "  VIN={vin} MQTT_BROKER_ADDR={host} MQTT_BROKER_PORT={port} \\\n    \
             CONTROL_INTERFACE_DIR={} fleet-connector",
            folder.display()
        );
    }
    let to = to_broker(host, port);
    println!();
    println!("Try this, the first line in a terminal of its own:");
    println!();
    println!("  mosquitto_sub{to} -v -t 'vehicle/{vin}/#'");
    println!("  mosquitto_pub{to} -t vehicle/{vin}/manifest/apply/req -f manifests/nginx.yaml");
    println!("  mosquitto_pub{to} -t vehicle/{vin}/state/req -m '[\"workloadStates\"]'");
    println!();
    println!("Then follow what happens there, and let a workload crash:");
    println!();
    for (topic, message) in [
        ("events/subscribe", r#"["workloadStates"]"#),
        ("logs/subscribe", r#"{"workloads": ["telemetry"], "follow": true}"#),
        ("manifest/apply", fleet::CRASH_MANIFEST),
    ] {
        println!("  mosquitto_pub{to} -t vehicle/{vin}/{topic}/req -m '{message}'");
    }
    println!();
    println!("Ctrl-C stops everything.");
}

/// The options with which the Mosquitto clients find the broker.
fn to_broker(host: &str, port: u16) -> String {
    let host = match host {
        "localhost" | "127.0.0.1" => String::new(),
        host => format!(" -h {host}"),
    };
    let port = if port == DEFAULT_PORT { String::new() } else { format!(" -p {port}") };
    host + &port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_are_only_told_what_they_do_not_assume() {
        assert_eq!(to_broker("127.0.0.1", 1883), "");
        assert_eq!(to_broker("localhost", 1884), " -p 1884");
        assert_eq!(to_broker("broker.example", 1883), " -h broker.example");
    }
}

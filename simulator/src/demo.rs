//! Starts the parts of the demo, prints what to try, and stops them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use vehicle_simulator::SimulatedVehicle;
use vehicle_simulator::broker::{BrokerError, EmbeddedBroker};

use crate::arguments::Arguments;
use crate::connector::{RunningConnector, STABLE_TIME};
use crate::fleet;
use crate::many::Many;

/// The address of the broker of the demo. Mosquitto clients connect to it by default.
const OWN_BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
const DEFAULT_PORT: u16 = 1883;

/// How long connecting to the broker of the user may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the demo until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Before anything starts, so that no signal is missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let (host, port, own_broker) = match &arguments.broker {
        Some((host, port)) => {
            check_broker(host, *port).await?;
            (host.clone(), *port, None)
        }
        None => {
            let broker = start_broker().await?;
            (broker.address().ip().to_string(), broker.address().port(), Some(broker))
        }
    };
    let temporary = tempfile::tempdir().context("cannot create a temporary directory")?;
    if let Some(count) = arguments.vehicles {
        let mut many = Many::start(count, &host, port, temporary.path()).await?;
        many.print_instructions(&broker_options(&host, port), &host, port);
        tokio::select! {
            _ = interrupt.recv() => println!("\nStopping."),
            _ = terminate.recv() => println!("Stopping."),
            result = many.run() => result?,
        }
        many.stop().await?;
        println!("Stopped.");
        return Ok(());
    }
    let folder = arguments
        .control_interface_dir
        .clone()
        .unwrap_or_else(|| temporary.path().join("control_interface"));
    let vehicle = SimulatedVehicle::start(&folder, fleet::options())
        .await
        .with_context(|| format!("cannot create the FIFOs in {}", folder.display()))?;
    let state = fleet::with_workloads(vehicle.state());
    vehicle.set_startup_manifest(state.desired_state.clone().unwrap_or_default())?;
    vehicle.set_state(state);
    vehicle.set_lose_half_read_frames(true);
    // Each start of the demo begins with a new vehicle, which has no revisions.
    let state_dir = temporary.path().join("state");
    let mut connector = if arguments.no_connector {
        None
    } else {
        let settings = [("--vin", arguments.vin.as_ref()), ("--state-dir", state_dir.as_os_str())];
        Some(RunningConnector::start(&host, port, &folder, &settings, None)?)
    };

    print_instructions(&arguments, &host, port, own_broker.is_some(), &folder, &state_dir);
    tokio::select! {
        _ = interrupt.recv() => println!("\nStopping."),
        _ = terminate.recv() => println!("Stopping."),
        () = fleet::run(&vehicle) => {}
        result = connector_end(connector.as_mut()) => {
            result?;
            bail!("the connector has ended; its log above says why");
        }
    }
    if let Some(connector) = connector {
        connector.stop().await?;
    }
    println!("Stopped.");
    Ok(())
}

async fn start_broker() -> anyhow::Result<EmbeddedBroker> {
    EmbeddedBroker::start(OWN_BROKER).await.map_err(|error| match error {
        BrokerError::AddressTaken(address) => anyhow::anyhow!(
            "{error}. Use that one with `--broker {address}`, or stop it and try again."
        ),
        BrokerError::Other(..) => error.into(),
    })
}

/// Checks that a broker accepts connections.
async fn check_broker(host: &str, port: u16) -> anyhow::Result<()> {
    let connection = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await;
    connection
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map(drop)
        .with_context(|| format!("no MQTT broker answers at {host}:{port}"))
}

/// Waits for the end of the connector, forever if there is none.
async fn connector_end(connector: Option<&mut RunningConnector>) -> anyhow::Result<()> {
    match connector {
        Some(connector) => connector.ended().await,
        None => std::future::pending().await,
    }
}

/// Prints what runs and what to try.
fn print_instructions(
    arguments: &Arguments,
    host: &str,
    port: u16,
    own_broker: bool,
    folder: &Path,
    state_dir: &Path,
) {
    let vin = &arguments.vin;
    let started = if own_broker { "started here" } else { "yours" };
    println!("Vehicle {vin} is simulated: agents agent_A and agent_B, a few workloads.");
    println!("  MQTT broker:       {host}:{port} ({started})");
    println!("  control interface: {}", folder.display());
    if arguments.no_connector {
        println!();
        println!("Start your own connector:");
        println!();
        println!(
            "  VIN={vin} MQTT_BROKER_ADDR={host} MQTT_BROKER_PORT={port} \\\n    \
             CONTROL_INTERFACE_DIR={} \\\n    \
             STATE_DIR={} STABLE_TIME={STABLE_TIME} fleet-connector",
            folder.display(),
            state_dir.display()
        );
    }
    let to = broker_options(host, port);
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
    println!("Each change is a revision. One that fails is rolled back on request:");
    println!();
    println!(
        "  mosquitto_pub{to} -V 5 -D publish user-property rollback on-failure \\\n    \
         -t vehicle/{vin}/manifest/apply/req \\\n    -m '{}'",
        fleet::BAD_MANIFEST
    );
    println!("  mosquitto_pub{to} -t vehicle/{vin}/manifest/history/req -n");
    println!();
    println!("Return to the startup manifest, which is revision 0:");
    println!();
    println!("  mosquitto_pub{to} -t vehicle/{vin}/manifest/rollback/req -m '{{\"revision\": 0}}'");
    println!();
    println!("Ctrl-C stops everything.");
}

/// The options that Mosquitto clients need to connect to the broker.
fn broker_options(host: &str, port: u16) -> String {
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
    fn clients_get_options_only_for_what_differs_from_their_defaults() {
        assert_eq!(broker_options("127.0.0.1", 1883), "");
        assert_eq!(broker_options("localhost", 1884), " -p 1884");
        assert_eq!(broker_options("broker.example", 1883), " -h broker.example");
    }
}

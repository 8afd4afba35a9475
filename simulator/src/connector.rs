//! Connectors that run in the process of the demo.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::Path;

use fleet_connector::connector;
use fleet_connector::settings::Settings;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

/// How long workloads must stay up before a change has succeeded: short enough for people to wait.
pub(crate) const STABLE_TIME: &str = "2s";

/// A connector that runs in this process.
pub(crate) struct RunningConnector {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl RunningConnector {
    /// Starts the real connector. It reads all settings that are not given from the environment,
    /// such as `LOG_LEVEL`. `log` is a level that replaces that one.
    pub(crate) fn start(
        broker_host: &str,
        broker_port: u16,
        control_interface_dir: &Path,
        more: &[(&str, &OsStr)],
        log: Option<LevelFilter>,
    ) -> anyhow::Result<Self> {
        let mut arguments: Vec<OsString> = vec!["fleet-connector".into()];
        let port = broker_port.to_string();
        let settings: [(&str, &OsStr); 4] = [
            ("--mqtt-broker-addr", broker_host.as_ref()),
            ("--mqtt-broker-port", port.as_ref()),
            ("--control-interface-dir", control_interface_dir.as_os_str()),
            ("--stable-time", STABLE_TIME.as_ref()),
        ];
        for (name, value) in settings.iter().chain(more) {
            arguments.extend([OsString::from(name), (*value).to_owned()]);
        }
        let mut settings = Settings::from_args(arguments)?;
        // The demo has reached the broker directly. A proxy in its environment is for Cargo.
        settings.mqtt.brokers = settings.mqtt.brokers.without_proxies();
        log_to_standard_error(log.unwrap_or(settings.log.level));
        let stop = CancellationToken::new();
        let running = connector::run(settings, stop.clone());
        let task = tokio::spawn(async move { Ok(running.await?) });
        Ok(Self { stop, task })
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.task).await?
    }

    /// Stops it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

/// Writes the log of the connector, and the warnings of the broker.
fn log_to_standard_error(level: LevelFilter) {
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let targets = Targets::new().with_default(level).with_target("mqtt5", LevelFilter::WARN);
    let subscriber = tracing_subscriber::registry().with(targets).with(log);
    // Fails if there is a subscriber already: that of another connector of this process.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

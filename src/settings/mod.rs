//! The settings: each is an environment variable and a flag of the same name.

mod ankaios;
mod dashboard;
mod fleet;
mod guard;
mod health;
mod mqtt;
mod revisions;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use fleet_contract::revision::RollbackMode;
use fleet_contract::topics::Topics;
use mqtt_session::{AddressBook, SessionOptions};
use service_kit::settings::{Check, LogArgs, LogSettings, Mistakes, SettingsError};

use crate::broker::request::USER_PROPERTIES;
use crate::guard::GuardOptions;
use crate::health::Address;
use crate::revisions::RevisionOptions;
use crate::streams::MAX_RECORD;
use crate::trust::TrustSource;
use ankaios::AnkaiosArgs;
use dashboard::DashboardArgs;
pub use dashboard::DashboardSettings;
use fleet::FleetArgs;
pub(crate) use fleet::FleetSettings;
use guard::GuardArgs;
pub use health::HealthSettings;
use health::{HealthArgs, HealthCommandArgs};
use mqtt::MqttArgs;
use revisions::RevisionArgs;

/// How long requests in progress may take when the connector stops. Ankaios kills a workload
/// that has not ended within 10 s.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// The commands of the program.
#[derive(Debug, Clone)]
pub enum Command {
    /// Connect the vehicle to its operators: the program without a subcommand.
    Connect(Box<Settings>),
    /// Print the states of all workloads.
    Dashboard(DashboardSettings),
    /// Print the health of a connector.
    Health(HealthSettings),
}

/// The settings of the connector.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The topics of the vehicle.
    pub topics: Topics,
    /// The session with the broker.
    pub mqtt: SessionOptions,
    /// Largest payload of a request, in bytes.
    pub(crate) max_payload: usize,
    /// The name of this replica; `None` if it is the only connector of its vehicle.
    pub(crate) replica: Option<String>,
    /// What operators of fleets find and select the vehicle by.
    pub(crate) fleet: FleetSettings,
    /// Folder of the FIFOs `input` and `output`.
    pub control_interface_dir: PathBuf,
    /// Timeout for one response of Ankaios.
    pub request_timeout: Duration,
    /// How long an applied manifest is followed; `None` if not at all.
    pub(crate) rollout_timeout: Option<Duration>,
    /// Where and how revisions are kept; `None` if they are not.
    pub(crate) revisions: Option<RevisionOptions>,
    /// Who may give orders; `None` if that is not checked.
    pub(crate) trust: Option<TrustSource>,
    /// When a change is taken back whose request does not say it.
    pub(crate) rollback: RollbackMode,
    /// How long workloads must stay up where that matters.
    pub(crate) stable_time: Duration,
    /// What requests may do to the vehicle.
    pub(crate) guard: GuardOptions,
    /// Where health and metrics are served; `None` if they are not.
    pub(crate) health: Option<Address>,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// Connects a vehicle that runs Eclipse Ankaios to its operators over MQTT.
///
/// Operators publish a request to vehicle/<VIN>/<operation>/req and get the
/// reply on vehicle/<VIN>/<operation>/resp. Every setting is a flag and an
/// environment variable; a flag takes precedence. Durations are written as 5s,
/// 10m or 24h, sizes as 512KiB or 1MiB.
#[derive(Debug, Parser)]
#[command(
    name = "fleet-connector",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(subcommand)]
    subcommand: Option<Subcommands>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Prints the states of all workloads, at the start and after each change
    ///
    /// On a terminal the table is redrawn in place, in colour unless NO_COLOR is
    /// set. Otherwise, as in `ank logs -f dashboard`, each change is printed as a
    /// separate block that starts with the time. The dashboard needs no MQTT
    /// broker: it runs as a workload of Ankaios that may read workloadStates; see
    /// manifests/dashboard.yaml.
    // The dashboard itself shows problems of the link.
    #[command(mut_arg("log_level", |arg| arg.default_value("error")))]
    Dashboard(DashboardArgs),
    /// Prints the health of a connector; for health checks of images without a shell
    ///
    /// Requests /readyz or /livez at HEALTH_ADDR and prints the response. Exits
    /// with 0 if the connector is ready or alive, and with 1 if it is not or does
    /// not respond within 5 s. If HEALTH_ADDR is 0.0.0.0 or [::], the loopback
    /// address is used.
    ///
    /// Use livez if a failed health check restarts the container: a restart does
    /// not help if the broker is down.
    Health(HealthCommandArgs),
}

/// The settings of the connector as text, so that all mistakes can be reported together.
#[derive(Debug, Args)]
struct ConnectArgs {
    /// Identifies the vehicle in all topics: 1 to 64 of A-Z, a-z, 0-9, _ and - (required)
    #[arg(long, env, value_name = "VIN", hide_env_values = true)]
    vin: Option<String>,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    mqtt: MqttArgs,
    #[command(flatten)]
    ankaios: AnkaiosArgs,
    /// How long to follow a change and report its progress, and how long it may wait for its
    /// confirmation; 0s = not at all, which also turns rollbacks off
    #[arg(long, env, value_name = "DURATION", default_value = "10m", hide_env_values = true)]
    rollout_timeout: String,
    #[command(flatten)]
    revisions: RevisionArgs,
    /// Maximum size of a request; larger ones are answered with payload_too_large
    #[arg(long, env, value_name = "SIZE", default_value = "1MiB", hide_env_values = true)]
    max_payload_size: String,
    /// Further topics, separated by commas, below which replies may be published
    #[arg(long, env, value_name = "TOPICS", default_value = "", hide_env_values = true)]
    response_topic_prefixes: String,
    #[command(flatten)]
    guard: GuardArgs,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Command {
    /// Reads the flags and the environment of the process.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read() -> Result<Self, SettingsError> {
        Self::from_args(std::env::args_os())
    }

    /// Reads the environment and `args`, the first of which is the name of the program.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn from_args(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, SettingsError> {
        let CommandLine { subcommand, connect } = CommandLine::try_parse_from(args)?;
        let command = match subcommand {
            None => connect.check().map(Box::new).map(Self::Connect),
            Some(Subcommands::Dashboard(args)) => args.check().map(Self::Dashboard),
            Some(Subcommands::Health(args)) => args.check().map(Self::Health),
        };
        command.map_err(SettingsError::Invalid)
    }
}

impl Settings {
    /// Reads the environment and `args`, the first of which is the name of the program. For
    /// programs that run the connector themselves.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn from_args(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, SettingsError> {
        CommandLine::try_parse_from(args)?.connect.check().map_err(SettingsError::Invalid)
    }
}

impl ConnectArgs {
    fn check(self) -> Result<Settings, Mistakes> {
        let mut check = Check::default();
        let vin = self.vin.filter(|vin| !vin.is_empty());
        if vin.is_none() {
            check.mistake("VIN", "it is not set; say which vehicle this is, for example VIN=1");
        }
        let prefixes: Vec<String> = self
            .response_topic_prefixes
            .split(',')
            .map(|prefix| prefix.trim().to_owned())
            .filter(|prefix| !prefix.is_empty())
            .collect();
        for prefix in prefixes.iter().filter(|prefix| prefix.contains(['+', '#', '\0'])) {
            check.mistake(
                "RESPONSE_TOPIC_PREFIXES",
                format!("{prefix:?} has a wildcard; write the prefix without it"),
            );
        }
        let vin = vin.unwrap_or_else(|| "unknown".into());
        let topics = check.parsed("VIN", Topics::new(&vin, prefixes));
        let fleet = self.fleet.check(&mut check);
        let mqtt = self.mqtt.check(&vin, &mut check);
        let control_interface_dir = self.ankaios.control_interface_dir(&mut check);
        let request_timeout = self.ankaios.request_timeout(&mut check);
        let rollout_timeout = check.duration_within(
            "ROLLOUT_TIMEOUT",
            &self.rollout_timeout,
            Duration::ZERO..=Duration::from_secs(7 * 24 * 3600),
        );
        let revisions = self.revisions.check(rollout_timeout, &mut check);
        let max_payload = check.parse_as::<ByteSize>(
            "MAX_PAYLOAD_SIZE",
            &self.max_payload_size,
            "a size such as 512KiB or 1MiB",
        );
        let allowed = ByteSize::b(1)..=ByteSize::mib(32);
        if let Some(size) = max_payload.filter(|size| !allowed.contains(size)) {
            check.mistake("MAX_PAYLOAD_SIZE", format!("{size} is not between 1B and 32MiB"));
        }
        let guard = self.guard.check(&mut check);
        let health = self.health.check(&mut check);
        let log = self.log.check(&mut check);
        let settings = || {
            let (mqtt, topics, revisions) = (mqtt?, topics?, revisions?);
            let max_payload = usize::try_from(max_payload?.as_u64()).ok()?;
            Some(Settings {
                mqtt: SessionOptions {
                    brokers: mqtt.broker.brokers,
                    transport: mqtt.broker.transport,
                    addresses: AddressBook::default(),
                    tls: mqtt.broker.tls,
                    login: mqtt.broker.login,
                    client_id: mqtt.client_id,
                    session_expiry: mqtt.session_expiry,
                    will_delay: mqtt.will_delay,
                    reconnect_spread: mqtt.reconnect_spread,
                    keep_alive: mqtt.keep_alive,
                    drain_timeout: DRAIN_TIMEOUT,
                    // A record can be larger than the request that it was made from.
                    max_payload: max_payload.max(MAX_RECORD),
                    base_topic: topics.to_string(),
                    content_type: "application/json",
                    user_properties: USER_PROPERTIES,
                },
                topics,
                max_payload,
                replica: mqtt.replica,
                fleet: fleet?,
                control_interface_dir: control_interface_dir?,
                request_timeout: request_timeout?,
                rollout_timeout: rollout_timeout
                    .map(|limit| Some(limit).filter(|l| !l.is_zero()))?,
                revisions: revisions.store,
                trust: revisions.trust,
                rollback: revisions.rollback,
                stable_time: revisions.stable_time,
                guard: guard?,
                health: health?,
                log: log?,
            })
        };
        check.finish(settings())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use clap::CommandFactory;
    use mqtt_session::Transport;
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::health::Endpoint;

    fn read(flags: &[&str]) -> Result<Settings, SettingsError> {
        match Command::from_args([&["fleet-connector"], flags].concat())? {
            Command::Connect(settings) => Ok(*settings),
            other => panic!("{other:?}"),
        }
    }

    fn mistakes(flags: &[&str]) -> String {
        match read(flags) {
            Err(SettingsError::Invalid(mistakes)) => mistakes.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_vin_is_needed() {
        let settings = read(&["--vin", "7"]).unwrap();
        assert_eq!(settings.topics.to_string(), "vehicle/7");
        assert_eq!(settings.mqtt.client_id, "fleet-connector-7");
        assert_eq!(settings.mqtt.brokers.to_string(), "localhost:1883");
        assert_eq!(settings.mqtt.transport, Transport::Tcp);
        assert_eq!(settings.max_payload, 1024 * 1024);
        assert_eq!(settings.mqtt.session_expiry, Duration::from_secs(86_400));
        assert_eq!(settings.request_timeout, Duration::from_secs(5));
        assert_eq!(settings.guard.protected_workloads, ["fleetconnector"]);
        assert!(settings.replica.is_none());
        assert!(settings.guard.policy.is_none() && settings.guard.rate_limit.is_none());
        assert_eq!(settings.health, None);
    }

    #[test]
    fn the_port_is_part_of_the_address_or_a_setting_of_its_own() {
        let broker = |flags: &[&str]| {
            let settings = read(&[&["--vin=7"], flags].concat()).unwrap();
            settings.mqtt.brokers.to_string()
        };
        assert_eq!(broker(&["--mqtt-broker-addr=b:1884"]), "b:1884");
        assert_eq!(broker(&["--mqtt-broker-addr=b", "--mqtt-broker-port=1884"]), "b:1884");
        assert_eq!(broker(&["--mqtt-broker-addr=[::1]:8883", "--mqtt-broker-port="]), "[::1]:8883");
        let report = mistakes(&["--vin=7", "--mqtt-broker-addr=b:1884", "--mqtt-broker-port=8883"]);
        assert!(
            report.ends_with(
                "\n  MQTT_BROKER_PORT: it is 8883, but MQTT_BROKER_ADDR=b:1884 says 1884; set only \
                 one"
            ),
            "{report}"
        );
    }

    #[test]
    fn websocket_has_a_path() {
        let flags = ["--vin=7", "--mqtt-transport=websocket"];
        let path = Transport::WebSocket { path: "/mqtt".into() };
        assert_eq!(read(&flags).unwrap().mqtt.transport, path);
        let report = mistakes(&["--vin=7", "--mqtt-websocket-path=/mqtt"]);
        assert!(report.contains("\n  MQTT_WEBSOCKET_PATH: it requires WebSocket"), "{report}");
    }

    #[test]
    fn workloads_to_protect_are_a_list_that_may_be_empty() {
        let protected = |list: &str| {
            let flag = format!("--protected-workloads={list}");
            read(&["--vin=7", &flag]).unwrap().guard.protected_workloads
        };
        assert_eq!(protected("a, b,"), ["a", "b"]);
        assert!(protected("").is_empty());
    }

    #[test]
    fn the_will_is_delayed_unless_there_are_replicas_or_several_nodes() {
        let delay = |flags: &[&str]| {
            let flags = [&["--vin=7"], flags].concat();
            read(&flags).unwrap().mqtt.will_delay.as_secs()
        };
        assert_eq!(delay(&[]), 5);
        assert_eq!(delay(&["--mqtt-will-delay="]), 5);
        assert_eq!(delay(&["--mqtt-will-delay=1m"]), 60);
        assert_eq!(delay(&["--mqtt-will-delay=0s"]), 0);
        assert_eq!(delay(&["--replica-id=a"]), 0);
        assert_eq!(delay(&["--mqtt-broker-addr=a,b"]), 0);
        assert_eq!(delay(&["--mqtt-broker-addr=a,b", "--mqtt-will-delay=5s"]), 5);
        assert_eq!(delay(&["--replica-id=a", "--mqtt-will-delay=0s"]), 0);
        let report = mistakes(&["--vin=7", "--replica-id=a", "--mqtt-will-delay=5s"]);
        assert!(report.contains("MQTT_WILL_DELAY: with REPLICA_ID it must be 0s"), "{report}");
        let report = mistakes(&["--vin=7", "--mqtt-will-delay=soon"]);
        assert!(report.contains("MQTT_WILL_DELAY: \"soon\""), "{report}");
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let report = mistakes(&[
            "--vin=a/b",
            "--mqtt-broker-addr=mqtt://host",
            "--mqtt-broker-port=70000",
            "--mqtt-client-id=",
            "--mqtt-session-expiry=soon",
            "--mqtt-keep-alive=1s",
            "--replica-id=a/b",
            "--request-timeout=0s",
            "--max-payload-size=1TB",
            "--response-topic-prefixes=a,b/#",
            "--protected-workloads=a b",
            "--policy-file=/nowhere/policy.yaml",
            "--rate-limit=0",
            "--health-addr=:9090",
            "--log-level=loud",
            "--log-format=xml",
        ]);
        for name in [
            "VIN: \"a/b\"",
            "MQTT_BROKER_ADDR",
            "MQTT_BROKER_PORT",
            "MQTT_CLIENT_ID",
            "MQTT_SESSION_EXPIRY: \"soon\"",
            "MQTT_KEEP_ALIVE: 1s is not between 5s and 18h 12m 15s",
            "REPLICA_ID: \"a/b\"",
            "REQUEST_TIMEOUT",
            "MAX_PAYLOAD_SIZE",
            "RESPONSE_TOPIC_PREFIXES: \"b/#\"",
            "PROTECTED_WORKLOADS: \"a b\"",
            "POLICY_FILE: /nowhere/policy.yaml: No such file",
            "RATE_LIMIT: \"0\"",
            "HEALTH_ADDR: \":9090\"",
            "LOG_LEVEL: \"loud\"",
            "LOG_FORMAT: \"xml\"",
        ] {
            assert!(report.contains(&format!("\n  {name}")), "{name} is missing in {report}");
        }
        assert_eq!(report.lines().count(), 17, "{report}");
    }

    #[test]
    fn a_missing_vin_says_what_to_do() {
        assert_eq!(
            mistakes(&[]),
            "the settings cannot be used:\n  VIN: it is not set; say which vehicle this is, for \
             example VIN=1"
        );
    }

    #[test]
    fn a_mistake_says_what_is_expected() {
        for (flag, expected) in [
            ("--revision-history=x", "REVISION_HISTORY: \"x\" is not a number from 2 to 100"),
            ("--revision-history=", "REVISION_HISTORY: \"\" is not a number from 2 to 100"),
            ("--revision-history=-3", "REVISION_HISTORY: \"-3\" is not a number from 2 to 100"),
            ("--revision-history=1", "REVISION_HISTORY: 1 is not between 2 and 100"),
            ("--mqtt-broker-port=x", "MQTT_BROKER_PORT: \"x\" is not a port, a number from 1 to"),
            ("--mqtt-broker-port=70000", "MQTT_BROKER_PORT: \"70000\" is not a port"),
            ("--mqtt-tls=yes", "MQTT_TLS: \"yes\" is not true or false"),
            ("--mqtt-allow-insecure-login=1", "MQTT_ALLOW_INSECURE_LOGIN: \"1\" is not true or"),
            (
                "--max-payload-size=x",
                "MAX_PAYLOAD_SIZE: \"x\" is not a size such as 512KiB or 1MiB",
            ),
            ("--stable-time=", "STABLE_TIME: \"\": value was empty; write it as 5s, 10m or 24h"),
            ("--rollback=x", "ROLLBACK: \"x\": "),
        ] {
            let report = mistakes(&["--vin=7", flag]);
            assert!(report.contains(&format!("\n  {expected}")), "{report}");
            assert_eq!(report.lines().count(), 2, "{report}");
            for jargon in ["invalid digit", "provided string", "ByteSize", "number too large"] {
                assert!(!report.contains(jargon), "{report}");
            }
        }
    }

    #[test]
    fn an_empty_path_is_reported_with_the_other_mistakes() {
        let names = [
            ("STATE_DIR", "a folder"),
            ("CONTROL_INTERFACE_DIR", "a folder"),
            ("POLICY_FILE", "a file"),
            ("MQTT_CA_FILE", "a file"),
            ("MQTT_CERT_FILE", "a file"),
            ("MQTT_KEY_FILE", "a file"),
            ("MQTT_PASSWORD_FILE", "a file"),
        ];
        let flags: Vec<String> =
            names.map(|(name, _)| format!("--{}=", name.to_lowercase().replace('_', "-"))).into();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let report = mistakes(&[&["--rate-limit=0", "--rollback=on-failure"], &flags[..]].concat());
        for (name, kind) in names {
            let expected = format!("\n  {name}: it is empty; write the path of {kind}, or ");
            assert!(report.contains(&expected), "{name}: {report}");
        }
        // That STATE_DIR is missing is no second mistake.
        assert_eq!(report.lines().count(), 1 + names.len() + 2, "{report}");

        let args = ["fleet-connector", "dashboard", "--control-interface-dir="];
        let Err(SettingsError::Invalid(mistakes)) = Command::from_args(args) else { panic!() };
        assert!(mistakes.to_string().contains("CONTROL_INTERFACE_DIR: it is empty"), "{mistakes}");
    }

    #[test]
    fn the_help_says_on_what_a_setting_depends() {
        let help = CommandLine::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "how long it may wait for its confirmation; 0s = not at all, which also turns rollbacks off",
            "has succeeded; must be less than ROLLOUT_TIMEOUT",
            "user property rollback. Needs STATE_DIR",
        ] {
            assert!(help.contains(part), "{part} is missing in {help}");
        }
    }

    #[test]
    fn an_unknown_flag_is_a_mistake_of_the_command_line() {
        assert!(matches!(read(&["--vin=1", "--vim=2"]), Err(SettingsError::CommandLine(_))));
    }

    #[test]
    fn health_is_asked_where_the_connector_serves_it() {
        let read = |args: &[&str]| {
            let args = [&["fleet-connector", "health"], args].concat();
            match Command::from_args(args)? {
                Command::Health(settings) => Ok(settings),
                other => panic!("{other:?}"),
            }
        };
        let settings = read(&["--health-addr=[::]:90"]).unwrap();
        assert_eq!(settings.address.to_string(), "[::]:90");
        assert_eq!(settings.endpoint, Endpoint::Readyz);
        let settings = read(&["livez", "--health-addr=h:90"]).unwrap();
        assert_eq!(settings.endpoint, Endpoint::Livez);
        for (flag, mistake) in [
            ("--health-addr=", "HEALTH_ADDR: it is not set"),
            ("--health-addr=9", "HEALTH_ADDR: \"9\""),
        ] {
            let Err(SettingsError::Invalid(mistakes)) = read(&[flag]) else { panic!() };
            assert!(mistakes.to_string().contains(mistake), "{mistakes}");
        }
        assert!(matches!(read(&["metrics"]), Err(SettingsError::CommandLine(_))));
    }

    #[test]
    fn the_dashboard_has_settings_of_its_own() {
        let args = ["fleet-connector", "dashboard", "--request-timeout=2s", "--log-level=warn"];
        let Ok(Command::Dashboard(settings)) = Command::from_args(args) else { panic!() };
        assert_eq!(settings.request_timeout, Duration::from_secs(2));
        assert_eq!(settings.log.level, LevelFilter::WARN);
        let args = ["fleet-connector", "dashboard"];
        let Ok(Command::Dashboard(settings)) = Command::from_args(args) else { panic!() };
        assert_eq!(settings.log.level, LevelFilter::ERROR);
        let args = ["fleet-connector", "dashboard", "--request-timeout=x", "--log-format=xml"];
        let Err(SettingsError::Invalid(mistakes)) = Command::from_args(args) else { panic!() };
        let report = mistakes.to_string();
        assert!(report.contains("REQUEST_TIMEOUT: \"x\""), "{report}");
        assert!(report.contains("LOG_FORMAT: \"xml\""), "{report}");
        assert_eq!(report.lines().count(), 3, "{report}");
        for args in [
            ["fleet-connector", "dashboard", "--vin=1"],
            ["fleet-connector", "--vin=1", "dashboard"],
        ] {
            assert!(matches!(Command::from_args(args), Err(SettingsError::CommandLine(_))));
        }
    }
}

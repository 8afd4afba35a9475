//! The settings: an environment variable and a flag of the same name each.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use tracing::level_filters::LevelFilter;

use crate::mqtt;
use crate::topics::Topics;

/// What the connector is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The topics of the vehicle.
    pub topics: Topics,
    /// How to reach the broker.
    pub mqtt: mqtt::Options,
    /// Folder of the FIFOs `input` and `output`.
    pub control_interface_dir: PathBuf,
    /// How long to wait for one answer of Ankaios.
    pub request_timeout: Duration,
    /// What is logged, and how.
    pub log: Log,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: LevelFilter,
    /// One JSON object per line, for machines.
    pub json: bool,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Help or the version was asked for, or a flag is unknown.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// All mistakes at once.
    #[error("{0}")]
    Invalid(Mistakes),
}

/// Settings that make no sense, each with what to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the settings cannot be used:")?;
        self.0.iter().try_for_each(|mistake| write!(formatter, "\n  {mistake}"))
    }
}

/// Connects a vehicle that runs Eclipse Ankaios to its operators over MQTT.
///
/// Operators publish a request to vehicle/<VIN>/<operation>/req and get the
/// reply on vehicle/<VIN>/<operation>/resp. Every setting is a flag and an
/// environment variable; a flag wins. Durations are written as 5s, 10m or 24h,
/// sizes as 512KiB or 1MiB.
#[derive(Debug, Parser)]
#[command(name = "fleet-connector", version, max_term_width = 100)]
struct CommandLine {
    #[command(flatten)]
    raw: Raw,
}

/// The settings as they are written. Everything is text, so that all mistakes
/// can be reported together.
#[derive(Debug, Args)]
struct Raw {
    /// Identifies the vehicle in all topics: 1 to 64 of A-Z, a-z, 0-9, _ and - [required]
    #[arg(long, env, value_name = "VIN", hide_env_values = true)]
    vin: Option<String>,
    /// Host name or address of the MQTT broker
    #[arg(long, env, value_name = "HOST", default_value = "localhost", hide_env_values = true)]
    mqtt_broker_addr: String,
    /// Port of the MQTT broker
    #[arg(long, env, value_name = "PORT", default_value = "1883", hide_env_values = true)]
    mqtt_broker_port: String,
    /// Client identifier; the broker keeps requests for it [default: fleet-connector-<VIN>]
    #[arg(long, env, value_name = "ID", hide_env_values = true)]
    mqtt_client_id: Option<String>,
    /// How long the broker keeps requests while the vehicle is offline
    #[arg(long, env, value_name = "DURATION", default_value = "24h", hide_env_values = true)]
    mqtt_session_expiry: String,
    /// A connection on which the broker is silent for so long is given up
    #[arg(long, env, value_name = "DURATION", default_value = "30s", hide_env_values = true)]
    mqtt_keep_alive: String,
    /// Folder with the FIFOs of Ankaios' control interface
    #[arg(
        long,
        env,
        value_name = "DIR",
        default_value = "/run/ankaios/control_interface",
        hide_env_values = true
    )]
    control_interface_dir: PathBuf,
    /// How long to wait for one answer of Ankaios
    #[arg(long, env, value_name = "DURATION", default_value = "5s", hide_env_values = true)]
    request_timeout: String,
    /// Larger requests are answered with payload_too_large
    #[arg(long, env, value_name = "SIZE", default_value = "1MiB", hide_env_values = true)]
    max_payload_size: String,
    /// Topics, separated by commas, below which replies may go besides the vehicle's own
    #[arg(long, env, value_name = "TOPICS", default_value = "", hide_env_values = true)]
    response_topic_prefixes: String,
    /// error, warn, info, debug or trace
    #[arg(long, env, value_name = "LEVEL", default_value = "info", hide_env_values = true)]
    log_level: String,
    /// text or json
    #[arg(long, env, value_name = "FORMAT", default_value = "text", hide_env_values = true)]
    log_format: String,
}

impl Settings {
    /// Reads flags and environment of the process.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read() -> Result<Self, SettingsError> {
        Self::from_args(std::env::args_os())
    }

    /// Reads flags, the first of which is the program, and the environment.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn from_args(
        args: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
    ) -> Result<Self, SettingsError> {
        let matches = CommandLine::command().try_get_matches_from(args)?;
        let CommandLine { raw } = CommandLine::from_arg_matches(&matches)?;
        raw.check().map_err(SettingsError::Invalid)
    }
}

impl Raw {
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
                format!("{prefix:?} has a wildcard; name the topic without it"),
            );
        }
        let vin = vin.unwrap_or_else(|| "unknown".into());
        let topics = check.parsed("VIN", Topics::new(&vin, prefixes));
        let host = self.mqtt_broker_addr.trim().to_owned();
        if host.is_empty() || host.contains(['/', ' ']) {
            check.mistake(
                "MQTT_BROKER_ADDR",
                format!("{host:?} is no host name or address; leave out scheme and path"),
            );
        }
        let port = check.parse::<u16>("MQTT_BROKER_PORT", &self.mqtt_broker_port);
        if port == Some(0) {
            check.mistake("MQTT_BROKER_PORT", "0 is no port");
        }
        let client_id = match self.mqtt_client_id {
            Some(id) if id.is_empty() || id.len() > 256 || id.contains('\0') => {
                check.mistake("MQTT_CLIENT_ID", "it needs 1 to 256 characters");
                None
            }
            Some(id) => Some(id),
            None => Some(format!("fleet-connector-{vin}")),
        };
        let session_expiry = check.duration("MQTT_SESSION_EXPIRY", &self.mqtt_session_expiry);
        let keep_alive = check.duration_within(
            "MQTT_KEEP_ALIVE",
            &self.mqtt_keep_alive,
            Duration::from_secs(5)..=Duration::from_secs(u16::MAX.into()),
        );
        let request_timeout = check.duration_within(
            "REQUEST_TIMEOUT",
            &self.request_timeout,
            Duration::from_millis(10)..=Duration::from_secs(600),
        );
        let max_payload = check.parse::<ByteSize>("MAX_PAYLOAD_SIZE", &self.max_payload_size);
        let allowed = ByteSize::b(1)..=ByteSize::mib(32);
        if let Some(size) = max_payload.filter(|size| !allowed.contains(size)) {
            check.mistake("MAX_PAYLOAD_SIZE", format!("{size} is not between 1B and 32MiB"));
        }
        let level = match self.log_level.to_ascii_lowercase().as_str() {
            "error" => Some(LevelFilter::ERROR),
            "warn" => Some(LevelFilter::WARN),
            "info" => Some(LevelFilter::INFO),
            "debug" => Some(LevelFilter::DEBUG),
            "trace" => Some(LevelFilter::TRACE),
            other => {
                let levels = "error, warn, info, debug or trace";
                check.mistake("LOG_LEVEL", format!("{other:?} is no level; use {levels}"));
                None
            }
        };
        let json = match self.log_format.to_ascii_lowercase().as_str() {
            "text" => Some(false),
            "json" => Some(true),
            other => {
                check.mistake("LOG_FORMAT", format!("{other:?} is no format; use text or json"));
                None
            }
        };
        let settings = || {
            Some(Settings {
                topics: topics?,
                mqtt: mqtt::Options {
                    host,
                    port: port?,
                    client_id: client_id?,
                    session_expiry: session_expiry?,
                    keep_alive: keep_alive?,
                    max_payload: usize::try_from(max_payload?.as_u64()).ok()?,
                },
                control_interface_dir: self.control_interface_dir,
                request_timeout: request_timeout?,
                log: Log { level: level?, json: json? },
            })
        };
        match settings() {
            Some(settings) if check.0.0.is_empty() => Ok(settings),
            _ => Err(check.0),
        }
    }
}

/// Collects the mistakes.
#[derive(Debug, Default)]
struct Check(Mistakes);

impl Check {
    fn mistake(&mut self, name: &str, what: impl fmt::Display) {
        self.0.0.push(format!("{name}: {what}"));
    }

    fn parsed<T, E: fmt::Display>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.mistake(name, error)).ok()
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        let result = text.trim().parse().map_err(|error| format!("{text:?}: {error}"));
        self.parsed(name, result)
    }

    fn duration(&mut self, name: &str, text: &str) -> Option<Duration> {
        let result = humantime::parse_duration(text.trim())
            .map_err(|error| format!("{text:?}: {error}; write it as 5s, 10m or 24h"));
        self.parsed(name, result)
    }

    fn duration_within(
        &mut self,
        name: &str,
        text: &str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let duration = self.duration(name, text)?;
        if range.contains(&duration) {
            return Some(duration);
        }
        let [least, most] = [range.start(), range.end()].map(|d| humantime::format_duration(*d));
        self.mistake(name, format!("{text} is not between {least} and {most}"));
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> Result<Settings, SettingsError> {
        Settings::from_args([&["fleet-connector"], flags].concat())
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
        assert_eq!((settings.mqtt.host.as_str(), settings.mqtt.port), ("localhost", 1883));
        assert_eq!(settings.mqtt.max_payload, 1024 * 1024);
        assert_eq!(settings.mqtt.session_expiry, Duration::from_secs(86_400));
        assert_eq!(settings.request_timeout, Duration::from_secs(5));
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
            "--request-timeout=0s",
            "--max-payload-size=1TB",
            "--response-topic-prefixes=a,b/#",
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
            "REQUEST_TIMEOUT",
            "MAX_PAYLOAD_SIZE",
            "RESPONSE_TOPIC_PREFIXES: \"b/#\"",
            "LOG_LEVEL: \"loud\"",
            "LOG_FORMAT: \"xml\"",
        ] {
            assert!(report.contains(&format!("\n  {name}")), "{name} is missing in {report}");
        }
        assert_eq!(report.lines().count(), 12, "{report}");
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
    fn an_unknown_flag_is_a_mistake_of_the_command_line() {
        assert!(matches!(read(&["--vin=1", "--vim=2"]), Err(SettingsError::CommandLine(_))));
    }
}

//! The settings: each is an environment variable and a flag of the same name.

use std::ffi::OsString;
use std::time::Duration;

use clap::Parser;
use mqtt_session::{AddressBook, BrokerArgs, BrokerSettings, SessionOptions};
use service_kit::settings::{Check, LogArgs, LogSettings, Mistakes, SettingsError};

/// MQTT keep alive.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Over how long the senders of a fleet come back to a broker that was lost.
const RECONNECT_SPREAD: Duration = Duration::from_secs(1);

/// Largest payload that is received: none is expected.
const MAX_PAYLOAD: usize = 1024;

/// Maximum length of a topic in bytes (MQTT 3.1.1, section 4.7.3).
const MAX_TOPIC: usize = 65_535;

/// The settings of the sender.
#[derive(Debug, Clone)]
pub(crate) struct SenderSettings {
    /// The connection to the broker.
    pub(crate) mqtt: SessionOptions,
    /// The topic to publish to.
    pub(crate) topic: String,
    /// The time between two messages.
    pub(crate) interval: Duration,
    /// What is logged, and how.
    pub(crate) log: LogSettings,
}

/// Publishes a random speed over MQTT, as a vehicle would.
///
/// The payload is a whole number from 0 to 100, as text. Every setting is a flag
/// and an environment variable; a flag takes precedence.
#[derive(Debug, Parser)]
#[command(name = "vehicle-data-sender", version, max_term_width = 100)]
struct SenderArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Topic to publish to, such as vehicle/1/sensors/speed (required)
    #[arg(long, env, value_name = "TOPIC", default_value = "", hide_env_values = true)]
    topic: String,
    /// Time between two messages, in whole seconds
    #[arg(long, env, value_name = "SECONDS", default_value = "1", hide_env_values = true)]
    interval: String,
    #[command(flatten)]
    log: LogArgs,
}

impl SenderSettings {
    /// Reads the settings from the command line, which starts with the program name, and from the
    /// environment.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub(crate) fn from_args(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, SettingsError> {
        SenderArgs::try_parse_from(args)?.check().map_err(SettingsError::Invalid)
    }
}

impl SenderArgs {
    /// Checks the settings and reports all mistakes.
    fn check(self) -> Result<SenderSettings, Mistakes> {
        let mut check = Check::default();
        let broker = self.broker.check(&mut check);
        if self.topic.is_empty() {
            let example = "for example TOPIC=vehicle/1/sensors/speed";
            check.mistake("TOPIC", format!("it is not set; say where to publish, {example}"));
        } else if self.topic.contains(['+', '#', '\0']) {
            let what = format!("{:?} has a wildcard; name one topic", self.topic);
            check.mistake("TOPIC", what);
        } else if self.topic.len() > MAX_TOPIC {
            check.mistake("TOPIC", format!("it is longer than {MAX_TOPIC} bytes"));
        }
        let seconds = match self.interval.trim().parse::<u32>() {
            Ok(0) | Err(_) => {
                let what = format!("{:?}: write whole seconds, 1 or more", self.interval);
                check.mistake("INTERVAL", what);
                None
            }
            Ok(seconds) => Some(seconds),
        };
        let log = self.log.check(&mut check);
        let settings = || {
            let interval = Duration::from_secs(seconds?.into());
            let mqtt = session_options(broker?, &self.topic);
            Some(SenderSettings { mqtt, topic: self.topic, interval, log: log? })
        };
        check.finish(settings())
    }
}

fn session_options(settings: BrokerSettings, topic: &str) -> SessionOptions {
    let BrokerSettings { brokers, transport, tls, login } = settings;
    SessionOptions {
        brokers,
        transport,
        addresses: AddressBook::default(),
        tls,
        login,
        client_id: String::new(),
        session_expiry: Duration::ZERO,
        will_delay: Duration::ZERO,
        reconnect_spread: RECONNECT_SPREAD,
        keep_alive: KEEP_ALIVE,
        drain_timeout: Duration::ZERO,
        max_payload: MAX_PAYLOAD,
        base_topic: topic.to_owned(),
        content_type: "text/plain",
        user_properties: &[],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> Result<SenderSettings, SettingsError> {
        SenderSettings::from_args([&["vehicle-data-sender"], flags].concat())
    }

    #[test]
    fn only_the_topic_is_required() {
        let settings = read(&["--topic=vehicle/1/sensors/speed"]).unwrap();
        assert_eq!(settings.mqtt.brokers.to_string(), "localhost:1883");
        assert_eq!(settings.topic, "vehicle/1/sensors/speed");
        assert_eq!(settings.interval, Duration::from_secs(1));
    }

    #[test]
    fn mistakes_are_reported_with_what_to_change() {
        for (flag, part) in [
            ("--topic=", "TOPIC: it is not set"),
            ("--topic=a/+/b", "TOPIC: \"a/+/b\" has a wildcard"),
            ("--interval=0", "INTERVAL: \"0\": write whole seconds"),
            ("--interval=10s", "INTERVAL: \"10s\": write whole seconds"),
            ("--interval=-1", "INTERVAL: \"-1\""),
            ("--interval=99999999999", "INTERVAL"),
            ("--mqtt-broker-port=0", "MQTT_BROKER_PORT: 0 is not a valid port"),
            ("--mqtt-broker-addr=mqtt://x", "MQTT_BROKER_ADDR: \"mqtt://x\""),
            ("--mqtt-broker-addr=x:0", "MQTT_BROKER_ADDR: 0 is not a valid port"),
            ("--mqtt-tls=yes", "MQTT_TLS: \"yes\""),
            ("--mqtt-key-file=/key", "MQTT_KEY_FILE: it requires TLS"),
            ("--mqtt-password-file=/password", "MQTT_USERNAME: it is not set"),
            ("--mqtt-transport=ws", "MQTT_TRANSPORT: \"ws\""),
            ("--mqtt-websocket-path=/mqtt", "MQTT_WEBSOCKET_PATH: it requires WebSocket"),
        ] {
            let topic = if flag.starts_with("--topic") { "--log-level=info" } else { "--topic=t" };
            let Err(SettingsError::Invalid(mistakes)) = read(&[flag, topic]) else {
                panic!("{flag} is accepted");
            };
            let report = mistakes.to_string();
            assert!(report.contains(part), "{part} is missing in {report}");
            assert_eq!(report.lines().count(), 2, "{report}");
        }
    }
}

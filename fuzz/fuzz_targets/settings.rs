//! Settings, one argument per line: parsing does not panic, and accepted settings satisfy what
//! the rest of the connector relies on.

#![no_main]

use std::time::Duration;

use fleet_connector::settings::Settings;
use libfuzzer_sys::fuzz_target;
use service_kit::settings::SettingsError;

fuzz_target!(|lines: &str| {
    let args = std::iter::once("fleet-connector").chain(lines.lines());
    match Settings::from_args(args) {
        Ok(settings) => {
            assert!(settings.mqtt.broker.port() > 0);
            assert!(settings.mqtt.keep_alive >= Duration::from_secs(5));
            assert!(settings.mqtt.max_payload > 0);
            assert!(!settings.mqtt.client_id.is_empty());
            assert!(settings.request_timeout > Duration::ZERO);
            assert!(!settings.topics.to_string().contains(['+', '#', '\0']));
        }
        Err(SettingsError::CommandLine(error)) => drop(error.to_string()),
        Err(SettingsError::Invalid(mistakes)) => drop(mistakes.to_string()),
    }
});

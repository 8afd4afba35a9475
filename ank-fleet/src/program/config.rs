//! The configuration file: named contexts with the settings of a connection.
//!
//! ```yaml
//! current-context: prod
//! contexts:
//!   prod:
//!     mqtt_broker_addr: broker.example
//!     mqtt_ca_file: /etc/fleet/ca.pem
//!     fleet: prod-eu
//!     inventory: /etc/fleet/vehicles.csv
//! ```
//! Flags and environment variables come before the settings of a context.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml::Value;

use super::failure::Failure;
use super::input::read_file;

/// The settings that a context may have: the names of the flags, with `_` for `-`.
pub(crate) const SETTINGS: [&str; 14] = [
    "mqtt_broker_addr",
    "mqtt_broker_port",
    "mqtt_transport",
    "mqtt_websocket_path",
    "mqtt_tls",
    "mqtt_ca_file",
    "mqtt_cert_file",
    "mqtt_key_file",
    "mqtt_alpn",
    "mqtt_username",
    "mqtt_password_file",
    "mqtt_allow_insecure_login",
    "fleet",
    "inventory",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The value of a flag in arguments that are not parsed yet: `--name value` or `--name=value`.
pub(crate) fn flag(args: &[OsString], name: &str) -> Option<String> {
    let mut args = args.iter().skip(1).filter_map(|arg| arg.to_str());
    while let Some(arg) = args.next() {
        if arg == "--" {
            return None;
        }
        if arg == name {
            return args.next().map(str::to_owned);
        }
        if let Some(value) = arg.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

/// The settings of a context. Without a file there are none, unless a context is asked for.
///
/// # Errors
/// The file, or the context, cannot be used.
pub(crate) fn settings(
    file: Option<PathBuf>,
    context: Option<&str>,
) -> Result<BTreeMap<String, String>, Failure> {
    let is_named = file.is_some();
    let Some(path) = file.or_else(default_path) else {
        return match context {
            None => Ok(BTreeMap::new()),
            Some(name) => Err(Failure::usage(format!(
                "there is no context {name:?}: no configuration file; set --config"
            ))),
        };
    };
    let text = match read_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => {
            return match context {
                None => Ok(BTreeMap::new()),
                Some(name) => Err(Failure::usage(format!(
                    "there is no context {name:?}: {} does not exist",
                    path.display()
                ))),
            };
        }
        text => text.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
    };
    parse(&path, &text, context)
}

/// The names of the contexts; `None` if the file cannot be used.
pub(crate) fn contexts(file: Option<PathBuf>) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(file.or_else(default_path)?).ok()?;
    let file: File = serde_yaml::from_str(&text).ok()?;
    Some(file.contexts.into_keys().collect())
}

fn parse(
    path: &Path,
    text: &str,
    context: Option<&str>,
) -> Result<BTreeMap<String, String>, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display()));
    let file: File = serde_yaml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let Some(name) = context.or(file.current_context.as_deref()) else {
        return Ok(BTreeMap::new());
    };
    let Some(settings) = file.contexts.get(name) else {
        let names: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "there are none".into() } else { names.join(", ") };
        return Err(wrong(format!("there is no context {name:?}; contexts: {known}")));
    };
    let setting = |(key, value): (&String, &Value)| {
        if !SETTINGS.contains(&key.as_str()) {
            return Err(wrong(format!(
                "context {name}: {key:?} is not a setting; settings: {}",
                SETTINGS.join(", ")
            )));
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(is_on) => is_on.to_string(),
            _ => return Err(wrong(format!("context {name}: {key}: expected text"))),
        };
        Ok((key.clone(), text))
    };
    settings.iter().map(setting).collect()
}

/// `$XDG_CONFIG_HOME/ank-fleet/config.yaml`, or the same below `~/.config`.
fn default_path() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("config.yaml"))
}

/// The folder of the journals.
pub(crate) fn journals() -> Option<PathBuf> {
    folder("XDG_STATE_HOME", ".local/state")
}

fn folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join("ank-fleet"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "current-context: prod\ncontexts:\n  prod:\n    mqtt_broker_addr: b.example\n    \
                        mqtt_broker_port: 8883\n    mqtt_tls: true\n  dev: {fleet: dev}\n";

    #[test]
    fn a_context_has_settings() {
        let parse = |context| parse(Path::new("c.yaml"), TEXT, context).unwrap();
        let prod = parse(None);
        let get = |key: &str| prod.get(key).map(String::as_str);
        assert_eq!(get("mqtt_broker_port"), Some("8883"));
        assert_eq!((get("mqtt_tls"), get("fleet")), (Some("true"), None));
        assert_eq!(parse(Some("dev")).len(), 1);
    }

    #[test]
    fn mistakes_name_the_file_and_what_is_known() {
        for (text, context, part) in [
            (TEXT, Some("x"), "c.yaml: there is no context \"x\"; contexts: dev, prod"),
            ("contexts: {a: {host: b}}", Some("a"), "\"host\" is not a setting"),
            ("contexts: {a: {fleet: [b]}}", Some("a"), "context a: fleet: expected text"),
            ("context: a", None, "unknown field"),
        ] {
            let error = parse(Path::new("c.yaml"), text, context).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn flags_are_found_before_arguments_are_parsed() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let found = |line: &str| flag(&args(line), "--context");
        assert_eq!(found("x get --context a vehicles").as_deref(), Some("a"));
        assert_eq!(found("x --context=b get").as_deref(), Some("b"));
        assert_eq!(found("x get -- --context a"), None);
        assert_eq!(found("x get --context"), None);
    }
}

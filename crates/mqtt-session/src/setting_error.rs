//! A setting that cannot be used.

/// The setting with the address of the broker.
pub(crate) const ADDRESS: &str = "MQTT_BROKER_ADDR";

/// The setting with the port of the broker.
pub(crate) const PORT: &str = "MQTT_BROKER_PORT";

/// The value of a setting that cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct SettingError {
    /// The environment variable.
    pub name: &'static str,
    /// What is wrong with it, and the right form.
    pub reason: String,
}

impl SettingError {
    pub(crate) fn new(name: &'static str, reason: impl Into<String>) -> Self {
        Self { name, reason: reason.into() }
    }
}

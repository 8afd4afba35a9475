//! Connects a vehicle that runs Eclipse Ankaios to its operators over MQTT.

pub mod ankaios;
pub mod proto;

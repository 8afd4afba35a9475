//! Connects a vehicle that runs Eclipse Ankaios to its operators over MQTT.

pub mod ankaios;
pub mod json;
pub mod manifest;
pub mod proto;
mod schema;

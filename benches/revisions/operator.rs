//! An operator who measures how long replies take.

use std::time::Instant;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use serde_json::Value;

use crate::mqtt::Connection;
use crate::support::connector::BASE;

/// An operator of one vehicle.
pub(crate) struct Operator {
    connection: Connection,
    pub(crate) number: usize,
}

impl Operator {
    /// Connects to the broker at this port.
    pub(crate) fn connect(port: u16) -> Self {
        let connection = Connection::open(port, "operator", &reply_topic());
        Self { connection, number: 0 }
    }

    /// Sends a request and waits for its reply. Returns the time and the reply.
    pub(crate) fn ask(&mut self, operation: &str, payload: impl Into<Bytes>) -> (f64, Value) {
        let start = Instant::now();
        self.send(operation, payload);
        let reply = self.reply();
        (start.elapsed().as_secs_f64(), reply)
    }

    pub(crate) fn send(&mut self, operation: &str, payload: impl Into<Bytes>) {
        let topic = format!("{BASE}/{operation}/req");
        let properties = PublishProperties {
            response_topic: Some(reply_topic()),
            ..PublishProperties::default()
        };
        self.connection.publish(&topic, payload.into(), properties);
        self.connection.send();
    }

    pub(crate) fn reply(&mut self) -> Value {
        loop {
            if let Some(Packet::Publish(Publish { payload, pkid, .. })) = self.connection.next() {
                // Sent with the next request.
                self.connection.acknowledge(pkid);
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// Changes a config.
    pub(crate) fn change(&mut self) -> f64 {
        self.number += 1;
        let manifest = format!("apiVersion: v1\nconfigs:\n  c: '{}'\n", self.number);
        let (time, reply) = self.ask("manifest/apply", manifest);
        assert!(reply.get("error").is_none(), "{reply}");
        time
    }
}

/// The topic of all replies.
fn reply_topic() -> String {
    format!("{BASE}/bench/resp")
}

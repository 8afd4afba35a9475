//! A bare client that answers each request with the same packets as the connector. Its time is
//! the MQTT part of the floor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};

use crate::mqtt::Connection;

/// The client. Its thread ends when the broker does.
pub(crate) struct Echo {
    reply: Arc<Mutex<Bytes>>,
}

impl Echo {
    /// Answers the requests to the vehicle whose topics start with `base`. Calls `work` before
    /// each reply.
    pub(crate) fn start(port: u16, base: &str, work: impl FnMut() + Send + 'static) -> Self {
        let client_id = format!("echo {base}");
        let connection = Connection::open(port, &client_id, &format!("{base}/state/req"));
        let topic = format!("{base}/state/resp");
        let reply = Arc::new(Mutex::new(Bytes::new()));
        let payload = Arc::clone(&reply);
        thread::Builder::new()
            .name("echo".into())
            .spawn(|| run(connection, topic, payload, work))
            .unwrap();
        Self { reply }
    }

    /// Sets the payload of all further replies.
    pub(crate) fn reply_with(&self, payload: Bytes) {
        *self.reply.lock().unwrap() = payload;
    }
}

/// Answers requests. Each is acknowledged when the broker has acknowledged its reply.
fn run(
    mut connection: Connection,
    topic: String,
    payload: Arc<Mutex<Bytes>>,
    mut work: impl FnMut(),
) {
    let mut requests = HashMap::new();
    while let Some(first) = connection.next() {
        let mut packet = Some(first);
        while let Some(received) = packet {
            match received {
                Packet::Publish(request) => {
                    work();
                    let payload = payload.lock().unwrap().clone();
                    let properties = properties(request.properties.unwrap_or_default());
                    let reply = connection.publish(&topic, payload, properties);
                    requests.insert(reply, request.pkid);
                }
                Packet::PubAck(puback) => {
                    connection.acknowledge(requests.remove(&puback.pkid).unwrap());
                }
                other => panic!("{other:?}"),
            }
            packet = connection.received();
        }
        connection.send();
    }
}

/// The properties that a reply of the connector has.
fn properties(request: PublishProperties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: Some(1),
        content_type: Some("application/json".into()),
        correlation_data: request.correlation_data,
        user_properties: vec![("request-id".into(), "0123456789abcdef".into())],
        ..PublishProperties::default()
    }
}

//! Sends requests over MQTT with a constant number in flight, and measures the latency of the
//! replies.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};

use crate::mqtt::Connection;
use crate::round::{Limit, Round};

/// A client that sends requests to one connector or echo.
pub(crate) struct Requester {
    connection: Connection,
    topic: String,
    payload: Bytes,
}

impl Requester {
    /// Connects a client for the vehicle whose topics start with `base`.
    pub(crate) fn new(port: u16, base: &str) -> Self {
        let connection =
            Connection::open(port, &format!("client {base}"), &format!("{base}/state/resp"));
        Self { connection, topic: format!("{base}/state/req"), payload: Bytes::new() }
    }

    /// Sets the field masks of all further requests, as JSON.
    pub(crate) fn ask_for(&mut self, masks: &str) {
        self.payload = Bytes::copy_from_slice(masks.as_bytes());
    }

    /// Sends one request and returns the payload of its reply.
    pub(crate) fn ask(&mut self) -> Bytes {
        self.request(0);
        self.connection.send();
        let reply = self.reply();
        self.connection.send();
        reply.payload
    }

    /// Keeps `in_flight` requests in flight until the limit is reached.
    pub(crate) fn run(&mut self, in_flight: usize, limit: Limit) -> Round {
        let begin = Instant::now();
        let mut sent = vec![begin; in_flight];
        let mut round = Round::default();
        let mut open = 0;
        for (number, time) in sent.iter_mut().enumerate() {
            *time = Instant::now();
            self.request(number);
            open += 1;
        }
        self.connection.send();
        while open > 0 {
            // Everything that one read has received is answered with one write.
            let mut reply = Some(self.reply());
            while let Some(publish) = reply {
                let number = number(&publish);
                let now = Instant::now();
                round.add(now - sent[number], publish.payload.len());
                if limit.continues(&round, now - begin, open) {
                    sent[number] = now;
                    self.request(number);
                } else {
                    open -= 1;
                }
                reply = self.received_reply();
            }
            self.connection.send();
        }
        round.took = begin.elapsed();
        round
    }

    fn request(&mut self, number: usize) {
        let number = u32::try_from(number).unwrap();
        let properties = PublishProperties {
            correlation_data: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
            ..PublishProperties::default()
        };
        self.connection.publish(&self.topic, self.payload.clone(), properties);
    }

    /// Waits for a reply; its acknowledgement is sent with the next packets.
    fn reply(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.connection.next().expect("no broker") {
                return self.accept(publish);
            }
        }
    }

    fn received_reply(&mut self) -> Option<Publish> {
        loop {
            if let Packet::Publish(publish) = self.connection.received()? {
                return Some(self.accept(publish));
            }
        }
    }

    fn accept(&mut self, publish: Publish) -> Publish {
        assert!(!publish.payload.starts_with(b"{\"error\""), "{:?}", publish.payload);
        self.connection.acknowledge(publish.pkid);
        publish
    }
}

/// The number of the request to which this message replies.
fn number(reply: &Publish) -> usize {
    let data = reply.properties.as_ref().unwrap().correlation_data.as_ref().unwrap();
    u32::from_be_bytes(data.as_ref().try_into().unwrap()) as usize
}

/// Waits until the connector has announced that it is online and connected to Ankaios.
pub(crate) fn wait_until_connected(port: u16, base: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut connection =
        Connection::open(port, "waiting for the connector", &format!("{base}/connector/status"));
    loop {
        assert!(Instant::now() < deadline, "the connector has not connected");
        if let Packet::Publish(status) = connection.next().expect("no broker") {
            let status: serde_json::Value = serde_json::from_slice(&status.payload).unwrap();
            if status["status"] == "online" && status["ankaios"] == "connected" {
                return;
            }
        }
    }
}

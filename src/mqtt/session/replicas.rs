//! What the active one of several replicas hears of the others.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

use super::{Session, Stage};
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::status::Status;

impl Session {
    /// Handles a message among replicas; returns whether it was one.
    pub(super) fn heard_of_replicas(&mut self, publish: &Publish) -> Result<bool, ConnectionError> {
        if publish.qos != QoS::AtMostOnce {
            return Ok(false);
        }
        let Ok(topic) = std::str::from_utf8(&publish.topic) else { return Ok(false) };
        if !self.topics.is_of_replicas(topic) {
            return Ok(false);
        }
        // A session that was made as that of a replica keeps its subscription.
        let Some(replica) = &self.options.replica else { return Ok(true) };
        if topic == self.topics.standby() {
            self.announce_again();
        } else if topic == self.topics.status() {
            match Status::read(&publish.payload) {
                // Retained by one that was active since the connection was lost: what
                // this process knows of the session is out of date.
                Some(status) if publish.retain => {
                    if self.resume_until.is_some() && status.replica.as_ref() != Some(replica) {
                        return Err(ConnectionError::TakenOver);
                    }
                }
                Some(Status { online: true, .. }) => {}
                // A last will that comes late must not have the last word.
                _ => self.announce_again(),
            }
        }
        Ok(true)
    }

    /// Publishes the status again, unless it is about to be published.
    fn announce_again(&mut self) {
        if self.stage == Stage::Running && !self.outbox.has_status() {
            self.announce();
        }
    }
}

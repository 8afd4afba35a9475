//! What the active one of several replicas has to heed.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use tokio::time::{Instant, timeout_at};

use super::{Session, Stage};
use crate::mqtt::connect::Options;
use crate::mqtt::connection::Connection;
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::metrics::Metrics;
use crate::mqtt::standby::check_own;
use crate::mqtt::status::Status;
use crate::topics::Topics;

/// Since when this process was online in former connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Former {
    /// In the last one that stood.
    pub(super) stood: String,
    /// In the last one that was tried, which the broker may have accepted.
    pub(super) tried: String,
}

impl Former {
    /// Whether a status is that of this process, and not of another replica or
    /// another process of the same name.
    pub(super) fn has_said(&self, status: &Status, replica: &str) -> bool {
        status.replica.as_deref() == Some(replica)
            && status
                .since
                .as_ref()
                .is_some_and(|since| [&self.stood, &self.tried].contains(&since))
    }
}

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
                    if self.resume_until.is_some() && !self.former.has_said(&status, replica) {
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

/// Opens a connection. One of several replicas that resumes its session makes sure
/// first that it still has it.
pub(super) async fn open(
    options: &Options,
    topics: &Topics,
    connect: Packet,
    resume_until: Option<Instant>,
    former: &Former,
    metrics: &Metrics,
) -> Result<(Connection, bool), ConnectionError> {
    let (Some(replica), Some(until)) = (&options.replica, resume_until) else {
        return Connection::open(options, connect, metrics).await;
    };
    let resumed = async {
        let is_own = |status: &Status| former.has_said(status, replica);
        check_own(options, topics, replica, metrics, is_own).await?;
        Connection::open(options, connect, metrics).await
    };
    timeout_at(until, resumed).await.unwrap_or(Err(ConnectionError::Timeout))
}

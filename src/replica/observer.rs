//! Receives the status messages over a separate connection.

use fleet_contract::status::ConnectorStatus;
use fleet_contract::topics::Topics;
use mqtt_session::{ConnectionError, SessionMetrics, SessionOptions, Watcher};
use serde_json::json;

use super::election::StatusSeen;

/// A connection that is subscribed to the status topic.
pub(super) struct Observer {
    watcher: Watcher,
    topics: Topics,
}

impl Observer {
    /// Connects and subscribes. The client identifier contains the name of the replica, so that
    /// each replica can have such a connection.
    pub(super) async fn open(
        options: &SessionOptions,
        topics: &Topics,
        replica: &str,
        metrics: &SessionMetrics,
    ) -> Result<Self, ConnectionError> {
        let client_id = format!("{}-standby-{replica}", options.client_id);
        let watcher = Watcher::open(options, client_id, topics.status(), metrics).await?;
        Ok(Self { watcher, topics: topics.clone() })
    }

    /// Waits for the next status. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<StatusSeen, ConnectionError> {
        let message = self.watcher.next().await?;
        let status = ConnectorStatus::from_payload(&message.payload);
        Ok(StatusSeen { status, retained: message.retained })
    }

    /// Asks the active replica to publish its status again.
    pub(super) fn ask(&mut self, replica: &str) -> Result<(), ConnectionError> {
        let payload = json!({ "replica": replica }).to_string();
        self.watcher.publish(&self.topics.standby(), payload.into())
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        self.watcher.close().await;
    }
}

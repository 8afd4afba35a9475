//! Receives the messages of the active replica over a separate connection.

use fleet_contract::status::{ConnectorStatus, StandbyQuestion};
use fleet_contract::topics::{TopicKind, Topics};
use mqtt_session::{
    ConnectionError, SessionMetrics, SessionOptions, Watched, WatchedTopics, Watcher,
};

use super::election::StatusSeen;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The status.
    Status,
    /// The status, and the records of subscriptions and rollouts.
    StatusAndRecords,
}

/// A message of the active replica.
#[derive(Debug)]
pub(super) enum Seen {
    Status(Box<StatusSeen>),
    Record(Watched),
}

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
        scope: Scope,
        replica: &str,
        metrics: &SessionMetrics,
    ) -> Result<Self, ConnectionError> {
        let client_id = format!("{}-standby-{replica}", options.client_id);
        let filters = match scope {
            Scope::Status => Vec::new(),
            Scope::StatusAndRecords => topics.record_filters().into(),
        };
        let watched = WatchedTopics { topic: topics.status(), filters };
        let watcher = Watcher::open(options, client_id, watched, metrics).await?;
        Ok(Self { watcher, topics: topics.clone() })
    }

    /// Waits for the next message. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Seen, ConnectionError> {
        loop {
            let message = self.watcher.next().await?;
            match self.topics.kind(&message.topic) {
                TopicKind::Status => {
                    let status = ConnectorStatus::from_payload(&message.payload);
                    let retained = message.retained;
                    return Ok(Seen::Status(Box::new(StatusSeen { status, retained })));
                }
                TopicKind::Subscription { .. } | TopicKind::Rollout { .. } => {
                    return Ok(Seen::Record(message));
                }
                _ => tracing::debug!("a message is skipped: it was not requested"),
            }
        }
    }

    /// Whether the broker lets this connection see records.
    pub(super) fn sees_records(&self) -> bool {
        self.watcher.sees_filters()
    }

    /// Asks the active replica to publish its status again, and perhaps its records.
    pub(super) fn ask(&mut self, replica: &str, scope: Scope) -> Result<(), ConnectionError> {
        let records = scope == Scope::StatusAndRecords;
        let question = StandbyQuestion { replica: replica.to_owned(), records };
        self.watcher.publish(&self.topics.standby(), question.to_payload())
    }

    /// Closes the connection.
    pub(super) async fn close(self) {
        self.watcher.close().await;
    }
}

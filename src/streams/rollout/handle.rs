//! A handle to the rollout tracker.

use std::time::Duration;

use ankaios_control::Client;
use bytes::Bytes;
use fleet_contract::topics::Topics;
use mqtt_session::Refused;
use tokio::sync::mpsc;

use super::record::{MAX_ROLLOUT_RECORD, RolloutRecord};
use super::tracker::Tracker;
use super::update::{AcceptedUpdate, RolloutCommand};
use crate::streams::publisher::Publisher;
use crate::streams::unusable::{self, Unusable};

/// Maximum number of commands that wait for the task.
const MAX_COMMANDS: usize = 64;

/// A handle to the rollout tracker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Rollouts {
    commands: mpsc::Sender<RolloutCommand>,
    topics: Topics,
    publisher: Publisher,
}

impl Rollouts {
    /// Creates a handle and its task, which ends when all handles are dropped. `limit` is how long
    /// a rollout is followed.
    pub(crate) fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        limit: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let tracker = Tracker::new(ankaios, topics.clone(), publisher.clone(), limit);
        (Self { commands, topics, publisher }, tracker.run(receiver))
    }

    /// Follows the rollout of an update.
    pub(crate) async fn follow(&self, rollout: AcceptedUpdate) {
        // The task has ended only if the connector is stopping.
        let _ = self.commands.send(RolloutCommand::Update(rollout)).await;
    }

    /// Resumes a rollout of an earlier process. A record that cannot be used is removed from the
    /// broker.
    pub(crate) async fn restore(self, id: String, record: Result<Bytes, Refused>) {
        // The record is parsed only when the task can take it, which limits the memory.
        let Ok(permit) = self.commands.reserve().await else { return };
        let size = record.as_ref().map_or(0, Bytes::len);
        match unusable::bytes(record, MAX_ROLLOUT_RECORD)
            .and_then(|bytes| RolloutRecord::read(&id, &bytes))
        {
            Ok(record) => permit.send(RolloutCommand::Restored { id, record, size }),
            Err(reason) => {
                drop(permit);
                let topic = self.topics.rollout(&id);
                tracing::warn!(%reason, topic, "a rollout is not resumed");
                if !matches!(reason, Unusable::NotNow(_)) {
                    let _ = self.publisher.remove(&topic).await;
                }
            }
        }
    }
}

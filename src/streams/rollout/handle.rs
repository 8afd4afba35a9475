//! A handle to the task that follows roll-outs.

use std::time::Duration;

use ankaios_control::Client;
use bytes::Bytes;
use fleet_contract::topics::Topics;
use mqtt_session::Refused;
use tokio::sync::mpsc;

use super::record::{MAX_RECORD, RolloutRecord};
use super::tracker::Tracker;
use super::update::{Command, Rollout};
use crate::streams::publisher::Publisher;
use crate::streams::unusable::{self, Unusable};

/// Commands that wait for the task.
const MAX_COMMANDS: usize = 64;

/// A handle to the task that follows roll-outs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollouts {
    commands: mpsc::Sender<Command>,
    topics: Topics,
    publisher: Publisher,
}

impl Rollouts {
    /// A handle, and the task behind it, which ends when all handles are gone. `limit` is how
    /// long a roll-out is followed.
    pub fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        limit: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let tracker = Tracker::new(ankaios, topics.clone(), publisher.clone(), limit);
        (Self { commands, topics, publisher }, tracker.run(receiver))
    }

    /// Follows an update.
    pub(crate) async fn follow(&self, rollout: Rollout) {
        // The task has ended only if the connector is stopping.
        let _ = self.commands.send(Command::Update(rollout)).await;
    }

    /// Resumes a roll-out of a former process. A record that cannot be used is removed from the
    /// broker.
    pub(crate) async fn restore(self, id: String, record: Result<Bytes, Refused>) {
        // First a place: before that the record is not parsed.
        let Ok(place) = self.commands.reserve().await else { return };
        let size = record.as_ref().map_or(0, Bytes::len);
        match unusable::bytes(record, MAX_RECORD).and_then(|bytes| RolloutRecord::read(&id, &bytes))
        {
            Ok(record) => place.send(Command::Restored { id, record, size }),
            Err(reason) => {
                drop(place);
                let topic = self.topics.rollout(&id);
                tracing::warn!(%reason, topic, "a roll-out is not taken up again");
                if !matches!(reason, Unusable::NotNow(_)) {
                    let _ = self.publisher.remove(&topic).await;
                }
            }
        }
    }
}

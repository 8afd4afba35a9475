//! The progress of what was applied, until it has settled.
//!
//! ```text
//!  Rollouts       hands updates to the task that follows them
//!   ├ record      what is retained of a roll-out, for the next start
//!   └ tracker     that task: one subscription for all roll-outs
//!      ├ following   one roll-out: its instances, how far they are, when to tell
//!      │  └ doubt      which of their states may be from before it
//!      └ progress    the message
//! ```

mod doubt;
mod following;
mod progress;
mod record;
#[cfg(test)]
mod tests;
mod tracker;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::publisher::Publisher;
use super::unusable::{self, Unusable};
use crate::ankaios::Client;
use crate::json::InstanceName;
use crate::mqtt::Refused;
use crate::proto::ank_base::UpdateStateSuccess;
use crate::topics::Topics;
use record::{MAX_RECORD, RolloutRecord};
use tracker::Tracker;

/// Updates that wait for being followed.
const QUEUE: usize = 64;

/// An update of the desired state that Ankaios has accepted.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// What is followed; `None` for an update that only replaces what others have
    /// added.
    pub applied: Option<Applied>,
    /// Added or changed instances.
    pub added: Vec<InstanceName>,
    /// Instances that will be gone.
    pub deleted: Vec<InstanceName>,
}

/// A manifest that was applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The request.
    pub request_id: String,
    /// The names of the workloads in it.
    pub workloads: BTreeSet<String>,
}

impl Rollout {
    /// What an update has changed.
    #[must_use]
    pub fn new(applied: Option<Applied>, success: &UpdateStateSuccess) -> Self {
        let names = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        Self {
            applied,
            added: names(&success.added_workloads),
            deleted: names(&success.deleted_workloads),
        }
    }

    /// Whether Ankaios had nothing to do for it.
    fn has_changed_nothing(&self) -> bool {
        self.added.is_empty() && self.deleted.is_empty()
    }
}

/// What the task is told.
#[derive(Debug)]
enum News {
    Update(Rollout),
    Restored { id: String, record: RolloutRecord, size: usize },
}

/// Hands updates to the task that follows them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollouts {
    news: mpsc::Sender<News>,
    topics: Topics,
    publisher: Publisher,
}

impl Rollouts {
    /// Makes the task, and what hands updates to it. The task ends when all
    /// [`Rollouts`] are gone.
    ///
    /// `limit` is how long a roll-out is followed.
    pub fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        limit: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (news, receiver) = mpsc::channel(QUEUE);
        let tracker = Tracker::new(ankaios, topics.clone(), publisher.clone(), limit);
        (Self { news, topics, publisher }, tracker.run(receiver))
    }

    /// Follows an update.
    pub(crate) async fn follow(&self, rollout: Rollout) {
        // The task is gone only when the connector stops.
        let _ = self.news.send(News::Update(rollout)).await;
    }

    /// Follows further what a former process has followed. A record that can not be
    /// used is removed from the broker.
    pub(crate) async fn restore(self, id: String, record: Result<Bytes, Refused>) {
        // First a place: until then nothing is made of the record.
        let Ok(place) = self.news.reserve().await else { return };
        let size = record.as_ref().map_or(0, Bytes::len);
        match unusable::bytes(record, MAX_RECORD).and_then(|bytes| RolloutRecord::read(&id, &bytes))
        {
            Ok(record) => place.send(News::Restored { id, record, size }),
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

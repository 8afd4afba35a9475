//! Messages about rollouts that wait for the MQTT session.
//!
//! The tracker must not wait for the broker: what it observes decides whether a change is taken
//! back. So it puts its messages here, and a task of each activation publishes them. While the
//! session is slow, only the last message about the progress of a rollout is kept; while this
//! connector is not the active one, none are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_contract::rollout::RolloutProgress;
use fleet_contract::topics::Topics;
use mqtt_session::SessionEnded;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::record::RolloutRecord;
use crate::streams::kept_records::KeptRecords;
use crate::streams::publisher::{Publisher, to_json};

/// Maximum number of messages that wait. Above it, the oldest is dropped.
const MAX_REPORTS: usize = 1024;

/// The number of messages that wait above which the session is slow.
const SLOW: usize = 16;

/// A message about a rollout.
#[derive(Debug)]
pub(super) enum Report {
    /// Its progress.
    Progress { progress: RolloutProgress, is_last: bool },
    /// Its record.
    Record { record: RolloutRecord, expiry: Duration },
    /// The broker or the store has this record from an earlier process.
    NoteRecord { record: RolloutRecord, expiry: Duration },
    /// Its record is removed.
    RemoveRecord,
}

/// The messages that wait. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A lock, because the tracker adds messages and the task of an activation takes them.
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    is_active: bool,
    /// Each with the id of its rollout.
    reports: VecDeque<(String, Report)>,
}

impl Reports {
    /// Adds a message about the rollout with this id.
    pub(super) fn add(&self, id: &str, report: Report) {
        let mut waiting = self.waiting();
        if !waiting.is_active {
            return;
        }
        let is_slow = waiting.reports.len() >= SLOW;
        if is_slow && matches!(report, Report::Progress { .. }) {
            let replaced = |(other, former): &(String, Report)| {
                other == id && matches!(former, Report::Progress { is_last: false, .. })
            };
            waiting.reports.retain(|former| !replaced(former));
        }
        if waiting.reports.len() >= MAX_REPORTS {
            tracing::warn!("too many messages about rollouts wait for the broker: one is dropped");
            waiting.reports.pop_front();
        }
        waiting.reports.push_back((id.to_owned(), report));
        drop(waiting);
        self.0.added.notify_one();
    }

    /// From now on messages are kept.
    pub(super) fn activate(&self) -> ActiveReports {
        *self.waiting() = Waiting { is_active: true, reports: VecDeque::new() };
        ActiveReports(self.clone())
    }

    fn next(&self) -> Option<(String, Report)> {
        self.waiting().reports.pop_front()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code that holds the lock can panic half-way through a change.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages are kept until this is dropped.
#[derive(Debug)]
pub(super) struct ActiveReports(Reports);

impl ActiveReports {
    /// Publishes messages until the session ends. After `stop` is cancelled, only those that wait
    /// already: the session ends when nothing can be published any more.
    pub(super) async fn publish(
        self,
        topics: Topics,
        publisher: Publisher,
        kept: KeptRecords,
        stop: CancellationToken,
    ) {
        loop {
            let is_last = stop.is_cancelled();
            while let Some((id, report)) = self.0.next() {
                keep(&id, &report, &kept).await;
                if publish(&id, report, &topics, &publisher).await.is_err() {
                    return;
                }
            }
            if is_last {
                return;
            }
            tokio::select! {
                () = self.0.0.added.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Publishes the next message, which the session takes at once. Returns whether there is one.
    #[cfg(test)]
    pub(super) fn publish_next(&self, topics: &Topics, publisher: &Publisher) -> bool {
        use futures_util::FutureExt;
        let Some((id, report)) = self.0.next() else { return false };
        let publish = publish(&id, report, topics, publisher);
        let published = tokio::task::unconstrained(publish).now_or_never();
        assert_eq!(published.map(|published| published.is_ok()), Some(true));
        true
    }
}

impl Drop for ActiveReports {
    fn drop(&mut self) {
        *self.0.waiting() = Waiting::default();
    }
}

/// Saves or removes a record in the store. That of a revision is not needed there.
async fn keep(id: &str, report: &Report, kept: &KeptRecords) {
    match report {
        Report::Record { record, .. } if record.revision.is_none() => {
            kept.save_rollout(id, to_json(record)).await;
        }
        Report::RemoveRecord => kept.remove_rollout(id).await,
        Report::Record { .. } | Report::NoteRecord { .. } | Report::Progress { .. } => {}
    }
}

async fn publish(
    id: &str,
    report: Report,
    topics: &Topics,
    publisher: &Publisher,
) -> Result<(), SessionEnded> {
    match report {
        Report::Progress { progress, .. } => {
            publisher.send(&topics.apply_status(), &progress).await
        }
        Report::Record { record, expiry } => {
            publisher.retain(&topics.rollout(id), &record, Some(expiry)).await
        }
        Report::NoteRecord { record, expiry } => {
            publisher.note_retained(&topics.rollout(id), &record, Some(expiry)).await?;
            tracing::info!(request_id = record.request_id, "a rollout is resumed");
            Ok(())
        }
        Report::RemoveRecord => publisher.remove(&topics.rollout(id)).await,
    }
}

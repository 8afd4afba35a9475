//! The task that follows all rollouts, by one subscription that lives as long as there are any.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use ankaios_control::{Client, WorkloadStates};
use ankaios_control::{Event, EventStream};
use ankaios_model::InstanceName;
use fleet_contract::rollout::RolloutStatus;
use fleet_contract::topics::Topics;
use futures_util::future::OptionFuture;
use mqtt_session::SessionEnded;
use service_kit::random;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::record::RolloutRecord;
use super::stale::{RecentlyDeleted, StaleStates};
use super::tracked::TrackedRollout;
use super::update::{AcceptedUpdate, AppliedManifest, RolloutCommand};
use crate::streams::publisher::Publisher;

/// Maximum number of rollouts that are followed at the same time; one more ends the oldest.
pub(super) const MAX_ROLLOUTS: usize = 256;

/// Maximum size of all restored records, in bytes. The connector itself never writes more, but
/// anybody who may publish for the vehicle may retain any number.
pub(super) const MAX_RESTORED: usize = 4 * 1024 * 1024;

/// How long an instance must be missing to count as removed by another client. An instance that
/// is deleted and applied again at once has no state for a moment.
pub(super) const MISSING_GRACE: Duration = Duration::from_secs(5);

/// The minimum time for which a restored rollout is followed.
const MIN_RESTORED: Duration = Duration::from_secs(10);

/// How long the broker keeps the record of a rollout after its timeout, in case the connector is
/// not started again.
const RECORD_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// The task that follows all rollouts.
pub(super) struct Tracker {
    ankaios: Client,
    topics: Topics,
    publisher: Publisher,
    limit: Duration,
    pub(super) rollouts: Vec<TrackedRollout>,
    /// The ids of the last rollouts that have settled. Their records may arrive again until the
    /// broker has removed them.
    settled: VecDeque<String>,
    /// Deleted instances. They may be added again while Ankaios still has their old state.
    pub(super) deleted: RecentlyDeleted,
    /// The states of all instances, if there is a subscription.
    states: WorkloadStates,
    events: Option<EventStream>,
    /// Whether the subscription has no snapshot yet.
    opening: bool,
}

impl Tracker {
    pub(super) fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        limit: Duration,
    ) -> Self {
        Self {
            ankaios,
            topics,
            publisher,
            limit,
            rollouts: Vec::new(),
            settled: VecDeque::new(),
            deleted: RecentlyDeleted::default(),
            states: WorkloadStates::default(),
            events: None,
            opening: false,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<RolloutCommand>) {
        loop {
            let deadline = self.rollouts.iter().map(TrackedRollout::next_deadline).min();
            // Events come first: one from before an update must not count as its outcome.
            let result = tokio::select! {
                biased;
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => match event {
                    Ok(event) => self.observe(&event).await,
                    Err(error) => {
                        tracing::warn!(%error, "the progress of rollouts is unknown");
                        Ok(())
                    }
                },
                command = commands.recv() => match command {
                    Some(RolloutCommand::Update(rollout)) => self.start(rollout).await,
                    Some(RolloutCommand::Restored { id, record, size }) => {
                        self.restore(id, record, size).await
                    }
                    None => return,
                },
                Some(()) = OptionFuture::from(deadline.map(sleep_until)) => self.check_deadlines().await,
            };
            if result.is_err() {
                return;
            }
            if self.rollouts.is_empty() {
                self.events = None;
                self.states = WorkloadStates::default();
            }
        }
    }

    pub(super) async fn start(&mut self, rollout: AcceptedUpdate) -> Result<(), SessionEnded> {
        let nothing_changed = rollout.has_changed_nothing();
        let deleted: BTreeSet<_> = rollout.deleted.into_iter().collect();
        self.deleted.add(&deleted);
        self.supersede(&deleted).await?;
        let Some(AppliedManifest { request_id, workloads }) = rollout.applied else {
            return Ok(());
        };
        let instances = rollout.added.into_iter().collect();
        let mut tracked = TrackedRollout::new(random::hex(), request_id, instances, self.limit);
        tracked.mark_stale(&self.deleted, &self.states, self.limit);
        if nothing_changed {
            // The request may be a redelivery, because the connector was killed before the reply,
            // and Ankaios may have changed something the first time.
            tracked.unresolved = workloads;
        }
        if tracked.is_empty() {
            return self.publish(&mut tracked, RolloutStatus::Succeeded).await;
        }
        if !tracked.instances.is_empty() {
            self.record(&mut tracked).await?;
        }
        self.follow(tracked).await
    }

    /// Follows a rollout of an earlier process until its original deadline, but for at least
    /// [`MIN_RESTORED`].
    pub(super) async fn restore(
        &mut self,
        id: String,
        record: RolloutRecord,
        size: usize,
    ) -> Result<(), SessionEnded> {
        let known = self.rollouts.iter().map(|tracked| &tracked.id).chain(&self.settled);
        if known.into_iter().any(|known| *known == id) {
            return Ok(());
        }
        let restored: usize = self.rollouts.iter().map(|tracked| tracked.restored_size).sum();
        if self.rollouts.len() >= MAX_ROLLOUTS || restored + size > MAX_RESTORED {
            tracing::warn!(id, "a rollout is not resumed: there are too many");
            return Ok(());
        }
        let limit = record.remaining().clamp(MIN_RESTORED.min(self.limit), self.limit);
        self.publisher
            .note_retained(&self.topics.rollout(&id), &record, Some(limit + RECORD_EXPIRY))
            .await?;
        let RolloutRecord { request_id, workloads, .. } = record;
        tracing::info!(request_id, "a rollout is resumed");
        let mut tracked = TrackedRollout::new(id, request_id, workloads, limit);
        tracked.recorded = true;
        tracked.restored_size = size;
        // The broker delivers the requests that it has queued before the records.
        if tracked.instances.iter().any(|instance| self.deleted.has(instance)) {
            return self.settle(tracked, RolloutStatus::Superseded).await;
        }
        self.follow(tracked).await
    }

    async fn follow(&mut self, tracked: TrackedRollout) -> Result<(), SessionEnded> {
        if self.rollouts.len() >= MAX_ROLLOUTS {
            let oldest = self.rollouts.remove(0);
            self.settle(oldest, RolloutStatus::TimedOut).await?;
        }
        let instances = tracked.instances.clone();
        let known = instances.iter().filter(|one| self.states.get(one).is_some()).count();
        // Workloads of which only the names are known need states that are newer than the
        // rollout. And no event reports that an instance of a restored rollout was removed
        // before the subscription.
        let needs_snapshot =
            !tracked.unresolved.is_empty() || (tracked.is_restored() && known < instances.len());
        self.rollouts.push(tracked);
        // A subscription in progress is completed first: otherwise a series of rollouts could
        // restart it forever.
        if self.events.is_none() || (needs_snapshot && !self.opening) {
            self.subscribe();
        }
        if known > 0 { self.report(&instances).await } else { Ok(()) }
    }

    fn subscribe(&mut self) {
        self.events = Some(self.ankaios.events(vec!["workloadStates".into()]));
        self.opening = true;
        self.rollouts.iter_mut().for_each(|tracked| tracked.covered = true);
    }

    pub(super) async fn observe(&mut self, event: &Event) -> Result<(), SessionEnded> {
        let mut changes = self.states.apply(event);
        if event.resynced {
            self.opening = false;
            for tracked in self.rollouts.iter_mut().filter(|one| one.covered) {
                tracked.resolve(&self.states);
                if tracked.stale.is_over() {
                    tracked.stale = StaleStates::default();
                }
            }
            let missing = |tracked: &&TrackedRollout| {
                !tracked.unresolved.is_empty()
                    || (tracked.stale.is_over() && tracked.has_stale_outcome(&self.states))
                    || tracked.instances.iter().any(|one| self.states.get(one).is_none())
            };
            let (covered, started_since): (Vec<_>, Vec<_>) =
                self.rollouts.iter().filter(missing).partition(|tracked| tracked.covered);
            changes.gone.extend(covered.iter().flat_map(|one| one.instances.iter().cloned()));
            changes.gone.retain(|instance| self.states.get(instance).is_none());
            if !started_since.is_empty() {
                // The snapshot may be older than the instances that it lacks.
                self.subscribe();
            }
        } else {
            self.rollouts.iter_mut().for_each(|one| one.stale.reported(&changes.changed));
        }
        let missing_deadline = Instant::now() + MISSING_GRACE;
        for tracked in &mut self.rollouts {
            if !tracked.instances.is_disjoint(&changes.gone) {
                tracked.missing_deadline.get_or_insert(missing_deadline);
            }
            if tracked.instances.iter().all(|instance| self.states.get(instance).is_some()) {
                tracked.missing_deadline = None;
            }
        }
        self.report(&changes.changed).await
    }

    /// Ends all rollouts that contain one of these instances.
    async fn supersede(&mut self, gone: &BTreeSet<InstanceName>) -> Result<(), SessionEnded> {
        let superseded = |tracked: &mut TrackedRollout| tracked.has_any(gone);
        self.settle_all(superseded, RolloutStatus::Superseded).await
    }

    /// Records that these instances have changed. The end of a rollout is published at once, and
    /// so is a change if the last message is at least the minimum interval ago.
    async fn report(&mut self, changed: &BTreeSet<InstanceName>) -> Result<(), SessionEnded> {
        let rollouts = std::mem::take(&mut self.rollouts);
        for mut tracked in rollouts {
            if tracked.is_empty() || !tracked.instances.is_disjoint(changed) {
                let status = tracked.status(&self.states);
                if status != RolloutStatus::InProgress {
                    self.settle(tracked, status).await?;
                    continue;
                }
                tracked.mark_changed();
                self.publish_if_due(&mut tracked).await?;
            }
            self.rollouts.push(tracked);
        }
        Ok(())
    }

    /// Ends rollouts whose deadline has passed, and publishes changes that had to wait.
    pub(super) async fn check_deadlines(&mut self) -> Result<(), SessionEnded> {
        let now = Instant::now();
        self.settle_all(|one| one.deadline <= now, RolloutStatus::TimedOut).await?;
        // Another client has deleted or changed an instance.
        let removed =
            |one: &mut TrackedRollout| one.missing_deadline.is_some_and(|deadline| deadline <= now);
        self.settle_all(removed, RolloutStatus::Superseded).await?;
        self.expire_stale(now);
        let rollouts = std::mem::take(&mut self.rollouts);
        for mut tracked in rollouts {
            self.publish_if_due(&mut tracked).await?;
            self.rollouts.push(tracked);
        }
        Ok(())
    }

    /// Requests a new snapshot if states may still be stale after [`STALE_FOR`](super::stale):
    /// nothing has changed since the update, or the link was down.
    fn expire_stale(&mut self, now: Instant) {
        let mut needs_snapshot = false;
        for tracked in &mut self.rollouts {
            if !tracked.stale.expire(now) {
                continue;
            }
            if self.opening || tracked.has_stale_outcome(&self.states) {
                tracked.covered = false;
                needs_snapshot = true;
            } else {
                tracked.stale = StaleStates::default();
            }
        }
        // A subscription in progress is completed first.
        if needs_snapshot && !self.opening {
            self.subscribe();
        }
    }

    async fn settle_all(
        &mut self,
        which: impl FnMut(&mut TrackedRollout) -> bool,
        status: RolloutStatus,
    ) -> Result<(), SessionEnded> {
        let settled: Vec<_> = self.rollouts.extract_if(.., which).collect();
        for tracked in settled {
            self.settle(tracked, status).await?;
        }
        Ok(())
    }

    /// Publishes the outcome of a rollout, and removes its record.
    async fn settle(
        &mut self,
        mut tracked: TrackedRollout,
        status: RolloutStatus,
    ) -> Result<(), SessionEnded> {
        self.publish(&mut tracked, status).await?;
        if !tracked.recorded {
            return Ok(());
        }
        let topic = self.topics.rollout(&tracked.id);
        self.settled.push_back(tracked.id);
        if self.settled.len() > MAX_ROLLOUTS {
            self.settled.pop_front();
        }
        self.publisher.remove(&topic).await
    }

    async fn publish_if_due(&self, tracked: &mut TrackedRollout) -> Result<(), SessionEnded> {
        if !tracked.is_due() {
            return Ok(());
        }
        self.record(tracked).await?;
        self.publish(tracked, RolloutStatus::InProgress).await
    }

    async fn publish(
        &self,
        tracked: &mut TrackedRollout,
        status: RolloutStatus,
    ) -> Result<(), SessionEnded> {
        tracing::info!(request_id = tracked.request_id, ?status, "rollout");
        let progress = tracked.progress(status, &self.states);
        self.publisher.send(&self.topics.apply_status(), &progress).await?;
        // Recorded only after the session has taken the message, so that a slow uplink gets fewer
        // messages.
        tracked.published();
        Ok(())
    }

    /// Publishes the record for the next process, unless that was done already.
    async fn record(&self, tracked: &mut TrackedRollout) -> Result<(), SessionEnded> {
        if tracked.recorded {
            return Ok(());
        }
        tracked.recorded = true;
        let limit = tracked.deadline.saturating_duration_since(Instant::now());
        let workloads = tracked.instances.clone();
        let record = RolloutRecord::new(tracked.request_id.clone(), workloads, limit);
        let topic = self.topics.rollout(&tracked.id);
        self.publisher.retain(&topic, &record, Some(limit + RECORD_EXPIRY)).await
    }
}

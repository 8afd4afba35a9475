//! The task that follows all rollouts, by one subscription that lives as long as there are any.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use ankaios_control::{Client, WorkloadStates};
use ankaios_control::{Event, EventStream};
use ankaios_model::InstanceName;
use fleet_contract::rollout::RolloutStatus;
use futures_util::future::OptionFuture;
use service_kit::random;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::record::RolloutRecord;
use super::reports::{Report, Reports};
use super::stale::{RecentlyDeleted, StaleStates};
use super::tracked::Stability;
use super::tracked::TrackedRollout;
use super::update::{
    ChangedInstances, FollowedUpdate, RolloutCommand, RolloutEnded, RolloutOptions,
};

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
    reports: Reports,
    options: RolloutOptions,
    ended: mpsc::Sender<RolloutEnded>,
    pub(super) rollouts: Vec<TrackedRollout>,
    /// Rollouts that have ended and whose revision may still be taken back.
    trials: VecDeque<TrackedRollout>,
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
        reports: Reports,
        options: RolloutOptions,
        ended: mpsc::Sender<RolloutEnded>,
    ) -> Self {
        Self {
            ankaios,
            reports,
            options,
            ended,
            rollouts: Vec::new(),
            trials: VecDeque::new(),
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
            tokio::select! {
                biased;
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => match event {
                    Ok(event) => self.observe(&event),
                    Err(error) => tracing::warn!(%error, "the progress of rollouts is unknown"),
                },
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                Some(()) = OptionFuture::from(deadline.map(sleep_until)) => self.check_deadlines(),
            }
            if self.rollouts.is_empty() {
                self.events = None;
                self.states = WorkloadStates::default();
            }
        }
    }

    pub(super) fn handle(&mut self, command: RolloutCommand) {
        match command {
            RolloutCommand::Update(update) => self.start(update),
            RolloutCommand::Restored { id, record, size } => self.restore(id, record, size),
            RolloutCommand::RollingBack { revision, request_id } => {
                let mut trial = self.trial(revision, request_id);
                self.publish(&mut trial, RolloutStatus::RollingBack);
                self.keep_trial(trial);
            }
            RolloutCommand::RolledBack { revision, request_id, result } => {
                let mut trial = self.trial(revision, request_id);
                let status = match &result {
                    Ok(()) => RolloutStatus::RolledBack,
                    Err(_) => RolloutStatus::RollbackFailed,
                };
                trial.reason = result.err();
                self.publish(&mut trial, status);
            }
        }
    }

    /// Takes the rollout of a revision that may be taken back. If an earlier process has followed
    /// it, its workloads are not known.
    fn trial(&mut self, revision: u64, request_id: String) -> TrackedRollout {
        let index = self.trials.iter().position(|one| one.revision == Some(revision));
        index.and_then(|index| self.trials.remove(index)).unwrap_or_else(|| {
            let instances = BTreeSet::new();
            let mut trial =
                TrackedRollout::new(random::hex(), request_id, instances, Duration::ZERO);
            trial.revision = Some(revision);
            trial.is_trial = true;
            trial
        })
    }

    pub(super) fn start(&mut self, update: FollowedUpdate) {
        let nothing_changed = update.changes.is_empty();
        let ChangedInstances { added, deleted } = update.changes;
        let deleted: BTreeSet<_> = deleted.into_iter().collect();
        self.deleted.add(&deleted);
        self.supersede(&deleted);
        if let Some(known) = self
            .rollouts
            .iter_mut()
            .find(|one| one.is_restored() && one.request_id == update.request_id && nothing_changed)
        {
            // Its record has arrived before the store was asked.
            known.revision = update.revision;
            known.is_trial = update.is_trial;
            known.stability = update
                .must_be_stable
                .then(|| Stability::new(self.options.stable_time, update.restarted));
            return;
        }
        // A revision that is put back has a new rollout; the end of the former one says nothing.
        for former in &mut self.rollouts {
            former.revision.take_if(|former| Some(*former) == update.revision);
        }
        let limit = self.options.limit;
        let instances = added.into_iter().collect();
        let mut tracked = TrackedRollout::new(random::hex(), update.request_id, instances, limit);
        tracked.is_published = update.is_published;
        tracked.revision = update.revision;
        tracked.is_trial = update.is_trial;
        if update.must_be_stable {
            tracked.stability = Some(Stability::new(self.options.stable_time, update.restarted));
        }
        tracked.mark_stale(&self.deleted, &self.states, limit);
        if nothing_changed {
            // The request may be a redelivery, because the connector was killed before the reply,
            // and Ankaios may have changed something the first time.
            tracked.unresolved = update.named;
        }
        if tracked.is_empty() {
            return self.settle(tracked, RolloutStatus::Succeeded);
        }
        if !tracked.instances.is_empty() {
            self.record(&mut tracked);
        }
        self.follow(tracked);
    }

    /// Follows a rollout of an earlier process until its original deadline, but for at least
    /// [`MIN_RESTORED`].
    pub(super) fn restore(&mut self, id: String, record: RolloutRecord, size: usize) {
        let known = self.rollouts.iter().map(|tracked| &tracked.id);
        if known.chain(&self.settled).any(|known| *known == id) {
            return;
        }
        if let Some(resumed) = self.rollouts.iter_mut().find(|one| {
            one.revision.is_some() && !one.recorded && one.request_id == record.request_id
        }) {
            // It is followed already, because the store knows its revision.
            resumed.id = id;
            resumed.recorded = true;
            return;
        }
        let restored: usize = self.rollouts.iter().map(|tracked| tracked.restored_size).sum();
        if self.rollouts.len() >= MAX_ROLLOUTS || restored + size > MAX_RESTORED {
            tracing::warn!(id, "a rollout is not resumed: there are too many");
            return;
        }
        let limit =
            record.remaining().clamp(MIN_RESTORED.min(self.options.limit), self.options.limit);
        let expiry = limit + RECORD_EXPIRY;
        self.reports.add(&id, Report::NoteRecord { record: record.clone(), expiry });
        let RolloutRecord { request_id, workloads, .. } = record;
        let mut tracked = TrackedRollout::new(id, request_id, workloads, limit);
        tracked.recorded = true;
        tracked.restored_size = size;
        // The broker delivers the requests that it has queued before the records.
        if tracked.instances.iter().any(|instance| self.deleted.has(instance)) {
            return self.settle(tracked, RolloutStatus::Superseded);
        }
        self.follow(tracked);
    }

    fn follow(&mut self, tracked: TrackedRollout) {
        if self.rollouts.len() >= MAX_ROLLOUTS {
            let oldest = self.rollouts.remove(0);
            self.settle(oldest, RolloutStatus::TimedOut);
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
        if known > 0 {
            self.report(&instances);
        }
    }

    fn subscribe(&mut self) {
        self.events = Some(self.ankaios.events(vec!["workloadStates".into()]));
        self.opening = true;
        self.rollouts.iter_mut().for_each(|tracked| tracked.covered = true);
    }

    pub(super) fn observe(&mut self, event: &Event) {
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
        self.report(&changes.changed);
    }

    /// Ends all rollouts that contain one of these instances.
    fn supersede(&mut self, gone: &BTreeSet<InstanceName>) {
        let superseded = |tracked: &mut TrackedRollout| tracked.has_any(gone);
        self.settle_all(superseded, RolloutStatus::Superseded);
    }

    /// Records that these instances have changed. The end of a rollout is published at once, and
    /// so is a change if the last message is at least the minimum interval ago.
    fn report(&mut self, changed: &BTreeSet<InstanceName>) {
        let rollouts = std::mem::take(&mut self.rollouts);
        for mut tracked in rollouts {
            if tracked.is_empty() || !tracked.instances.is_disjoint(changed) {
                tracked.note_ends(&self.states);
                let status = tracked.status(&self.states);
                if status != RolloutStatus::InProgress {
                    self.settle(tracked, status);
                    continue;
                }
                tracked.mark_changed();
                self.publish_if_due(&mut tracked);
            }
            self.rollouts.push(tracked);
        }
    }

    /// Ends rollouts whose deadline has passed, and publishes changes that had to wait.
    pub(super) fn check_deadlines(&mut self) {
        let now = Instant::now();
        self.settle_all(|one| one.is_stable(now), RolloutStatus::Succeeded);
        self.settle_all(|one| one.deadline <= now, RolloutStatus::TimedOut);
        // Another client has deleted or changed an instance.
        let removed =
            |one: &mut TrackedRollout| one.missing_deadline.is_some_and(|deadline| deadline <= now);
        self.settle_all(removed, RolloutStatus::Superseded);
        self.expire_stale(now);
        let rollouts = std::mem::take(&mut self.rollouts);
        for mut tracked in rollouts {
            self.publish_if_due(&mut tracked);
            self.rollouts.push(tracked);
        }
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

    fn settle_all(
        &mut self,
        which: impl FnMut(&mut TrackedRollout) -> bool,
        status: RolloutStatus,
    ) {
        let settled: Vec<_> = self.rollouts.extract_if(.., which).collect();
        for tracked in settled {
            self.settle(tracked, status);
        }
    }

    /// Ends a rollout: publishes its outcome and removes its record. If its revision may still be
    /// taken back, the last message comes later.
    fn settle(&mut self, mut tracked: TrackedRollout, status: RolloutStatus) {
        if let Some(revision) = tracked.revision {
            // The keeper takes it at once: there is room for the ends of all rollouts.
            if self.ended.try_send(RolloutEnded { revision, status }).is_err() {
                tracing::error!(revision, "the end of a rollout is not recorded");
            }
        }
        let failed = matches!(status, RolloutStatus::Failed | RolloutStatus::TimedOut);
        if tracked.is_trial && failed {
            tracing::info!(request_id = tracked.request_id, ?status, "rollout");
        } else {
            self.publish(&mut tracked, status);
        }
        self.remove_record(&tracked);
        // It may have to be confirmed, or be taken back now.
        tracked.last_states = Some(tracked.progress(status, &self.states).workloads);
        if tracked.is_trial && (failed || status == RolloutStatus::Succeeded) {
            self.keep_trial(tracked);
        }
    }

    fn keep_trial(&mut self, tracked: TrackedRollout) {
        if self.trials.len() >= MAX_ROLLOUTS {
            self.trials.pop_front();
        }
        self.trials.push_back(tracked);
    }

    fn remove_record(&mut self, tracked: &TrackedRollout) {
        if !tracked.recorded {
            return;
        }
        self.reports.add(&tracked.id, Report::RemoveRecord);
        self.settled.push_back(tracked.id.clone());
        if self.settled.len() > MAX_ROLLOUTS {
            self.settled.pop_front();
        }
    }

    fn publish_if_due(&self, tracked: &mut TrackedRollout) {
        if tracked.is_due() {
            self.record(tracked);
            self.publish(tracked, RolloutStatus::InProgress);
        }
    }

    fn publish(&self, tracked: &mut TrackedRollout, status: RolloutStatus) {
        tracing::info!(request_id = tracked.request_id, ?status, "rollout");
        tracked.published();
        if tracked.is_published {
            let progress = tracked.progress(status, &self.states);
            let is_last = status != RolloutStatus::InProgress;
            self.reports.add(&tracked.id, Report::Progress { progress, is_last });
        }
    }

    /// Publishes the record for the next process, unless that was done already.
    fn record(&self, tracked: &mut TrackedRollout) {
        if tracked.recorded || !tracked.is_published {
            return;
        }
        tracked.recorded = true;
        let limit = tracked.deadline.saturating_duration_since(Instant::now());
        let workloads = tracked.instances.clone();
        let record = RolloutRecord::new(tracked.request_id.clone(), workloads, limit);
        self.reports.add(&tracked.id, Report::Record { record, expiry: limit + RECORD_EXPIRY });
    }
}

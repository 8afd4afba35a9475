//! The task that follows all rollouts, by one subscription that lives as long as there are any.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use ankaios_control::{Client, WorkloadStates};
use ankaios_control::{Event, EventStream};
use ankaios_model::InstanceName;
use fleet_contract::rollout::RolloutStatus;
use fleet_contract::topics;
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

/// Maximum number of rollouts that are followed at the same time; one more ends the oldest, if
/// possible one that is not of a revision.
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
    /// Records of rollouts of revisions, until the store has said how they are followed.
    held: Vec<HeldRecord>,
    /// How the rollouts of the last revisions ended.
    ends: BTreeMap<u64, RolloutStatus>,
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

/// The record of a rollout of a revision from an earlier process.
struct HeldRecord {
    id: String,
    record: RolloutRecord,
    /// Its size in bytes.
    size: usize,
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
            held: Vec::new(),
            ends: BTreeMap::new(),
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
            RolloutCommand::Untrusted { id, reason } => self.ignore(&id, reason),
            RolloutCommand::Ended { revision, status } => self.ended_before(revision, status),
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
                self.note_end(revision, status);
                self.remove_record(&trial);
            }
        }
    }

    /// Takes the rollout of a revision that is taken back. If an earlier process has followed it,
    /// its workloads are known only from its record.
    ///
    /// Its messages are published even if it is a deletion, whose progress is not.
    fn trial(&mut self, revision: u64, request_id: String) -> TrackedRollout {
        let index = self.trials.iter().position(|one| one.revision == Some(revision));
        let known = index.and_then(|index| self.trials.remove(index));
        let mut trial = known.unwrap_or_else(|| {
            let mut trial =
                TrackedRollout::new(random::hex(), request_id, BTreeSet::new(), Duration::ZERO);
            trial.revision = Some(revision);
            trial.is_trial = true;
            if let Some(HeldRecord { id, record, .. }) = self.take_held(revision, &trial.request_id)
            {
                trial.adopt(id);
                trial.instances = record.workloads;
            }
            trial
        });
        trial.is_published = true;
        trial
    }

    /// Publishes the end of a rollout that an earlier process may not have published.
    fn ended_before(&mut self, revision: u64, status: RolloutStatus) {
        self.note_end(revision, status);
        let of_revision = |held: &mut HeldRecord| held.record.revision == Some(revision);
        let ended: Vec<_> = self.held.extract_if(.., of_revision).collect();
        for HeldRecord { id, record, .. } in ended {
            let RolloutRecord { request_id, workloads, .. } = record;
            let mut tracked = TrackedRollout::new(id, request_id, workloads, Duration::ZERO);
            tracked.recorded = true;
            self.publish(&mut tracked, status);
            self.remove_record(&tracked);
        }
    }

    /// Takes the record of a rollout, or another one of the same revision.
    fn take_held(&mut self, revision: u64, request_id: &str) -> Option<HeldRecord> {
        let of_revision = |held: &HeldRecord| held.record.revision == Some(revision);
        let is_same = |held: &HeldRecord| of_revision(held) && held.record.request_id == request_id;
        let index = self.held.iter().position(is_same);
        let index = index.or_else(|| self.held.iter().position(of_revision))?;
        Some(self.held.remove(index))
    }

    fn note_end(&mut self, revision: u64, status: RolloutStatus) {
        self.ends.insert(revision, status);
        if self.ends.len() > MAX_ROLLOUTS {
            self.ends.pop_first();
        }
    }

    pub(super) fn start(&mut self, update: FollowedUpdate) {
        let nothing_changed = update.changes.is_empty();
        let ChangedInstances { added, deleted } = update.changes;
        let deleted: BTreeSet<_> = deleted.into_iter().collect();
        self.deleted.add(&deleted);
        self.supersede(&deleted);
        // A revision that is put back has a new rollout; the end of the former one says nothing.
        for former in &mut self.rollouts {
            former.revision.take_if(|former| Some(*former) == update.revision);
        }
        let limit = self.options.limit;
        let instances = added.into_iter().collect();
        let mut tracked = TrackedRollout::new(random::hex(), update.request_id, instances, limit);
        tracked.is_published = update.is_published;
        tracked.revision = update.revision;
        if let Some(revision) = update.revision
            && let Some(held) = self.take_held(revision, &tracked.request_id)
        {
            tracked.adopt(held.id);
        }
        tracked.is_trial = update.is_trial;
        tracked.restart_policies = update.restarted;
        if update.must_be_stable {
            tracked.stability = Some(Stability::new(self.options.stable_time));
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

    /// Whether there is a rollout with this id, or was one recently.
    fn knows(&self, id: &str) -> bool {
        let known = self.rollouts.iter().chain(&self.trials).map(|tracked| &tracked.id);
        let held = self.held.iter().map(|held| &held.id);
        known.chain(held).chain(&self.settled).any(|known| known == id)
    }

    /// Removes a record that must not be used, unless it is that of a known rollout.
    fn ignore(&mut self, id: &str, reason: &str) {
        if !self.knows(id) {
            tracing::warn!(reason, id = topics::short(id), "a rollout is not resumed");
            self.reports.add(id, Report::RemoveRecord);
        }
    }

    /// Follows a rollout of an earlier process until its original deadline, but for at least
    /// [`MIN_RESTORED`].
    pub(super) fn restore(&mut self, id: String, record: RolloutRecord, size: usize) {
        if self.knows(&id) {
            return;
        }
        let restored = self.rollouts.iter().map(|tracked| tracked.restored_size);
        let restored: usize = restored.chain(self.held.iter().map(|held| held.size)).sum();
        if self.rollouts.len() + self.held.len() >= MAX_ROLLOUTS || restored + size > MAX_RESTORED {
            tracing::warn!(id, "a rollout is not resumed: there are too many");
            return;
        }
        if let Some(revision) = record.revision.filter(|_| self.options.keeps_revisions) {
            return self.restore_revision(revision, HeldRecord { id, record, size });
        }
        let longest = self.options.limit;
        let left = record.remaining(longest, SystemTime::now());
        let limit = left.clamp(MIN_RESTORED.min(longest), longest);
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

    /// Takes the record of a rollout of a revision. How that is followed, the store knows.
    fn restore_revision(&mut self, revision: u64, held: HeldRecord) {
        let expiry = self.options.limit + RECORD_EXPIRY;
        let record = held.record.clone();
        self.reports.add(&held.id, Report::NoteRecord { record, expiry });
        let is_its = |one: &&mut TrackedRollout| {
            one.revision == Some(revision)
                && one.request_id == held.record.request_id
                && !one.recorded
        };
        if let Some(known) = self.rollouts.iter_mut().chain(&mut self.trials).find(is_its) {
            return known.adopt(held.id);
        }
        self.held.push(held);
        if let Some(&status) = self.ends.get(&revision) {
            self.ended_before(revision, status);
        }
    }

    fn follow(&mut self, tracked: TrackedRollout) {
        if self.rollouts.len() >= MAX_ROLLOUTS {
            // What becomes of a revision depends on its rollout. The others may be of any number of
            // records at the broker, or of requests that are delivered again.
            let other = self.rollouts.iter().position(|one| one.revision.is_none());
            let watched = || self.rollouts.iter().position(|one| one.is_watched);
            let oldest = self.rollouts.remove(other.or_else(watched).unwrap_or(0));
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
        let is_stable = status == RolloutStatus::Succeeded
            && (tracked.stability.is_some() || tracked.instances.is_empty());
        if tracked.is_watched {
            // Its end was published. Only that it has stayed up is news.
            if is_stable {
                self.report_end(&tracked, status, is_stable);
            }
            return;
        }
        self.report_end(&tracked, status, is_stable);
        let failed = matches!(status, RolloutStatus::Failed | RolloutStatus::TimedOut);
        if tracked.is_trial && failed {
            tracing::info!(request_id = tracked.request_id, ?status, "rollout");
        } else {
            self.publish(&mut tracked, status);
            self.remove_record(&tracked);
            if let Some(revision) = tracked.revision {
                self.note_end(revision, status);
            }
        }
        if tracked.revision.is_some() && status == RolloutStatus::Succeeded && !is_stable {
            return self.watch(tracked);
        }
        // It may have to be confirmed, or be taken back now.
        tracked.last_states = Some(tracked.progress(status, &self.states).workloads);
        if tracked.is_trial && (failed || status == RolloutStatus::Succeeded) {
            self.keep_trial(tracked);
        }
    }

    /// Watches whether the workloads of a revision that has succeeded stay up, and publishes nothing.
    fn watch(&mut self, mut tracked: TrackedRollout) {
        let limit = self.options.limit.max(self.options.stable_time);
        tracked.watch(limit, self.options.stable_time);
        tracked.status(&self.states);
        self.rollouts.push(tracked);
    }

    /// Reports the end of the rollout of a revision.
    fn report_end(&self, tracked: &TrackedRollout, status: RolloutStatus, is_stable: bool) {
        let Some(revision) = tracked.revision else { return };
        // The keeper takes it at once: there is room for the ends of all rollouts.
        if self.ended.try_send(RolloutEnded { revision, status, is_stable }).is_err() {
            tracing::error!(revision, "the end of a rollout is not recorded");
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
        tracked.published();
        if tracked.is_watched {
            return;
        }
        tracing::info!(request_id = tracked.request_id, ?status, "rollout");
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
        let request_id = tracked.request_id.clone();
        let revision = tracked.revision.filter(|_| self.options.keeps_revisions);
        let record = RolloutRecord::new(request_id, workloads, limit, revision);
        self.reports.add(&tracked.id, Report::Record { record, expiry: limit + RECORD_EXPIRY });
    }
}

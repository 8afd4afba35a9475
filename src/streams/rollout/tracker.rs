//! Follows all roll-outs by one subscription, which lives as long as there are any.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::doubt::{Deleted, Doubt};
use super::following::{Following, Status};
use super::progress::Progress;
use super::record::RolloutRecord;
use super::{Applied, News, Rollout};
use crate::ankaios::events::{Event, EventStream};
use crate::ankaios::{Client, WorkloadStates};
use crate::json::InstanceName;
use crate::mqtt::SessionEnded;
use crate::random;
use crate::streams::publisher::Publisher;
use crate::topics::Topics;

/// Roll-outs that are followed at the same time; the oldest gives way.
pub(super) const MAX_ROLLOUTS: usize = 256;

/// Bytes of all records that are taken up. There are no more of honest ones: whoever
/// may publish for the vehicle may retain any number.
pub(super) const MAX_RESTORED: usize = 4 * 1024 * 1024;

/// So long an instance must be gone before somebody else has removed it. Ankaios
/// forgets for a moment one that was deleted and is applied again at once.
pub(super) const GONE: Duration = Duration::from_secs(5);

/// A roll-out of a former process is followed at least so long.
const SHORTEST: Duration = Duration::from_secs(10);

/// So long after its end the broker keeps the record of a roll-out whose connector
/// does not come back.
const KEPT: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Tracker {
    ankaios: Client,
    topics: Topics,
    publisher: Publisher,
    limit: Duration,
    pub(super) rollouts: Vec<Following>,
    /// The last ones that have settled: a broker that has not been told yet may
    /// bring them again.
    settled: VecDeque<String>,
    /// What may be added again while Ankaios still has its former state.
    pub(super) deleted: Deleted,
    /// The states of all instances, while there is a subscription.
    states: WorkloadStates,
    events: Option<EventStream>,
    /// The subscription has told nothing yet.
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
            deleted: Deleted::default(),
            states: WorkloadStates::default(),
            events: None,
            opening: false,
        }
    }

    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>) {
        loop {
            let look = self.rollouts.iter().map(Following::next_look).min();
            // Events first: what has come before an update must not pass for news of it.
            let result = tokio::select! {
                biased;
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => match event {
                    Ok(event) => self.learn(&event).await,
                    Err(error) => {
                        tracing::warn!(%error, "the progress of roll-outs is not known");
                        Ok(())
                    }
                },
                news = news.recv() => match news {
                    Some(News::Update(rollout)) => self.begin(rollout).await,
                    Some(News::Restored { id, record, size }) => {
                        self.restore(id, record, size).await
                    }
                    None => return,
                },
                Some(()) = OptionFuture::from(look.map(sleep_until)) => self.look().await,
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

    pub(super) async fn begin(&mut self, rollout: Rollout) -> Result<(), SessionEnded> {
        let nothing_changed = rollout.has_changed_nothing();
        let deleted: BTreeSet<_> = rollout.deleted.into_iter().collect();
        self.deleted.add(&deleted);
        self.supersede(&deleted).await?;
        let Some(Applied { request_id, workloads }) = rollout.applied else { return Ok(()) };
        let instances = rollout.added.into_iter().collect();
        let mut following = Following::new(random::hex(), request_id, instances, self.limit);
        following.doubt_what_was_there(&self.deleted, &self.states, self.limit);
        if nothing_changed {
            // Perhaps it is delivered again, and the first time Ankaios has changed
            // something: the connector was killed before the reply.
            following.unresolved = workloads;
        }
        if following.is_empty() {
            return self.tell(&mut following, Status::Succeeded).await;
        }
        if !following.instances.is_empty() {
            self.record(&mut following).await?;
        }
        self.follow(following).await
    }

    /// Follows a roll-out of a former process until its original end, but long
    /// enough to see what has become of it.
    pub(super) async fn restore(
        &mut self,
        id: String,
        record: RolloutRecord,
        size: usize,
    ) -> Result<(), SessionEnded> {
        let known = self.rollouts.iter().map(|following| &following.id).chain(&self.settled);
        if known.into_iter().any(|known| *known == id) {
            return Ok(());
        }
        let restored: usize = self.rollouts.iter().map(|following| following.restored_size).sum();
        if self.rollouts.len() >= MAX_ROLLOUTS || restored + size > MAX_RESTORED {
            tracing::warn!(id, "a roll-out is not taken up again: there are too many");
            return Ok(());
        }
        let limit = record.remaining().clamp(SHORTEST.min(self.limit), self.limit);
        self.publisher.kept(&self.topics.rollout(&id), &record, Some(limit + KEPT)).await?;
        let RolloutRecord { request_id, workloads, .. } = record;
        tracing::info!(request_id, "a roll-out is taken up again");
        let mut following = Following::new(id, request_id, workloads, limit);
        following.recorded = true;
        following.restored_size = size;
        self.follow(following).await
    }

    async fn follow(&mut self, following: Following) -> Result<(), SessionEnded> {
        if self.rollouts.len() >= MAX_ROLLOUTS {
            let oldest = self.rollouts.remove(0);
            self.settle(oldest, Status::TimedOut).await?;
        }
        let is_unresolved = !following.unresolved.is_empty();
        let instances = following.instances.clone();
        self.rollouts.push(following);
        // The states of what is known by name only must be newer than the roll-out. A
        // subscription that is being made is let come first: else one roll-out after
        // the other could keep it from ever standing.
        if self.events.is_none() || (is_unresolved && !self.opening) {
            self.subscribe();
        }
        let known = instances.iter().any(|one| self.states.get(one).is_some());
        if known { self.report(&instances).await } else { Ok(()) }
    }

    fn subscribe(&mut self) {
        self.events = Some(self.ankaios.events(vec!["workloadStates".into()]));
        self.opening = true;
        self.rollouts.iter_mut().for_each(|following| following.covered = true);
    }

    pub(super) async fn learn(&mut self, event: &Event) -> Result<(), SessionEnded> {
        let mut changes = self.states.apply(event);
        if event.resynced {
            self.opening = false;
            for following in self.rollouts.iter_mut().filter(|one| one.covered) {
                following.resolve(&self.states);
                if following.doubt.is_over() {
                    following.doubt = Doubt::default();
                }
            }
            let missing = |following: &&Following| {
                !following.unresolved.is_empty()
                    || (following.doubt.is_over() && following.is_in_doubt(&self.states))
                    || following.instances.iter().any(|one| self.states.get(one).is_none())
            };
            let (covered, begun_since): (Vec<_>, Vec<_>) =
                self.rollouts.iter().filter(missing).partition(|following| following.covered);
            changes.gone.extend(covered.iter().flat_map(|one| one.instances.iter().cloned()));
            changes.gone.retain(|instance| self.states.get(instance).is_none());
            if !begun_since.is_empty() {
                // The snapshot may be older than what it does not have.
                self.subscribe();
            }
        } else {
            self.rollouts.iter_mut().for_each(|one| one.doubt.told(&changes.changed));
        }
        let gone_until = Instant::now() + GONE;
        for following in &mut self.rollouts {
            if !following.instances.is_disjoint(&changes.gone) {
                following.gone_until.get_or_insert(gone_until);
            }
            if following.instances.iter().all(|instance| self.states.get(instance).is_some()) {
                following.gone_until = None;
            }
        }
        self.report(&changes.changed).await
    }

    /// Ends all roll-outs that have one of these instances.
    async fn supersede(&mut self, gone: &BTreeSet<InstanceName>) -> Result<(), SessionEnded> {
        let superseded = |following: &mut Following| following.has_any(gone);
        self.settle_all(superseded, Status::Superseded).await
    }

    /// Takes note that these instances have changed. What has settled is told at once,
    /// and so is the first change after a quiet time.
    async fn report(&mut self, changed: &BTreeSet<InstanceName>) -> Result<(), SessionEnded> {
        let rollouts = std::mem::take(&mut self.rollouts);
        for mut following in rollouts {
            if following.is_empty() || !following.instances.is_disjoint(changed) {
                let status = following.status(&self.states);
                if status != Status::InProgress {
                    self.settle(following, status).await?;
                    continue;
                }
                following.has_news();
                self.tell_if_due(&mut following).await?;
            }
            self.rollouts.push(following);
        }
        Ok(())
    }

    /// Does what is due by the clock: ends roll-outs whose time is over, and tells of
    /// changes that had to wait.
    pub(super) async fn look(&mut self) -> Result<(), SessionEnded> {
        let now = Instant::now();
        self.settle_all(|one| one.deadline <= now, Status::TimedOut).await?;
        // Somebody else has deleted or changed it.
        let gone = |one: &mut Following| one.gone_until.is_some_and(|gone| gone <= now);
        self.settle_all(gone, Status::Superseded).await?;
        self.end_doubts(now);
        let rollouts = std::mem::take(&mut self.rollouts);
        for mut following in rollouts {
            self.tell_if_due(&mut following).await?;
            self.rollouts.push(following);
        }
        Ok(())
    }

    /// Asks for a new snapshot where states are still in doubt when the time for that is
    /// over: nothing has changed since the update, or the link was down.
    fn end_doubts(&mut self, now: Instant) {
        let mut asks = false;
        for following in &mut self.rollouts {
            if !following.doubt.ends(now) {
                continue;
            }
            if self.opening || following.is_in_doubt(&self.states) {
                following.covered = false;
                asks = true;
            } else {
                following.doubt = Doubt::default();
            }
        }
        // One that is being made is let come first.
        if asks && !self.opening {
            self.subscribe();
        }
    }

    async fn settle_all(
        &mut self,
        which: impl FnMut(&mut Following) -> bool,
        status: Status,
    ) -> Result<(), SessionEnded> {
        let settled: Vec<_> = self.rollouts.extract_if(.., which).collect();
        for following in settled {
            self.settle(following, status).await?;
        }
        Ok(())
    }

    /// Tells how it has ended, and forgets it.
    async fn settle(
        &mut self,
        mut following: Following,
        status: Status,
    ) -> Result<(), SessionEnded> {
        self.tell(&mut following, status).await?;
        if !following.recorded {
            return Ok(());
        }
        let topic = self.topics.rollout(&following.id);
        self.settled.push_back(following.id);
        if self.settled.len() > MAX_ROLLOUTS {
            self.settled.pop_front();
        }
        self.publisher.remove(&topic).await
    }

    async fn tell_if_due(&self, following: &mut Following) -> Result<(), SessionEnded> {
        if !following.is_due() {
            return Ok(());
        }
        self.record(following).await?;
        self.tell(following, Status::InProgress).await
    }

    async fn tell(&self, following: &mut Following, status: Status) -> Result<(), SessionEnded> {
        tracing::info!(request_id = following.request_id, ?status, "roll-out");
        let progress = Progress::new(following, status, &self.states);
        self.publisher.send(&self.topics.apply_status(), &progress).await?;
        // After it has found room: on a slow uplink there is less of it.
        following.was_told();
        Ok(())
    }

    /// Retains what the next process needs to follow it, unless that was done.
    async fn record(&self, following: &mut Following) -> Result<(), SessionEnded> {
        if following.recorded {
            return Ok(());
        }
        following.recorded = true;
        let limit = following.deadline.saturating_duration_since(Instant::now());
        let workloads = following.instances.clone();
        let record = RolloutRecord::new(following.request_id.clone(), workloads, limit);
        let topic = self.topics.rollout(&following.id);
        self.publisher.retain(&topic, &record, Some(limit + KEPT)).await
    }
}

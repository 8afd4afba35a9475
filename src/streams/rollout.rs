//! The progress of what was applied, until it has settled.
//!
//! All roll-outs share one subscription, which lives as long as there are any.
//! Each is kept as a retained message until it has settled, so that it is followed
//! further after a restart of the connector.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::OptionFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::publisher::Publisher;
use super::time::{format_rfc3339, parse_rfc3339};
use crate::ankaios::events::{Event, EventStream};
use crate::ankaios::{Client, WorkloadStates};
use crate::json::{InstanceName, execution_state};
use crate::mqtt::SessionEnded;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{ExecutionState, Pending, UpdateStateSuccess};
use crate::random;
use crate::topics::Topics;

/// Roll-outs that wait for being followed.
const QUEUE: usize = 64;

/// Roll-outs that are followed at the same time; the oldest gives way.
const MAX_ROLLOUTS: usize = 256;

/// The largest record that is taken up, in bytes: that of a roll-out of some
/// thousand workloads. Whoever may publish for the vehicle may retain anything.
const MAX_RECORD: usize = 256 * 1024;

/// So long an instance must be gone before somebody else has removed it. Ankaios
/// forgets for a moment one that was deleted and is applied again at once.
const GONE: Duration = Duration::from_secs(5);

/// A roll-out of a former process is followed at least so long.
const SHORTEST: Duration = Duration::from_secs(10);

/// So long after its end the broker keeps the record of a roll-out whose connector
/// does not come back.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Begins the additional information of a workload that Ankaios has given up to
/// start.
const NO_MORE_RETRIES: &str = "No more retries";

/// An update of the desired state that Ankaios has accepted.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The request that is followed; `None` for one that only replaces what
    /// others have added.
    pub request_id: Option<String>,
    /// Added or changed instances.
    pub added: Vec<InstanceName>,
    /// Instances that will be gone.
    pub deleted: Vec<InstanceName>,
}

impl Rollout {
    /// What an update has changed.
    #[must_use]
    pub fn new(request_id: Option<String>, success: &UpdateStateSuccess) -> Self {
        let names = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        Self {
            request_id,
            added: names(&success.added_workloads),
            deleted: names(&success.deleted_workloads),
        }
    }
}

/// What is retained of a roll-out.
#[derive(Debug, Serialize, Deserialize)]
struct RolloutRecord {
    request_id: String,
    workloads: BTreeSet<InstanceName>,
    /// When it is given up, RFC 3339.
    expires_at: String,
}

/// What the task is told.
#[derive(Debug)]
enum News {
    Update(Rollout),
    Restored { id: String, record: RolloutRecord },
}

/// Hands updates to the task that follows them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollouts {
    news: mpsc::Sender<News>,
    topics: Topics,
    publisher: Publisher,
    /// Records that this process may still take up.
    restorable: Arc<Semaphore>,
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
        let restorable = Arc::new(Semaphore::new(MAX_ROLLOUTS));
        (Self { news, topics, publisher, restorable }, tracker.run(receiver))
    }

    /// Follows an update.
    pub(crate) async fn follow(&self, rollout: Rollout) {
        // The task is gone only when the connector stops.
        let _ = self.news.send(News::Update(rollout)).await;
    }

    /// Follows further what a former process has followed.
    pub(crate) fn restore(&self, id: &str, record: &[u8]) {
        let Self { news, topics, publisher, restorable } = self.clone();
        let topic = topics.rollout(id);
        let place = restorable.try_acquire_owned().ok().filter(|_| record.len() <= MAX_RECORD);
        let Some(place) = place else {
            tracing::warn!(size = record.len(), "a roll-out is not taken up again: too much");
            return;
        };
        // There are no more of them than there may be roll-outs.
        place.forget();
        let id = id.to_owned();
        let record = serde_json::from_slice::<RolloutRecord>(record);
        // The session that hands over the record must not be waited for here.
        tokio::spawn(async move {
            match record {
                // As above.
                Ok(record) => drop(news.send(News::Restored { id, record }).await),
                Err(error) => {
                    tracing::info!(%error, topic, "the record of a roll-out cannot be read");
                    let _ = publisher.remove(&topic).await;
                }
            }
        });
    }
}

/// One roll-out that has not settled.
struct Following {
    /// Names its record.
    id: String,
    request_id: String,
    instances: BTreeSet<InstanceName>,
    deadline: Instant,
    /// The subscription was made after it had begun: an instance that a snapshot
    /// does not have is gone.
    covered: bool,
    /// An instance is gone; the roll-out is superseded if it does not come back by
    /// then.
    gone_until: Option<Instant>,
}

impl Following {
    /// When it must be looked at even if nothing happens.
    fn next_look(&self) -> Instant {
        self.gone_until.map_or(self.deadline, |gone| gone.min(self.deadline))
    }
}

struct Tracker {
    ankaios: Client,
    topics: Topics,
    publisher: Publisher,
    limit: Duration,
    rollouts: Vec<Following>,
    /// The last ones that have settled: a broker that has not been told yet may
    /// bring them again.
    settled: VecDeque<String>,
    /// The states of all instances, while there is a subscription.
    states: WorkloadStates,
    events: Option<EventStream>,
}

#[derive(Serialize)]
struct Progress<'a> {
    request_id: &'a str,
    status: &'a str,
    workloads: Vec<serde_json::Value>,
}

impl Tracker {
    fn new(ankaios: Client, topics: Topics, publisher: Publisher, limit: Duration) -> Self {
        Self {
            ankaios,
            topics,
            publisher,
            limit,
            rollouts: Vec::new(),
            settled: VecDeque::new(),
            states: WorkloadStates::default(),
            events: None,
        }
    }

    async fn run(mut self, mut news: mpsc::Receiver<News>) {
        loop {
            let deadline = self.rollouts.iter().map(Following::next_look).min();
            let result = tokio::select! {
                news = news.recv() => match news {
                    Some(News::Update(rollout)) => self.begin(rollout).await,
                    Some(News::Restored { id, record }) => self.restore(id, record).await,
                    None => return,
                },
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => match event {
                    Ok(event) => self.learn(&event).await,
                    Err(error) => {
                        tracing::warn!(%error, "the progress of roll-outs is not known");
                        Ok(())
                    }
                },
                Some(()) = OptionFuture::from(deadline.map(sleep_until)) => self.give_up().await,
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

    async fn begin(&mut self, rollout: Rollout) -> Result<(), SessionEnded> {
        let deleted: BTreeSet<_> = rollout.deleted.into_iter().collect();
        self.supersede(&deleted).await?;
        let Some(request_id) = rollout.request_id else { return Ok(()) };
        let following = Following {
            id: random::hex(),
            request_id,
            instances: rollout.added.into_iter().collect(),
            deadline: Instant::now() + self.limit,
            covered: self.events.is_none(),
            gone_until: None,
        };
        if following.instances.is_empty() {
            return self.tell(&following, "succeeded").await;
        }
        let end = SystemTime::now() + self.limit;
        let record = RolloutRecord {
            request_id: following.request_id.clone(),
            workloads: following.instances.clone(),
            expires_at: format_rfc3339(end),
        };
        let topic = self.topics.rollout(&following.id);
        self.publisher.retain(&topic, &record, Some(self.limit + KEPT)).await?;
        self.follow(following).await
    }

    /// Follows a roll-out of a former process until its original end, but long
    /// enough to see what has become of it.
    async fn restore(&mut self, id: String, record: RolloutRecord) -> Result<(), SessionEnded> {
        let known = self.rollouts.iter().map(|following| &following.id).chain(&self.settled);
        if known.into_iter().any(|known| *known == id) {
            return Ok(());
        }
        if self.rollouts.len() >= MAX_ROLLOUTS {
            tracing::warn!("a roll-out is not taken up again: there are too many");
            return Ok(());
        }
        let RolloutRecord { request_id, workloads, expires_at } = record;
        tracing::info!(request_id, "a roll-out is taken up again");
        let end = parse_rfc3339(&expires_at).unwrap_or(SystemTime::UNIX_EPOCH);
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        let deadline = Instant::now() + left.clamp(SHORTEST.min(self.limit), self.limit);
        let following = Following {
            id,
            request_id,
            instances: workloads,
            deadline,
            covered: self.events.is_none(),
            gone_until: None,
        };
        self.follow(following).await
    }

    async fn follow(&mut self, following: Following) -> Result<(), SessionEnded> {
        if self.rollouts.len() >= MAX_ROLLOUTS {
            let oldest = self.rollouts.remove(0);
            self.settle(&oldest, "timed_out").await?;
        }
        if self.events.is_none() {
            self.subscribe();
        }
        let known = following.instances.iter().any(|one| self.states.get(one).is_some());
        let unsettled = following.instances.clone();
        self.rollouts.push(following);
        if known { self.report(&unsettled).await } else { Ok(()) }
    }

    fn subscribe(&mut self) {
        self.events = Some(self.ankaios.events(vec!["workloadStates".into()]));
        self.rollouts.iter_mut().for_each(|following| following.covered = true);
    }

    async fn learn(&mut self, event: &Event) -> Result<(), SessionEnded> {
        let mut changes = self.states.apply(event);
        if event.resynced {
            let missing = |following: &&Following| {
                following.instances.iter().any(|instance| self.states.get(instance).is_none())
            };
            let (covered, begun_since): (Vec<_>, Vec<_>) =
                self.rollouts.iter().filter(missing).partition(|following| following.covered);
            changes.gone.extend(covered.iter().flat_map(|one| one.instances.iter().cloned()));
            changes.gone.retain(|instance| self.states.get(instance).is_none());
            if !begun_since.is_empty() {
                // The snapshot may be older than what it does not have.
                self.subscribe();
            }
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
        let superseded = |following: &mut Following| !following.instances.is_disjoint(gone);
        let superseded: Vec<_> = self.rollouts.extract_if(.., superseded).collect();
        for following in superseded {
            self.settle(&following, "superseded").await?;
        }
        Ok(())
    }

    /// Tells of all roll-outs that have one of these instances.
    async fn report(&mut self, changed: &BTreeSet<InstanceName>) -> Result<(), SessionEnded> {
        let rollouts = std::mem::take(&mut self.rollouts);
        for following in rollouts {
            if following.instances.is_disjoint(changed) {
                self.rollouts.push(following);
                continue;
            }
            let status = self.status(&following);
            if status == "in_progress" {
                self.tell(&following, status).await?;
                self.rollouts.push(following);
            } else {
                self.settle(&following, status).await?;
            }
        }
        Ok(())
    }

    fn status(&self, following: &Following) -> &'static str {
        let states = following.instances.iter().map(|instance| self.states.get(instance));
        let outcomes: Vec<_> = states.map(|state| state.and_then(outcome)).collect();
        if outcomes.contains(&None) {
            "in_progress"
        } else if outcomes.contains(&Some(Outcome::Failed)) {
            "failed"
        } else {
            "succeeded"
        }
    }

    /// Ends those whose time is over.
    async fn give_up(&mut self) -> Result<(), SessionEnded> {
        let now = Instant::now();
        let late: Vec<_> = self.rollouts.extract_if(.., |one| one.deadline <= now).collect();
        for following in late {
            self.settle(&following, "timed_out").await?;
        }
        // Somebody else has deleted or changed it.
        let gone = |one: &mut Following| one.gone_until.is_some_and(|gone| gone <= now);
        let superseded: Vec<_> = self.rollouts.extract_if(.., gone).collect();
        for following in superseded {
            self.settle(&following, "superseded").await?;
        }
        Ok(())
    }

    /// Tells how it has ended, and forgets it.
    async fn settle(&mut self, following: &Following, status: &str) -> Result<(), SessionEnded> {
        self.tell(following, status).await?;
        self.settled.push_back(following.id.clone());
        if self.settled.len() > MAX_ROLLOUTS {
            self.settled.pop_front();
        }
        self.publisher.remove(&self.topics.rollout(&following.id)).await
    }

    async fn tell(&self, following: &Following, status: &str) -> Result<(), SessionEnded> {
        #[derive(Serialize)]
        struct Workload<'a, S> {
            #[serde(flatten)]
            instance: &'a InstanceName,
            execution_state: S,
        }
        let begin = ExecutionState {
            execution_state_enum: Some(ExecutionStateEnum::Pending(Pending::Initial.into())),
            additional_info: None,
        };
        let workloads = following.instances.iter().map(|instance| {
            let state = self.states.get(instance).unwrap_or(&begin);
            serde_json::to_value(Workload { instance, execution_state: execution_state(state) })
                .unwrap_or_default()
        });
        let workloads = workloads.collect();
        let progress = Progress { request_id: &following.request_id, status, workloads };
        tracing::info!(request_id = following.request_id, status, "roll-out");
        self.publisher.send(&self.topics.apply_status(), &progress).await
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    Failed,
}

/// What has become of an instance; `None` if it has not settled.
fn outcome(state: &ExecutionState) -> Option<Outcome> {
    match state.execution_state_enum? {
        ExecutionStateEnum::Running(_) | ExecutionStateEnum::Succeeded(_) => {
            Some(Outcome::Succeeded)
        }
        ExecutionStateEnum::Failed(_) => Some(Outcome::Failed),
        ExecutionStateEnum::Pending(substate)
            if substate == i32::from(Pending::StartingFailed)
                && state.additional_info().starts_with(NO_MORE_RETRIES) =>
        {
            Some(Outcome::Failed)
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::proto::ank_base::{Failed, Running, Stopping, Succeeded};

    fn state(state: ExecutionStateEnum, info: &str) -> ExecutionState {
        ExecutionState { execution_state_enum: Some(state), additional_info: Some(info.into()) }
    }

    #[test]
    fn an_instance_settles_by_running_ending_or_being_given_up() {
        use ExecutionStateEnum as State;
        let failed = State::Pending(Pending::StartingFailed.into());
        for (state, expected) in [
            (state(State::Running(Running::Ok.into()), ""), Some(Outcome::Succeeded)),
            (state(State::Succeeded(Succeeded::Ok.into()), ""), Some(Outcome::Succeeded)),
            (state(State::Failed(Failed::Lost.into()), ""), Some(Outcome::Failed)),
            (state(failed, "No more retries: no such image"), Some(Outcome::Failed)),
            (state(failed, "no such image"), None),
            (state(State::Pending(Pending::Starting.into()), "No more retries"), None),
            (state(State::Stopping(Stopping::Stopping.into()), ""), None),
            (ExecutionState::default(), None),
        ] {
            assert_eq!(outcome(&state), expected, "{state:?}");
        }
    }

    mod tracker {
        use std::time::Duration;

        use serde_json::{Value, json};

        use super::*;
        use crate::ankaios::connect;
        use crate::ankaios::workload_states::tests::{RUNNING, event, snapshot, state};
        use crate::mqtt::{Receiver, queue};

        const PENDING: Option<ExecutionStateEnum> = Some(ExecutionStateEnum::Pending(2));

        /// A tracker without an Ankaios, and what it publishes.
        fn tracker() -> (Tracker, Receiver) {
            let (client, _) = connect("/nowhere".into(), Duration::from_secs(1));
            let (sender, published) = queue();
            let limit = Duration::from_secs(60);
            let topics = Topics::new("1", Vec::new()).unwrap();
            (Tracker::new(client, topics, Publisher::new(sender), limit), published)
        }

        fn rollout(request_id: &str, added: &[&str]) -> Rollout {
            let added = added.iter().map(|name| name.parse().unwrap()).collect();
            Rollout { request_id: Some(request_id.into()), added, deleted: Vec::new() }
        }

        /// The request ids and statuses of what was published.
        fn told(published: &mut Receiver) -> Vec<(String, String, Value)> {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            std::iter::from_fn(|| published.publication())
                .filter(|publication| !publication.retain)
                .map(|publication| {
                    let message: Value = serde_json::from_slice(&publication.payload).unwrap();
                    let state = message["workloads"][0]["execution_state"].clone();
                    (text(&message["request_id"]), text(&message["status"]), state)
                })
                .collect()
        }

        #[tokio::test(start_paused = true)]
        async fn what_somebody_else_removes_is_superseded_whatever_names_it() {
            for removed in ["workloadStates.a.w.1", "workloadStates.a.w", "workloadStates.a"] {
                let (mut tracker, mut published) = tracker();
                tracker.begin(rollout("r", &["w.1.a"])).await.unwrap();
                let first = snapshot(state(&[("a", "w", "1")], PENDING, None));
                tracker.learn(&first).await.unwrap();
                tracker.learn(&event(Default::default(), &[removed])).await.unwrap();
                wait(&mut tracker).await;
                let told = told(&mut published);
                assert_eq!(told.last().map(|told| &*told.1), Some("superseded"), "{removed}");
                assert!(tracker.rollouts.is_empty());
            }
        }

        async fn wait(tracker: &mut Tracker) {
            tokio::time::advance(GONE).await;
            tracker.give_up().await.unwrap();
        }

        #[tokio::test(start_paused = true)]
        async fn an_instance_that_comes_back_at_once_was_not_removed() {
            let (mut tracker, mut published) = tracker();
            tracker.begin(rollout("r", &["w.1.a"])).await.unwrap();
            let instances = [("a", "w", "1")];
            tracker.learn(&snapshot(state(&instances, PENDING, None))).await.unwrap();
            let removed = event(Default::default(), &["workloadStates.a.w"]);
            tracker.learn(&removed).await.unwrap();
            tracker.learn(&event(state(&instances, PENDING, None), &[])).await.unwrap();
            wait(&mut tracker).await;
            tracker.learn(&event(state(&instances, RUNNING, None), &[])).await.unwrap();
            let statuses: Vec<_> = told(&mut published).into_iter().map(|told| told.1).collect();
            assert_eq!(statuses, ["in_progress", "in_progress", "succeeded"]);
        }

        #[tokio::test]
        async fn an_event_of_one_field_leaves_the_other_as_it_is() {
            let (mut tracker, mut published) = tracker();
            tracker.begin(rollout("r", &["w.1.a"])).await.unwrap();
            let instances = [("a", "w", "1")];
            let first = snapshot(state(&instances, PENDING, Some("pulling")));
            tracker.learn(&first).await.unwrap();
            tracker.learn(&event(state(&instances, None, Some("pulled")), &[])).await.unwrap();
            tracker.learn(&event(state(&instances, RUNNING, None), &[])).await.unwrap();
            let states: Vec<_> = told(&mut published)
                .into_iter()
                .map(|(_, status, state)| {
                    (status, state["state"].clone(), state["additional_info"].clone())
                })
                .collect();
            assert_eq!(
                states,
                [
                    ("in_progress".into(), json!("PENDING"), json!("pulling")),
                    ("in_progress".into(), json!("PENDING"), json!("pulled")),
                    ("succeeded".into(), json!("RUNNING"), json!("pulled")),
                ]
            );
        }

        #[tokio::test(start_paused = true)]
        async fn what_a_snapshot_does_not_have_is_gone_unless_it_may_be_newer() {
            let (mut tracker, mut published) = tracker();
            tracker.begin(rollout("old", &["w.1.a"])).await.unwrap();
            let first = snapshot(state(&[("a", "w", "1")], PENDING, None));
            tracker.learn(&first).await.unwrap();
            tracker.begin(rollout("new", &["v.1.a"])).await.unwrap();
            told(&mut published);
            // It was asked for before the second roll-out had begun, perhaps.
            tracker.learn(&snapshot(Default::default())).await.unwrap();
            wait(&mut tracker).await;
            let superseded = told(&mut published);
            assert_eq!(superseded.iter().map(|told| &*told.0).collect::<Vec<_>>(), ["old"]);
            tracker.learn(&snapshot(Default::default())).await.unwrap();
            wait(&mut tracker).await;
            assert_eq!(told(&mut published)[0].1, "superseded");
            assert!(tracker.rollouts.is_empty());
        }

        #[tokio::test]
        async fn forged_records_are_limited_in_size_and_number() {
            let (client, _) = connect("/nowhere".into(), Duration::from_secs(1));
            let (sender, _published) = queue();
            let topics = Topics::new("1", Vec::new()).unwrap();
            let limit = Duration::from_secs(60);
            let (rollouts, _) = Rollouts::new(client, topics, Publisher::new(sender), limit);
            let record = json!({"request_id": "r", "workloads": [], "expires_at": ""}).to_string();
            let large = format!("{record}{}", " ".repeat(MAX_RECORD));
            rollouts.restore("x", large.as_bytes());
            for _ in 0..2 * MAX_ROLLOUTS {
                rollouts.restore("x", record.as_bytes());
            }
            assert_eq!(rollouts.restorable.available_permits(), 0);
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            assert!(tasks <= MAX_ROLLOUTS, "{tasks}");
        }
    }
}

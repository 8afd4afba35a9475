//! A model of a vehicle and of a disk, with the core between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use ankaios_control::RequestError;
use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::proto::ank_base::{UpdateStateRequest, UpdateStateSuccess};
use ankaios_model::update_mask::{get, merge};
use fleet_contract::revision::RollbackMode;
use fleet_contract::rollout::RolloutStatus;
use serde_json::{Value, json};

use super::super::*;
use super::origin;
use crate::revisions::item::{Items, to_value};
use crate::revisions::marker::Marker;
use crate::revisions::revision::Origin;
use crate::revisions::store::{Contents, StoreChange, StoreError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The disk cannot be written.
    Disk,
    /// An update does not reach Ankaios.
    NotSent,
    /// Ankaios takes an update, but its answer is lost.
    AnswerLost,
    /// Ankaios refuses updates.
    Rejects,
    /// The state to judge an update by cannot be read.
    Unread,
}

/// A vehicle. Its items are configs with a text.
#[derive(Debug, Clone)]
pub(super) struct Vehicle {
    pub(super) startup: Value,
    pub(super) state: Value,
}

impl Vehicle {
    fn new(configs: &[(&str, &str)]) -> Self {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        let startup = json!({"desiredState": {"configs": configs}});
        Self { state: startup.clone(), startup }
    }

    pub(super) fn marker(&self) -> Option<Marker> {
        Marker::of(&self.state)
    }

    /// The configs with a text.
    pub(super) fn values(&self) -> Vec<(String, String)> {
        let configs = get(&self.state, &["desiredState", "configs"]).and_then(Value::as_object);
        let text =
            |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        configs.into_iter().flatten().filter_map(text).collect()
    }

    /// Somebody on the vehicle changes a config.
    pub(super) fn change(&mut self, name: &str, value: Option<&str>) {
        let new = json!({"desiredState": {"configs": {name: value}}});
        let new = if value.is_some() { new } else { json!({}) };
        merge(&mut self.state, &new, &format!("desiredState.configs.{name}")).unwrap();
    }

    /// Takes an update as a whole, or refuses it: a field can be removed only from a map that
    /// exists.
    fn update(&mut self, update: &UpdateStateRequest) -> bool {
        let new = to_value(update.new_state.as_ref().unwrap());
        let mut state = self.state.clone();
        for mask in &update.update_mask {
            let path: Vec<&str> = mask.split('.').collect();
            let parent = path.split_last().unwrap().1;
            if get(&new, &path).is_none() && get(&state, parent).is_none_or(|map| !map.is_object())
            {
                return false;
            }
            merge(&mut state, &new, mask).unwrap();
        }
        self.state = state;
        true
    }

    fn read(&self, masks: &[String]) -> Value {
        let mut state = json!({});
        for mask in masks {
            let path: Vec<&str> = mask.split('.').collect();
            if get(&self.state, &path).is_some() {
                merge(&mut state, &self.state, mask).unwrap();
            }
        }
        state
    }
}

/// What is on the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    statuses: BTreeMap<u64, Revision>,
    pub(super) overlays: BTreeMap<u64, Items>,
    startup: Items,
}

impl Disk {
    fn change(&mut self, change: &StoreChange) {
        match change.clone() {
            StoreChange::Startup(items) => self.startup = items,
            StoreChange::Overlay(number, items) => {
                self.overlays.insert(number, items);
            }
            StoreChange::Status(revision) => {
                self.statuses.insert(revision.revision, revision);
            }
            StoreChange::Remove(number) => {
                self.statuses.remove(&number);
                self.overlays.remove(&number);
            }
        }
    }

    /// What the store finds when it is opened.
    fn contents(&self) -> Contents {
        let whole = |number: &u64| self.overlays.contains_key(number);
        let mut revisions = self.statuses.clone();
        revisions.retain(|number, _| whole(number));
        let mut contents = Contents { startup: self.startup.clone(), ..Contents::default() };
        for (number, revision) in revisions.iter().rev() {
            if revision.in_doubt && contents.in_doubt.is_none() {
                contents.in_doubt = Some(self.overlays[number].clone());
            } else if !revision.in_doubt {
                contents.overlay = self.overlays[number].clone();
                break;
            }
        }
        contents.revisions = revisions;
        contents
    }
}

/// The core with everything around it.
pub(super) struct World {
    core: Core,
    pub(super) vehicle: Vehicle,
    pub(super) disk: Disk,
    pub(super) options: CoreOptions,
    pub(super) fault: Fault,
    pub(super) now: Now,
    pub(super) answers: BTreeMap<JobId, Result<Answer, Failure>>,
    pub(super) follows: Vec<Follow>,
    pub(super) rolled_back: Vec<(u64, Result<(), String>)>,
    /// The revisions whose rollouts are followed.
    pub(super) rollouts: BTreeSet<u64>,
    /// The number of updates that were sent.
    pub(super) sent: usize,
    /// The masks of the last update, and whether the guard has judged it before.
    pub(super) last_masks: Vec<String>,
    pub(super) last_is_judged: bool,
    /// The answer to an update that Ankaios takes. At first it has started a workload.
    pub(super) success: UpdateStateSuccess,
    /// The ends of rollouts of earlier processes.
    pub(super) ended: Vec<(u64, RolloutStatus)>,
    /// Whether an earlier overlay was put back instead of the current one.
    pub(super) given_up: bool,
    last_id: JobId,
    /// What the core has asked for and has no answer to.
    pub(super) asked: Option<Action>,
}

impl World {
    pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(600);
    pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
    pub(super) const MAX_UPDATE: usize = 100_000;

    pub(super) fn new(startup: &[(&str, &str)]) -> Self {
        let now = Now {
            monotonic: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        };
        let disk = Disk::default();
        let mut world = Self {
            core: Core::new(options(), disk.contents(), now),
            vehicle: Vehicle::new(startup),
            disk,
            options: options(),
            fault: Fault::None,
            now,
            answers: BTreeMap::new(),
            follows: Vec::new(),
            rolled_back: Vec::new(),
            rollouts: BTreeSet::new(),
            sent: 0,
            last_masks: Vec::new(),
            last_is_judged: false,
            success: UpdateStateSuccess {
                added_workloads: vec!["w.1.agent_A".into()],
                deleted_workloads: Vec::new(),
            },
            ended: Vec::new(),
            given_up: false,
            last_id: 0,
            asked: None,
        };
        world.handle(Event::LinkUp);
        world
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// Handles an event, and all that follows from it.
    pub(super) fn handle(&mut self, event: Event) {
        self.step(event);
        self.settle();
    }

    /// Answers all that the core asks for.
    pub(super) fn settle(&mut self) {
        while let Some(asked) = self.asked.take() {
            let answer = self.answer(asked);
            self.step(answer);
        }
    }

    /// Handles one event. What the core asks for is left in `asked`.
    pub(super) fn step(&mut self, event: Event) {
        for action in self.core.handle(event, self.now) {
            match action {
                Action::Read { .. }
                | Action::Load(_)
                | Action::Save { .. }
                | Action::Send { .. } => {
                    assert_eq!(self.asked, None, "one thing at a time");
                    self.asked = Some(action);
                }
                Action::Answer { id, result } => {
                    if let Ok(Answer::Updated(updated)) = &result {
                        self.follow(updated.follow.clone());
                    }
                    assert!(self.answers.insert(id, result).is_none(), "one answer for {id}");
                }
                Action::Follow(follow) => self.follow(follow),
                Action::RolledBack { revision, result, .. } => {
                    self.rolled_back.push((revision, result));
                }
                Action::RolloutEnded { revision, status } => self.ended.push((revision, status)),
                Action::RollingBack { .. }
                | Action::CountRestoration { .. }
                | Action::CountRollback { .. } => {}
            }
        }
        self.note_given_up();
    }

    pub(super) fn note_given_up(&mut self) {
        self.given_up |= self.core.report().restore == Some(RestoreState::GivenUp);
    }

    fn follow(&mut self, follow: Follow) {
        self.rollouts.extend(follow.revision);
        self.follows.push(follow);
    }

    /// Does what the core has asked for.
    pub(super) fn answer(&mut self, asked: Action) -> Event {
        match asked {
            Action::Read { masks, .. } => Event::Read(match self.fault {
                Fault::NotSent => Err(timeout()),
                _ => Ok(self.vehicle.read(&masks)),
            }),
            Action::Load(number) => {
                Event::Loaded(self.disk.overlays.get(&number).cloned().ok_or(StoreError::Io {
                    file: number.to_string(),
                    reason: "it is not there".into(),
                }))
            }
            Action::Save { changes, .. } if self.fault == Fault::Disk => {
                let file = format!("{} files", changes.len());
                Event::Saved(Err(StoreError::Io { file, reason: "full".into() }))
            }
            Action::Save { changes, judge } => {
                self.last_is_judged |= judge.is_some();
                changes.iter().for_each(|change| self.disk.change(change));
                Event::Saved(Ok(()))
            }
            Action::Send { update, judge } => {
                self.sent += 1;
                self.last_masks.clone_from(&update.update_mask);
                self.last_is_judged |= judge.is_some();
                let rejected = RequestError::Rejected("rejected".into());
                match self.fault {
                    Fault::NotSent => return Event::Sent(Err(timeout().into())),
                    Fault::Rejects => return Event::Sent(Err(rejected.into())),
                    Fault::Unread => return Event::Sent(Err(RequestError::AnswerTooLarge.into())),
                    Fault::None | Fault::Disk | Fault::AnswerLost => {}
                }
                if !self.vehicle.update(&update) {
                    return Event::Sent(Err(rejected.into()));
                }
                Event::Sent(match self.fault {
                    Fault::AnswerLost => Err(timeout().into()),
                    _ => Ok(self.success.clone()),
                })
            }
            other => panic!("{other:?}"),
        }
    }

    /// Requests a change of configs. Returns the id of the answer.
    pub(super) fn request(&mut self, items: &[(&str, Option<&str>)], mode: RollbackMode) -> JobId {
        self.last_is_judged = false;
        let set = items.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let configs: BTreeMap<_, _> = set.collect();
        let masks: Vec<_> =
            items.iter().map(|(name, _)| format!("desiredState.configs.{name}")).collect();
        let state = json!({"desiredState": {"configs": configs}});
        self.request_update(masks, &state, mode)
    }

    fn request_update(&mut self, masks: Vec<String>, state: &Value, mode: RollbackMode) -> JobId {
        let new_state = Some(parse_complete_state(state).unwrap());
        let update = UpdateStateRequest { new_state, update_mask: masks };
        let job =
            Job::Change { origin: origin(mode), update, named: [].into(), is_published: true };
        self.job(job)
    }

    fn job(&mut self, job: Job) -> JobId {
        self.last_id += 1;
        let id = self.last_id;
        let deadline = self.now.monotonic + Self::REQUEST_TIMEOUT;
        self.handle(Event::Requested { id, job, deadline });
        id
    }

    /// Queues a change of a config without doing what follows from it.
    pub(super) fn queue(&mut self, name: &str, value: Option<&str>, mode: RollbackMode) -> JobId {
        self.queue_items(&[(name.to_owned(), value.map(str::to_owned))], mode)
    }

    /// Queues a change of configs without doing what follows from it.
    pub(super) fn queue_items(
        &mut self,
        items: &[(String, Option<String>)],
        mode: RollbackMode,
    ) -> JobId {
        let set = items.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let configs: BTreeMap<_, _> = set.collect();
        let state = json!({"desiredState": {"configs": configs}});
        let new_state = Some(parse_complete_state(&state).unwrap());
        let update_mask = items.iter().map(|(name, _)| format!("desiredState.configs.{name}"));
        let update = UpdateStateRequest { new_state, update_mask: update_mask.collect() };
        let job =
            Job::Change { origin: origin(mode), update, named: [].into(), is_published: true };
        self.queue_job(job)
    }

    /// Queues a job without doing what follows from it.
    pub(super) fn queue_job(&mut self, job: Job) -> JobId {
        self.last_id += 1;
        let id = self.last_id;
        let deadline = self.now.monotonic + Self::REQUEST_TIMEOUT;
        self.step(Event::Requested { id, job, deadline });
        id
    }

    fn updated(&mut self, id: JobId) -> Result<Updated, Failure> {
        match self.answers.remove(&id).expect("an answer") {
            Ok(Answer::Updated(updated)) => Ok(*updated),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure),
        }
    }

    /// Requests a change, and does what follows from it.
    pub(super) fn change(&mut self, job: Job) -> Result<Updated, Failure> {
        let id = self.job(job);
        self.updated(id)
    }

    pub(super) fn apply(
        &mut self,
        items: &[(&str, Option<&str>)],
        mode: RollbackMode,
    ) -> Result<Updated, Failure> {
        let id = self.request(items, mode);
        self.updated(id)
    }

    pub(super) fn update(&mut self, masks: &[&str], state: &Value) -> Result<Updated, Failure> {
        let masks = masks.iter().map(|mask| (*mask).to_owned()).collect();
        let id = self.request_update(masks, state, RollbackMode::Off);
        self.updated(id)
    }

    pub(super) fn roll_back(&mut self, target: RollbackTarget) -> Result<Updated, Failure> {
        let request_id = format!("7f3a/rollback-{}", self.last_id);
        self.roll_back_as(&request_id, target)
    }

    pub(super) fn roll_back_as(
        &mut self,
        request_id: &str,
        target: RollbackTarget,
    ) -> Result<Updated, Failure> {
        let origin = Origin { request_id: request_id.into(), ..origin(RollbackMode::Off) };
        let id = self.job(Job::Rollback { origin, target });
        self.updated(id)
    }

    pub(super) fn confirm(&mut self, revision: u64) -> Result<(), Failure> {
        let id = self.job(Job::Confirm { revision });
        self.answers.remove(&id).expect("an answer").map(drop)
    }

    /// Ends all rollouts that are followed.
    pub(super) fn end_rollouts(&mut self, status: RolloutStatus) {
        for revision in std::mem::take(&mut self.rollouts) {
            self.end_rollout(revision, status);
        }
    }

    pub(super) fn end_rollout(&mut self, revision: u64, status: RolloutStatus) {
        self.rollouts.remove(&revision);
        self.handle(Event::RolloutEnded { revision, status, is_stable: true });
    }

    /// The server starts with its startup manifest, and the link is up again.
    pub(super) fn restart_server(&mut self) {
        self.vehicle.state = self.vehicle.startup.clone();
        self.handle(Event::LinkUp);
    }

    /// The connector is killed and started again.
    pub(super) fn crash(&mut self) {
        self.crash_off();
        self.handle(Event::LinkUp);
    }

    /// The connector is killed and started again, and has no link yet.
    pub(super) fn crash_off(&mut self) {
        self.asked = None;
        self.rollouts.clear();
        self.core = Core::new(self.options.clone(), self.disk.contents(), self.now);
    }

    pub(super) fn lose_disk(&mut self) {
        self.disk = Disk::default();
        self.crash();
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(next) = self.core.deadline().filter(|next| *next <= end) {
            self.advance(next.max(self.now.monotonic));
            self.handle(Event::Tick);
        }
        self.advance(end);
    }

    pub(super) fn advance(&mut self, to: Instant) {
        let passed = to - self.now.monotonic;
        self.now = Now { monotonic: to, wall: self.now.wall + passed };
    }
}

fn options() -> CoreOptions {
    CoreOptions {
        history: 10,
        confirm_timeout: Some(World::CONFIRM_TIMEOUT),
        max_update: World::MAX_UPDATE,
    }
}

fn timeout() -> RequestError {
    RequestError::Timeout(Duration::from_secs(5))
}

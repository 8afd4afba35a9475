//! A fleet of model vehicles, and the world between them and a roll-out, on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ank_fleet::rollout::{
    Action, Event, Halt, Line, OutcomeKind, OwnRevision, Plan, RequestKind, Rollout, Settled, Step,
    Transition, VehicleState, Verdict,
};
use ank_fleet::{Time, Vin};
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::revision::RevisionStatus;
use fleet_contract::rollout::{RolloutProgress, RolloutStatus};

/// How a vehicle behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    Fails,
    Refuses,
    NeverSettles,
    Silent,
    Offline,
    /// It fails when it has been up for a while.
    FailsLater,
}

impl Behaviour {
    pub(crate) fn outcome(self) -> OutcomeKind {
        match self {
            Self::Good | Self::FailsLater => OutcomeKind::Succeeded,
            Self::Fails => OutcomeKind::Failed,
            Self::Refuses => OutcomeKind::Rejected,
            Self::NeverSettles => OutcomeKind::TimedOut,
            Self::Silent => OutcomeKind::Unreachable,
            Self::Offline => OutcomeKind::Pending,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ModelVehicle {
    pub(crate) behaviour: Behaviour,
    pub(crate) is_online: bool,
    /// When the change was made.
    changed: Option<Time>,
    pub(crate) is_confirmed: bool,
    pub(crate) is_undone: bool,
    /// Somebody else has made a later change.
    pub(crate) is_taken: bool,
    pub(crate) changes: usize,
}

const SETTLES_AFTER: Duration = Duration::from_secs(5);

enum Pending {
    Event(Event),
    Read(Vin),
    Status(Vin, String),
}

/// What the command line would do, and what it may lose.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rollout: Rollout,
    pub(crate) vehicles: BTreeMap<Vin, ModelVehicle>,
    pub(crate) journal: Vec<Line>,
    pub(crate) now: Time,
    queue: BTreeMap<(Time, u64), Pending>,
    sequence: u64,
    is_connected: bool,
    /// Vehicles whose answer to the change is in the journal.
    answered: BTreeSet<Vin>,
    is_stopped: bool,
    pub(crate) steps: usize,
    /// The step at which the command is killed, and whether its actions are still done.
    pub(crate) kill_at: Option<(usize, bool)>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) gates: Vec<Result<(), String>>,
    pub(crate) starts: Vec<Time>,
}

impl World {
    pub(crate) fn new(plan: Plan, behaviour: impl Fn(usize) -> Behaviour) -> Self {
        let vehicles = plan.vehicles.iter().enumerate().map(|(index, vin)| {
            let behaviour = behaviour(index);
            let vehicle = ModelVehicle {
                behaviour,
                is_online: behaviour != Behaviour::Offline,
                changed: None,
                is_confirmed: false,
                is_undone: false,
                is_taken: false,
                changes: 0,
            };
            (vin.clone(), vehicle)
        });
        Self {
            rollout: Rollout::new(plan.clone()),
            vehicles: vehicles.collect(),
            plan,
            journal: Vec::new(),
            now: Time::from_millis(1_000_000),
            queue: BTreeMap::new(),
            sequence: 0,
            is_connected: false,
            answered: BTreeSet::new(),
            is_stopped: false,
            steps: 0,
            kill_at: None,
            verdict: None,
            gates: Vec::new(),
            starts: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self) {
        self.connect();
        self.event(Event::Begin);
    }

    pub(crate) fn connect(&mut self) {
        self.is_connected = true;
        self.event(Event::Connected);
        let presence: Vec<_> =
            self.vehicles.iter().map(|(vin, it)| (vin.clone(), it.is_online)).collect();
        for (vin, is_online) in presence {
            self.event(Event::Presence { vin, is_online });
        }
    }

    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
        self.event(Event::Disconnected);
    }

    pub(crate) fn set_online(&mut self, vin: &Vin, is_online: bool) {
        if let Some(vehicle) = self.vehicles.get_mut(vin) {
            vehicle.is_online = is_online;
        }
        self.event(Event::Presence { vin: vin.clone(), is_online });
    }

    /// The command is killed: what was under way to it is lost. Another one goes on.
    pub(crate) fn kill(&mut self) {
        self.queue.clear();
        let resumed = Rollout::resume(self.plan.clone(), &self.journal);
        for wave in 1..=self.plan.waves.len() {
            assert_eq!(resumed.state().tally(wave), self.rollout.state().tally(wave));
        }
        assert_eq!(resumed.state().stage(), self.rollout.state().stage());
        self.rollout = resumed;
        self.begin();
    }

    /// Runs until nothing more happens by itself.
    pub(crate) fn run(&mut self) {
        self.run_for(Duration::from_secs(1_000_000));
        assert!(self.verdict.is_some(), "the roll-out hangs");
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now.after(time);
        self.verdict = None;
        while self.verdict.is_none() {
            assert!(self.steps < 2_000_000, "the roll-out does not end");
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            let tick = self.rollout.deadline();
            let Some(at) = [next, tick].into_iter().flatten().min().filter(|at| *at <= end) else {
                return;
            };
            self.now = self.now.max(at);
            let due = next.is_some_and(|next| next <= at);
            let pending = if due { self.queue.pop_first() } else { None };
            match pending {
                Some((_, pending)) => self.deliver(pending),
                None => self.event(Event::Tick),
            }
        }
    }

    fn deliver(&mut self, pending: Pending) {
        // Without a connection, messages are lost.
        if !self.is_connected {
            return;
        }
        match pending {
            Pending::Event(event) => self.event(event),
            Pending::Read(vin) => {
                let Some(state) = self.read(&vin) else { return };
                self.event(Event::StateRead { vin, state });
            }
            Pending::Status(vin, request_id) => {
                let failed =
                    self.vehicles.get(&vin).is_some_and(|it| it.behaviour == Behaviour::Fails);
                let status = if failed { RolloutStatus::Failed } else { RolloutStatus::Succeeded };
                let (workloads, reason) = (Vec::new(), None);
                let progress = RolloutProgress {
                    request_id,
                    status,
                    workloads,
                    reason,
                    omitted_workloads: None,
                };
                self.event(Event::Status { vin, progress });
            }
        }
    }

    /// What can be read from a vehicle now.
    fn read(&self, vin: &Vin) -> Option<VehicleState> {
        let vehicle = self.vehicles.get(vin)?;
        if !vehicle.is_online || vehicle.behaviour == Behaviour::Silent {
            return None;
        }
        let Some(changed) = vehicle.changed else {
            return Some(VehicleState {
                is_applied: false,
                workloads: Settled::Up,
                own: None,
                is_undone: false,
            });
        };
        let up = self.now.since(changed);
        let is_settled = up >= SETTLES_AFTER && vehicle.behaviour != Behaviour::NeverSettles;
        let has_failed = vehicle.behaviour == Behaviour::Fails
            || (vehicle.behaviour == Behaviour::FailsLater && up >= 4 * SETTLES_AFTER);
        let failed = Settled::Failed { workload: "w".into(), message: "Failed(ExecFailed)".into() };
        let (workloads, status) = match (is_settled, has_failed) {
            (false, _) => (Settled::Starting, RevisionStatus::InProgress),
            (true, true) if vehicle.behaviour == Behaviour::FailsLater => {
                (failed, RevisionStatus::Succeeded)
            }
            (true, true) => (failed, RevisionStatus::Failed),
            (true, false) if vehicle.is_confirmed => (Settled::Up, RevisionStatus::Succeeded),
            (true, false) => (Settled::Up, RevisionStatus::Unconfirmed),
        };
        let is_current = !vehicle.is_undone && !vehicle.is_taken;
        let own = Some(OwnRevision { revision: 1, status, is_current });
        Some(VehicleState { is_applied: is_current, workloads, own, is_undone: vehicle.is_undone })
    }

    fn later(&mut self, millis: u64, pending: Pending) {
        self.sequence += 1;
        let at = self.now.after(Duration::from_millis(millis));
        self.queue.insert((at, self.sequence), pending);
    }

    pub(crate) fn event(&mut self, event: Event) {
        let answer = match &event {
            Event::Reply { request, .. } if request.kind == RequestKind::Change => {
                Some(request.vin.clone())
            }
            _ => None,
        };
        if event == Event::RetryFailed {
            self.answered.clear();
        }
        let step = self.rollout.step(event, self.now);
        self.steps += 1;
        self.check(&step);
        self.journal.extend(step.journal);
        self.answered.extend(answer);
        let kill = self.kill_at.filter(|(at, _)| *at == self.steps);
        if kill.is_none_or(|(_, acts)| acts) {
            step.actions.into_iter().for_each(|action| self.act(action));
        }
        if kill.is_some() {
            self.verdict = None;
            self.kill();
        }
    }

    /// What must always be true.
    fn check(&mut self, step: &Step) {
        let state = self.rollout.state();
        let attempted: usize =
            (1..=self.plan.waves.len()).map(|wave| state.tally(wave).attempted).sum();
        assert!(attempted <= self.plan.waves[state.wave() - 1], "more than the wave allows");
        assert!(state.in_flight() <= self.plan.options.parallel, "more than --parallel");
        for line in &step.journal {
            match &line.transition {
                Transition::Halted { reason } => {
                    self.is_stopped = reason.is_failure() || *reason == Halt::Aborted;
                }
                Transition::Resumed { .. } | Transition::Retried => self.is_stopped = false,
                Transition::Sent { vin, request: RequestKind::Change, .. } => {
                    assert!(!self.answered.contains(vin), "{vin} has answered");
                    assert!(!self.is_stopped, "sent to {vin} after a stop");
                }
                _ => {}
            }
        }
        for action in &step.actions {
            let Action::Send { request, .. } = action else { continue };
            let announced = step.journal.iter().any(|line| {
                matches!(&line.transition, Transition::Sent { vin, .. } if *vin == request.vin)
            });
            assert!(announced, "a request that is not in the journal");
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ReadState { vin } => self.later(40, Pending::Read(vin)),
            Action::ReadLog { vin, .. } => {
                self.later(50, Pending::Event(Event::Log { vin, lines: vec!["bad".into()] }));
            }
            Action::StartGate { wave } => {
                let result = if self.gates.is_empty() { Ok(()) } else { self.gates.remove(0) };
                self.later(1000, Pending::Event(Event::Gate { wave, result }));
            }
            Action::Report(verdict) => self.verdict = Some(verdict),
            Action::Send { request, .. } => {
                let Some(vehicle) = self.vehicles.get_mut(&request.vin) else { return };
                if !vehicle.is_online || vehicle.behaviour == Behaviour::Silent {
                    return;
                }
                let error = || ErrorReply::new(ErrorCode::Rejected, "no");
                let (vin, id) = (request.vin.clone(), request.to_string());
                let result = match request.kind {
                    RequestKind::Change => {
                        self.starts.push(self.now);
                        if vehicle.behaviour == Behaviour::Refuses {
                            Err(error())
                        } else {
                            Ok(Some(1))
                        }
                    }
                    RequestKind::Confirm => Ok(None),
                    RequestKind::Undo if vehicle.is_taken || vehicle.is_undone => Err(error()),
                    RequestKind::Undo => Ok(Some(2)),
                };
                match (request.kind, &result) {
                    (RequestKind::Change, Ok(_)) => {
                        vehicle.changes += 1;
                        vehicle.changed.get_or_insert(self.now);
                        if vehicle.behaviour != Behaviour::NeverSettles {
                            let settles = u64::try_from(SETTLES_AFTER.as_millis()).unwrap();
                            self.later(settles, Pending::Status(vin, id));
                        }
                    }
                    (RequestKind::Confirm, Ok(_)) => vehicle.is_confirmed = true,
                    (RequestKind::Undo, Ok(_)) => vehicle.is_undone = true,
                    _ => {}
                }
                self.later(100, Pending::Event(Event::Reply { request, result }));
            }
        }
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<Vin, Option<OutcomeKind>> {
        let vehicles = self.rollout.state().vehicles().iter();
        vehicles.map(|vehicle| (vehicle.vin.clone(), vehicle.outcome())).collect()
    }

    pub(crate) fn count(&self, outcome: OutcomeKind) -> usize {
        self.outcomes().values().filter(|it| **it == Some(outcome)).count()
    }
}

//! The world between them and a roll-out, on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ank_fleet::rollout::{
    Action, Event, Halt, Line as JournalLine, OutcomeKind, Plan, RequestId, RequestKind, Rollout,
    Step, Transition, Verdict,
};
use ank_fleet::{Time, Vin};
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::rollout::{RolloutProgress, RolloutStatus};

use crate::rules::Rules;
pub(crate) use crate::vehicle::{Behaviour, FAILS_AFTER, ModelVehicle, SETTLES_AFTER};

enum Pending {
    Event(Event),
    Read(Vin),
    Status(Vin, String),
    /// The watch of the soak time sees that a workload has failed.
    Fails(Vin),
    /// The gate runs on the operator's machine: it needs no connection.
    Gate(usize),
    /// The connection that the roll-out has asked for.
    Connect,
}

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Up,
    /// It is lost, and the command does not know.
    Dead,
    Down,
}

/// What the command line would do, and what it may lose.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rollout: Rollout,
    pub(crate) vehicles: BTreeMap<Vin, ModelVehicle>,
    pub(crate) journal: Vec<JournalLine>,
    pub(crate) now: Time,
    queue: BTreeMap<(Time, u64), Pending>,
    sequence: u64,
    line: Line,
    /// Vehicles whose answer to the change is in the journal.
    answered: BTreeSet<Vin>,
    /// Vehicles for which the broker has kept a request.
    queued: BTreeSet<Vin>,
    is_stopped: bool,
    pub(crate) steps: usize,
    /// The step at which the command is killed, and whether its actions are still done.
    pub(crate) kill_at: Option<(usize, bool)>,
    pub(crate) verdict: Option<Verdict>,
    /// Waves whose gate fails until the operator goes on.
    pub(crate) failing_gates: BTreeSet<usize>,
    /// Those of them that have.
    failed_gates: BTreeSet<usize>,
    /// When vehicles got the change.
    pub(crate) starts: Vec<Time>,
    pub(crate) rules: Rules,
    /// The broker loses these messages, counted from 0, or all status messages.
    pub(crate) lost: BTreeSet<usize>,
    pub(crate) loses_statuses: bool,
    messages: usize,
}

impl World {
    pub(crate) fn new(plan: Plan, behaviour: impl Fn(usize) -> Behaviour) -> Self {
        let vehicles = plan
            .vehicles
            .iter()
            .enumerate()
            .map(|(index, vin)| (vin.clone(), ModelVehicle::new(behaviour(index))));
        Self {
            rollout: Rollout::new(plan.clone()),
            vehicles: vehicles.collect(),
            plan,
            journal: Vec::new(),
            now: Time::from_millis(1_000_000),
            queue: BTreeMap::new(),
            sequence: 0,
            line: Line::Down,
            answered: BTreeSet::new(),
            queued: BTreeSet::new(),
            is_stopped: false,
            steps: 0,
            kill_at: None,
            verdict: None,
            failing_gates: BTreeSet::new(),
            failed_gates: BTreeSet::new(),
            starts: Vec::new(),
            rules: Rules::default(),
            lost: BTreeSet::new(),
            loses_statuses: false,
            messages: 0,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.connect();
        self.event(Event::Begin);
    }

    /// As [`begin`](Self::begin), but what is sent arrives nowhere, and the command does not know.
    pub(crate) fn begin_deaf(&mut self) {
        self.connect();
        self.line = Line::Dead;
        self.event(Event::Begin);
    }

    /// Another machine reads the vehicles before it begins.
    pub(crate) fn find(&mut self) {
        self.event(Event::Connected);
        let found: Vec<_> = self
            .vehicles
            .iter()
            .filter_map(|(vin, vehicle)| Some((vin.clone(), vehicle.read(self.now)?)))
            .collect();
        for (vin, state) in found {
            self.rules.found(&vin, state.own.is_some());
            self.event(Event::Found { vin, state });
        }
    }

    pub(crate) fn connect(&mut self) {
        self.line = Line::Up;
        self.event(Event::Connected);
        let presence: Vec<_> =
            self.vehicles.iter().map(|(vin, it)| (vin.clone(), it.is_online)).collect();
        for (vin, is_online) in presence {
            self.event(Event::Presence { vin, is_online });
        }
    }

    pub(crate) fn disconnect(&mut self) {
        self.line = Line::Down;
        self.event(Event::Disconnected);
    }

    /// The machine of the operator sleeps. The connection is lost, and looks alive when it wakes up.
    pub(crate) fn sleep(&mut self, time: Duration) {
        if self.line == Line::Up {
            self.line = Line::Dead;
        }
        self.now = self.now.after(time);
        self.event(Event::Tick);
    }

    /// What happens within the keep-alive time after the machine has slept: the loss is noticed.
    pub(crate) fn wake_up(&mut self) {
        self.run_for(Duration::from_secs(15));
        if self.line == Line::Dead {
            self.disconnect();
            self.connect();
        }
    }

    pub(crate) fn set_online(&mut self, vin: &Vin, is_online: bool) {
        let Some(vehicle) = self.vehicles.get_mut(vin) else { return };
        vehicle.is_online = is_online;
        let kept = if is_online { std::mem::take(&mut vehicle.kept) } else { Vec::new() };
        for (request, expires) in kept {
            if self.now < expires {
                self.serve(request);
            }
        }
        if self.line == Line::Up {
            self.event(Event::Presence { vin: vin.clone(), is_online });
        }
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
            let at = [next, tick].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= end) else {
                // Unless nothing would ever happen.
                self.now = if at.is_some() { end } else { self.now };
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

    fn is_online(&self, vin: &Vin) -> bool {
        self.vehicles.get(vin).is_some_and(|vehicle| vehicle.is_online)
    }

    /// Whether the broker loses the next message.
    fn is_lost(&mut self) -> bool {
        self.messages += 1;
        self.lost.contains(&(self.messages - 1))
    }

    fn deliver(&mut self, pending: Pending) {
        let is_message = matches!(
            pending,
            Pending::Event(Event::Reply { .. }) | Pending::Read(_) | Pending::Status(..)
        );
        if is_message && self.is_lost() {
            return;
        }
        match pending {
            Pending::Gate(wave) => {
                let has_failed = self.failing_gates.contains(&wave);
                let result = if has_failed { Err("exit 1".to_owned()) } else { Ok(()) };
                self.event(Event::Gate { wave, result });
            }
            Pending::Connect if self.line == Line::Down => self.connect(),
            Pending::Connect => {}
            // Without a connection, messages are lost.
            _ if self.line != Line::Up => {}
            Pending::Status(vin, _) | Pending::Fails(vin) if !self.is_online(&vin) => {}
            Pending::Status(..) if self.loses_statuses => {}
            Pending::Event(Event::Reply { request, .. }) if !self.is_online(&request.vin) => {}
            Pending::Event(event) => self.event(event),
            Pending::Read(vin) => {
                let now = self.now;
                let vehicle = self.vehicles.get(&vin);
                let Some(state) = vehicle.and_then(|it| it.read(now)) else { return };
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
            Pending::Fails(vin) => {
                let is_undone = self.vehicles.get(&vin).is_none_or(|vehicle| vehicle.is_undone);
                let (workload, message) = ("w".to_owned(), "Failed(ExecFailed)".to_owned());
                if !is_undone {
                    self.event(Event::WorkloadFailed { vin, workload, message });
                }
            }
        }
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
        match &event {
            Event::Gate { wave, result: Err(_) } => {
                self.failed_gates.insert(*wave);
            }
            Event::Resume { .. } => {
                for wave in std::mem::take(&mut self.failed_gates) {
                    self.failing_gates.remove(&wave);
                }
            }
            _ => {}
        }
        self.rules.happens(&event);
        let step = self.rollout.step(event, self.now);
        self.steps += 1;
        self.check(&step);
        self.rules.check(&step, self.rollout.state(), self.now);
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
        // Those for which the broker has kept the request begin by themselves.
        let vehicles = state.vehicles().iter().filter(|it| !self.queued.contains(&it.vin));
        let in_flight = vehicles.filter(|it| it.is_in_flight()).count();
        assert!(in_flight <= self.plan.options.parallel, "more than --parallel");
        for line in &step.journal {
            match &line.transition {
                Transition::Halted { reason } => {
                    self.is_stopped = reason.is_failure() || *reason == Halt::Aborted;
                }
                Transition::Resumed { .. } | Transition::Retried => self.is_stopped = false,
                Transition::Sent { vin, request: RequestKind::Change, queued, .. } => {
                    assert!(!self.answered.contains(vin), "{vin} has answered");
                    if *queued {
                        self.queued.insert(vin.clone());
                    }
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
            Action::Report(verdict) => self.verdict = Some(verdict),
            Action::StartGate { wave } => self.later(1000, Pending::Gate(wave)),
            Action::Reconnect => {
                self.line = Line::Down;
                self.later(500, Pending::Connect);
            }
            // What is sent into a connection that is lost arrives nowhere.
            _ if self.line != Line::Up => {}
            Action::ReadState { vin } => self.later(40, Pending::Read(vin)),
            Action::ReadLog { vin, .. } => {
                self.later(50, Pending::Event(Event::Log { vin, lines: vec!["bad".into()] }));
            }
            Action::Send { .. } if self.is_lost() => {}
            Action::Send { request, expires, .. } => {
                let Some(vehicle) = self.vehicles.get_mut(&request.vin) else { return };
                if vehicle.is_online {
                    self.serve(request);
                } else {
                    vehicle.kept.push((request, expires));
                }
            }
        }
    }

    /// A vehicle gets a request.
    fn serve(&mut self, request: RequestId) {
        let Some(vehicle) = self.vehicles.get_mut(&request.vin) else { return };
        if vehicle.behaviour == Behaviour::Silent {
            return;
        }
        let error = || ErrorReply::new(ErrorCode::Rejected, "no");
        let (vin, id) = (request.vin.clone(), request.to_string());
        let result = match request.kind {
            RequestKind::Change => {
                self.starts.push(self.now);
                if vehicle.behaviour == Behaviour::Refuses { Err(error()) } else { Ok(Some(1)) }
            }
            RequestKind::Confirm => Ok(None),
            RequestKind::Undo if vehicle.has_own() => Ok(Some(2)),
            RequestKind::Undo => Err(error()),
        };
        match (request.kind, &result) {
            (RequestKind::Change, Ok(_)) => {
                vehicle.changes += 1;
                vehicle.wave = request.wave;
                vehicle.is_other = false;
                vehicle.changed.get_or_insert(self.now);
                let behaviour = vehicle.behaviour;
                let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
                if behaviour != Behaviour::NeverSettles {
                    self.later(millis(SETTLES_AFTER), Pending::Status(vin.clone(), id));
                }
                if behaviour == Behaviour::FailsLater {
                    self.later(millis(FAILS_AFTER), Pending::Fails(vin));
                }
            }
            (RequestKind::Confirm, Ok(_)) => vehicle.is_confirmed = true,
            (RequestKind::Undo, Ok(_)) => vehicle.is_undone = true,
            _ => {}
        }
        self.later(100, Pending::Event(Event::Reply { request, result }));
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<Vin, Option<OutcomeKind>> {
        let vehicles = self.rollout.state().vehicles().iter();
        vehicles.map(|vehicle| (vehicle.vin.clone(), vehicle.outcome())).collect()
    }

    pub(crate) fn count(&self, outcome: OutcomeKind) -> usize {
        self.outcomes().values().filter(|it| **it == Some(outcome)).count()
    }
}

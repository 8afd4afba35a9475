//! Drives a roll-out: events of the session, the clock and the operator into the state machine; its
//! lines into the journal; and its actions to the vehicles.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::revision::RollbackMode;
use fleet_contract::rollout::RolloutProgress;
use mqtt_session::{Delivered, Qos, Subscription};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::super::arguments::Lines;
use super::super::call::Answer;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::session::{Session, SessionEvent, subscription};
use super::super::{output, progress};
use super::control::{Control, ControlFile};
use super::gate::Gate;
use super::logs::Logs;
use super::reads::{self, Next, Reads};
use super::shown::ShownWave;
use super::watch::Watch;
use crate::changes::WantedChange;
use crate::journal::Journal;
use crate::presence::vehicle_of;
use crate::report::{next_commands, verdict_lines};
use crate::rollout::{
    Action, Change, Event, ExitCode, READ_TIMEOUT, RequestId, RequestKind, Rollout, Stage, Step,
    VehicleState, Verdict,
};
use crate::{Time, Vin};

/// The interval in which the operator's wishes and the clock are looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long is waited at the end for the logs of failed workloads, and the end of subscriptions.
const END: Duration = Duration::from_secs(5);

/// How a command goes on with a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// From where it is.
    Begin,
    /// The operator goes on after a halt.
    Resume(Option<Time>),
    /// What has failed is attempted again.
    RetryFailed,
    /// What was changed is taken back.
    Undo,
}

/// The subscriptions that a roll-out needs besides statuses and replies.
pub(crate) fn filters(id: &str) -> Vec<Subscription> {
    let streams = ["logs", "events"].map(|kind| format!("vehicle/+/{kind}/{id}"));
    streams
        .into_iter()
        .chain(["vehicle/+/manifest/apply/status".to_owned()])
        .map(|filter| subscription(&filter, Qos::AtLeastOnce, false))
        .collect()
}

/// Drives a roll-out.
pub(crate) struct Driver<'a> {
    session: &'a mut Session,
    rollout: Rollout,
    journal: Journal,
    wanted: WantedChange,
    /// The payload of the plan, shared by all requests.
    payload: Bytes,
    control: ControlFile,
    interrupt: Interrupt,
    is_jsonl: bool,
    reads: Reads,
    logs: Logs,
    /// The vehicles of calls for logs.
    log_calls: BTreeMap<u64, Vin>,
    gate: Option<Gate>,
    watch: Watch,
    /// Requests that the broker has not refused, by token.
    sent: BTreeMap<u64, RequestId>,
    /// The signed request that takes changes back, if there is one.
    signed_undo: Option<Bytes>,
    /// Vehicles that an earlier start of the roll-out has changed, on another machine.
    found: BTreeMap<Vin, VehicleState>,
    verdict: Option<Verdict>,
    shown: ShownWave,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        session: &'a mut Session,
        rollout: Rollout,
        journal: Journal,
        wanted: WantedChange,
        control: ControlFile,
        interrupt: &Interrupt,
        form: Option<Lines>,
    ) -> Self {
        let shown = ShownWave::new(rollout.state());
        let watch = Watch::new(session.id());
        let payload = Bytes::from(rollout.state().plan().payload.clone());
        Self {
            session,
            rollout,
            journal,
            wanted,
            payload,
            control,
            interrupt: interrupt.clone(),
            is_jsonl: form == Some(Lines::Jsonl),
            reads: Reads::default(),
            logs: Logs::default(),
            log_calls: BTreeMap::new(),
            gate: None,
            watch,
            sent: BTreeMap::new(),
            signed_undo: None,
            found: BTreeMap::new(),
            verdict: None,
            shown,
        }
    }

    /// Takes changes back by a signed request.
    pub(crate) fn undo_by(&mut self, signed: Option<Bytes>) {
        self.signed_undo = signed;
    }

    /// Goes on with vehicles that an earlier start of the roll-out has changed.
    pub(crate) fn found(&mut self, states: BTreeMap<Vin, VehicleState>) {
        self.found = states;
    }

    /// Drives the roll-out until nothing more happens by itself, and prints how it has ended.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(crate) async fn run(mut self, start: Start) -> Result<ExitCode, Failure> {
        self.begin(start)?;
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.verdict.is_none() {
            self.shown.show(self.rollout.state());
            self.keep_watching();
            let wait = self.rollout.deadline().map(|deadline| deadline.since(now()));
            tokio::select! {
                event = self.session.next() => self.session_event(event)?,
                result = ended(&mut self.gate) => {
                    let wave = self.gate.take().map_or(0, |gate| gate.wave);
                    self.step(Event::Gate { wave, result })?;
                }
                () = sleep(wait.unwrap_or(INTERVAL)), if wait.is_some() => self.step(Event::Tick)?,
                _ = ticks.tick() => match self.control.take() {
                    Some(Control::Pause) => self.step(Event::Pause)?,
                    Some(Control::Abort) => self.step(Event::Abort)?,
                    // The system clock may have been set, or the machine have slept.
                    None => self.step(Event::Tick)?,
                },
                () = self.interrupt.wait() => self.step(Event::Interrupt)?,
            }
        }
        self.finish().await
    }

    fn begin(&mut self, start: Start) -> Result<(), Failure> {
        self.control.take();
        self.step(Event::Connected)?;
        let vins = self.rollout.state().plan().vehicles.clone();
        for vin in vins {
            let is_online = self.session.presence().is_online(&vin);
            self.step(Event::Presence { vin, is_online })?;
        }
        for (vin, state) in std::mem::take(&mut self.found) {
            self.step(Event::Found { vin, state })?;
        }
        match start {
            Start::Begin => {}
            Start::Resume(until) => self.step(Event::Resume { until })?,
            Start::RetryFailed => self.step(Event::RetryFailed)?,
            Start::Undo => self.step(Event::Undo)?,
        }
        self.step(Event::Begin)
    }

    /// Makes a step: first the journal, then the actions.
    fn step(&mut self, event: Event) -> Result<(), Failure> {
        let Step { journal, actions } = self.rollout.step(event, now());
        self.journal.append(&journal)?;
        if self.is_jsonl {
            journal.iter().try_for_each(output::json_line)?;
        }
        for action in actions {
            self.act(action);
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { request, revision, expires } => self.send(request, revision, expires),
            Action::ReadState { vin } => {
                let token = self.session.call(reads::state_call(&vin, READ_TIMEOUT / 2));
                self.reads.started(token, vin);
            }
            Action::ReadLog { vin, workload } => {
                let call = self.logs.call(&vin, &workload, self.session.id());
                let token = self.session.call(call);
                self.log_calls.insert(token, vin);
            }
            Action::Reconnect => self.session.reconnect(),
            Action::StartGate { wave } => {
                let plan = self.rollout.state().plan();
                let command = plan.options.gate.clone().unwrap_or_default();
                self.gate = Some(Gate::start(&command, &plan.id, wave));
            }
            Action::Report(verdict) => self.verdict = Some(verdict),
        }
    }

    fn send(&mut self, request: RequestId, revision: Option<u64>, expires: Time) {
        let plan = self.rollout.state().plan();
        let mut properties = vec![("request-id".to_owned(), request.to_string())];
        if plan.options.force && request.kind != RequestKind::Confirm {
            properties.push(("force".to_owned(), "true".to_owned()));
        }
        let (operation, payload) = match request.kind {
            RequestKind::Change => {
                if plan.options.rollback != RollbackMode::Off {
                    let mode = plan.options.rollback.name().to_owned();
                    properties.push(("rollback".to_owned(), mode));
                }
                if let Some(release) = &plan.options.release {
                    properties.push(("release".to_owned(), release.clone()));
                }
                let operation = match plan.operation {
                    Change::Apply => Operation::ManifestApply,
                    Change::Delete => Operation::ManifestDelete,
                    Change::Update => Operation::StateUpdate,
                };
                (operation, self.payload.clone())
            }
            RequestKind::Confirm => {
                let payload = json!({"revision": revision}).to_string();
                (Operation::ManifestConfirm, payload.into())
            }
            RequestKind::Undo => {
                let unsigned = || json!({"rollout": plan.id}).to_string().into();
                let payload = self.signed_undo.clone().unwrap_or_else(unsigned);
                (Operation::ManifestRollback, payload)
            }
        };
        let expires_in = expires.since(now());
        let token = self.session.send(&request.vin, operation, payload, properties, expires_in);
        self.sent.insert(token, request);
    }

    fn session_event(&mut self, event: SessionEvent) -> Result<(), Failure> {
        match event {
            SessionEvent::Connected => {
                self.watch.connected();
                self.step(Event::Connected)
            }
            SessionEvent::Disconnected => self.step(Event::Disconnected),
            SessionEvent::Presence(vin, is_online) => {
                if is_online {
                    self.watch.online(&vin);
                }
                self.step(Event::Presence { vin, is_online })
            }
            SessionEvent::Answered(token, answer) => self.answered(token, answer),
            SessionEvent::Refused(token, reason) => match self.sent.remove(&token) {
                Some(request) => {
                    let error = ErrorReply::new(ErrorCode::AccessDenied, reason);
                    self.step(Event::Reply { request, result: Err(error) })
                }
                None => Ok(()),
            },
            SessionEvent::Message(message) => self.message(&message),
            SessionEvent::Accepted(_) | SessionEvent::Nothing => Ok(()),
        }
    }

    fn answered(&mut self, token: u64, answer: Answer) -> Result<(), Failure> {
        if let Some(vin) = self.log_calls.remove(&token) {
            if !matches!(answer, Answer::Reply(_)) {
                self.logs.failed(&vin);
            }
            return Ok(());
        }
        if let Some(failures) = self.watch.answered(token, &answer) {
            return failures.into_iter().try_for_each(|failure| self.step(failure));
        }
        let id = self.rollout.state().plan().id.clone();
        match self.reads.answered(token, answer, &self.wanted, &id) {
            Next::History(vin, observed) => {
                let token = self.session.call(reads::history_call(&vin, READ_TIMEOUT / 2));
                self.reads.goes_on(token, vin, observed);
                Ok(())
            }
            Next::Event(event) => self.step(event),
            Next::NotARead | Next::Nothing => Ok(()),
        }
    }

    fn message(&mut self, message: &Delivered) -> Result<(), Failure> {
        let Some((vin, path)) = vehicle_of(&message.topic) else { return Ok(()) };
        if path == "manifest/apply/status" {
            let progress = serde_json::from_slice::<RolloutProgress>(&message.payload);
            return match progress {
                Ok(progress) => self.step(Event::Status { vin, progress }),
                Err(_) => Ok(()),
            };
        }
        if path.starts_with("logs/") {
            return match self.logs.message(&vin, &message.payload) {
                Some(event) => self.step(event),
                None => Ok(()),
            };
        }
        if path.starts_with("events/") {
            let failures = self.watch.message(&vin, path, &message.payload);
            return failures.into_iter().try_for_each(|failure| self.step(failure));
        }
        let request = message.user_property("request-id").and_then(RequestId::parse);
        match request.filter(|request| request.vin == vin && path.starts_with("reply/")) {
            Some(request) => {
                let result = result(&message.payload);
                self.step(Event::Reply { request, result })
            }
            None => Ok(()),
        }
    }

    /// Watches the vehicles of a wave in its soak time.
    fn keep_watching(&mut self) {
        let state = self.rollout.state();
        match state.stage() {
            Stage::Soaking { until } if state.halt().is_none() => {
                if self.watch.until() != Some(until) {
                    let vehicles = state.vehicles().iter().filter(|vehicle| vehicle.is_soaking());
                    let vins = vehicles.map(|vehicle| vehicle.vin.clone());
                    self.watch.begin(until, self.wanted.workloads(), vins, until.since(now()));
                }
            }
            _ => self.watch.end(),
        }
        for call in self.watch.due(state.plan().options.parallel) {
            let vin = call.vin.clone();
            let token = self.session.call(call);
            self.watch.started(token, &vin);
        }
    }

    async fn finish(mut self) -> Result<ExitCode, Failure> {
        self.keep_watching();
        let until = Instant::now() + END;
        let is_busy = |it: &Self| it.logs.is_reading() || it.watch.is_ending();
        if self.verdict == Some(Verdict::Interrupted) {
            let parallel = self.rollout.state().plan().options.parallel;
            self.session.send_all(self.watch.last(), parallel).await;
        }
        while is_busy(&self) && self.verdict != Some(Verdict::Interrupted) {
            self.keep_watching();
            tokio::select! {
                event = self.session.next() => self.session_event(event)?,
                () = tokio::time::sleep_until(until) => break,
                () = self.interrupt.wait() => break,
            }
        }
        let state = self.rollout.state();
        self.shown.finish(state);
        let next = next_commands(state);
        if self.verdict == Some(Verdict::Interrupted) {
            progress::note(&format!(
                "interrupted; {} in flight go on by themselves",
                state.in_flight()
            ));
            next.iter().for_each(|line| progress::note(line));
            return Err(Failure::Interrupted);
        }
        if !self.is_jsonl {
            verdict_lines(state).iter().try_for_each(|line| output::line(line))?;
        }
        next.iter().for_each(|line| progress::note(line));
        Ok(self.rollout.exit_code())
    }
}

fn now() -> Time {
    SystemTime::now().into()
}

async fn ended(gate: &mut Option<Gate>) -> Result<(), String> {
    match gate {
        Some(gate) => gate.ended().await,
        None => std::future::pending().await,
    }
}

/// What a reply says: the revision, or the error.
fn result(payload: &[u8]) -> Result<Option<u64>, ErrorReply> {
    if let Some(error) = ErrorReply::from_payload(payload) {
        return Err(error);
    }
    match serde_json::from_slice::<Value>(payload) {
        Ok(reply) => Ok(reply.get("revision").and_then(Value::as_u64)),
        Err(error) => {
            let message = format!("the reply of the vehicle cannot be read: {error}");
            Err(ErrorReply::new(ErrorCode::Internal, message))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_a_revision_or_an_error() {
        assert_eq!(result(br#"{"added_workloads": [], "revision": 7}"#), Ok(Some(7)));
        assert_eq!(result(br#"{"added_workloads": []}"#), Ok(None));
        let error = result(br#"{"error": {"code": "forbidden", "message": "no"}}"#).unwrap_err();
        assert_eq!(error.code, ErrorCode::Forbidden);
        assert_eq!(result(b"?").unwrap_err().code, ErrorCode::Internal);
    }
}

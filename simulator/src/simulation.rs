//! One simulated Ankaios without its FIFOs: what reaches it, what it answers,
//! and in which order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fleet_connector::proto::ank_base::{
    ControlInterfaceAccess, Request, Response, request::RequestContent,
};
use tokio::sync::{Notify, watch};

use crate::access;
use crate::faults::{Fault, Faults};
use crate::logs;
use crate::record::{Counters, Problem, Record};
use crate::vehicle::{self, Answer, Vehicle};

/// Responses that wait for the workload to read before log entries and requests
/// have to wait too.
pub(crate) const OUTBOX: usize = 1024;

/// Everything behind the session, shared by the agent and the handle.
pub(crate) struct Simulation {
    pub(crate) vehicle: Vehicle,
    pub(crate) access: ControlInterfaceAccess,
    pub(crate) faults: Faults,
    pub(crate) record: Record,
    /// What the workload is to receive, in order.
    pub(crate) outbox: VecDeque<Response>,
    delayed: BTreeMap<(Instant, u64), Response>,
    count: u64,
}

impl Simulation {
    pub(crate) fn new(vehicle: Vehicle, access: ControlInterfaceAccess) -> Self {
        Self {
            vehicle,
            access,
            faults: Faults::default(),
            record: Record::default(),
            outbox: VecDeque::new(),
            delayed: BTreeMap::new(),
            count: 0,
        }
    }

    /// Takes a request of the workload on.
    pub(crate) fn request(&mut self, request: Request, now: Instant) {
        self.record.request(&request);
        self.advance(now);
        if !access::allows(&self.access, &request) {
            self.outbox.push_back(vehicle::error(request.request_id, "Access denied").answer);
            return;
        }
        if self.faults.server_down {
            return;
        }
        if let Some(RequestContent::UpdateStateRequest(update)) = &request.request_content
            && update.new_state.is_none()
        {
            let request_id = request.request_id;
            return self.problem(Problem::UpdateWithoutState { request_id });
        }
        let fault = self.faults.fault_for(&request);
        if fault == Some(Fault::LoseRequest) {
            return;
        }
        let cancelled =
            matches!(request.request_content, Some(RequestContent::LogsCancelRequest(_)));
        let late = if cancelled { self.late_entries(&request.request_id) } else { Vec::new() };

        let Answer { before, mut answer, after } = self.vehicle.request(request, now);
        self.outbox.extend(before);
        match fault {
            None => self.outbox.push_back(answer),
            Some(Fault::LoseRequest | Fault::LoseAnswer) => {}
            Some(Fault::DelayAnswer(delay)) => {
                self.count += 1;
                self.delayed.insert((now + delay, self.count), answer);
            }
            Some(Fault::AnswerAs(id)) => {
                answer.request_id = id;
                self.outbox.push_back(answer);
            }
            Some(Fault::RepeatAnswer(times)) => {
                self.outbox.extend(std::iter::repeat_n(answer, times.saturating_add(1)));
            }
        }
        self.outbox.extend(after);
        self.outbox.extend(late);
    }

    /// Entries that still follow when a log stream has been cancelled.
    fn late_entries(&self, request_id: &str) -> Vec<Response> {
        let followed = self.vehicle.followed(request_id);
        let Some(name) = followed.first() else {
            return Vec::new();
        };
        let late = logs::entries(request_id, name, &["a late line"]);
        vec![late; self.faults.entries_after_cancel]
    }

    /// Lets everything happen that is due.
    pub(crate) fn advance(&mut self, now: Instant) {
        let responses = self.vehicle.advance(now);
        self.outbox.extend(responses);
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            self.outbox.push_back(entry.remove());
        }
    }

    /// When something happens next by itself.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let delayed = self.delayed.keys().next().map(|(due, _)| *due);
        self.vehicle.next_due().into_iter().chain(delayed).min()
    }

    /// Ends what belongs to the session of the workload.
    pub(crate) fn end_session(&mut self) {
        self.vehicle.end_session();
        self.outbox.clear();
        self.delayed.clear();
    }

    /// Notes down a problem.
    pub(crate) fn problem(&mut self, problem: Problem) {
        self.record.problem(problem);
    }
}

/// The simulation and the signals around it.
pub(crate) struct Shared {
    simulation: Mutex<Simulation>,
    /// The agent has something new to deliver or to heed.
    pub(crate) wake: Notify,
    /// The outbox has room again.
    pub(crate) room: Notify,
    counters: watch::Sender<Counters>,
}

impl Shared {
    pub(crate) fn new(simulation: Simulation) -> Arc<Self> {
        Arc::new(Self {
            simulation: Mutex::new(simulation),
            wake: Notify::new(),
            room: Notify::new(),
            counters: watch::Sender::new(Counters::default()),
        })
    }

    /// The simulation; it stays usable when a test has panicked with it in hand.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Simulation> {
        self.simulation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the simulation and lets the agent deliver what comes of it.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut Simulation) -> T) -> T {
        let result = work(&mut self.lock());
        self.wake.notify_one();
        result
    }

    /// Tells those who wait for the counters.
    pub(crate) fn publish(&self, counters: Counters) {
        self.counters.send_if_modified(|known| {
            let changed = *known != counters;
            *known = counters;
            changed
        });
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Counters> {
        self.counters.subscribe()
    }
}

//! The simulated Ankaios without its FIFOs: takes requests, applies access rules and faults, and
//! orders the responses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ankaios_model::proto::ank_base::{
    ControlInterfaceAccess, Request, Response, request::RequestContent,
};
use prost::Message;
use tokio::sync::{Notify, watch};

use crate::access;
use crate::faults::{Fault, Faults};
use crate::logs;
use crate::observations::{Counters, Observations, Problem};
use crate::requests::{self, Served};
use crate::server::SimulatedServer;

/// While this many responses are queued, the simulation takes neither requests nor log lines.
pub(crate) const OUTBOX_LIMIT: usize = 1024;

/// The simulated Ankaios without its FIFOs.
pub(crate) struct Simulation {
    pub(crate) server: SimulatedServer,
    /// The access rules of the workload.
    pub(crate) access: ControlInterfaceAccess,
    pub(crate) faults: Faults,
    pub(crate) observations: Observations,
    /// Responses that the workload has not received, in order.
    pub(crate) outbox: VecDeque<Response>,
    /// Answers that a fault delays, by the time when they are due.
    delayed: BTreeMap<(Instant, u64), Response>,
    /// Keeps delayed answers that are due at the same time in the order of their requests.
    delayed_count: u64,
}

impl Simulation {
    pub(crate) fn new(server: SimulatedServer, access: ControlInterfaceAccess) -> Self {
        Self {
            server,
            access,
            faults: Faults::default(),
            observations: Observations::default(),
            outbox: VecDeque::new(),
            delayed: BTreeMap::new(),
            delayed_count: 0,
        }
    }

    /// Takes a request of the workload.
    pub(crate) fn request(&mut self, request: Request, now: Instant) {
        self.observations.request(&request);
        self.advance(now);
        if !access::allows(&self.access, &request) {
            let denied = Some(requests::error("Access denied"));
            let request_id = request.request_id;
            self.outbox.push_back(Response { request_id, response_content: denied });
            return;
        }
        if self.faults.server_down {
            return;
        }
        if let Some(RequestContent::UpdateStateRequest(update)) = &request.request_content
            && update.new_state.is_none()
        {
            let request_id = request.request_id;
            return self.observations.problem(Problem::UpdateWithoutState { request_id });
        }
        let fault = self.faults.fault_for(&request);
        if fault == Some(Fault::LoseRequest) {
            return;
        }
        let late = match request.request_content {
            Some(RequestContent::LogsCancelRequest(_)) => self.late_entries(&request.request_id),
            _ => Vec::new(),
        };

        let Served { before, mut answer, after } = requests::serve(&mut self.server, request, now);
        self.outbox.extend(before);
        if self.faults.max_message.is_some_and(|max| answer.encoded_len() > max) {
            return self.break_connection();
        }
        match fault {
            None => self.outbox.push_back(answer),
            Some(Fault::LoseRequest | Fault::LoseAnswer) => {}
            Some(Fault::DelayAnswer(delay)) => {
                self.delayed_count += 1;
                self.delayed.insert((now + delay, self.delayed_count), answer);
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

    /// The entries that a fault sends after a log stream was cancelled.
    fn late_entries(&self, request_id: &str) -> Vec<Response> {
        let followed = self.server.followed(request_id);
        let Some(name) = followed.first() else {
            return Vec::new();
        };
        let late = logs::entries(request_id, name, &["a late line"]);
        vec![late; self.faults.entries_after_cancel]
    }

    /// Carries out all that is due.
    pub(crate) fn advance(&mut self, now: Instant) {
        let responses = self.server.advance(now);
        self.outbox.extend(responses);
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            self.outbox.push_back(entry.remove());
        }
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let delayed = self.delayed.keys().next().map(|(due, _)| *due);
        self.server.next_due().into_iter().chain(delayed).min()
    }

    /// Starts the server anew with its startup manifest.
    pub(crate) fn restart_server(&mut self, now: Instant) {
        self.end_session();
        self.faults.server_down = false;
        self.server.restart(now);
    }

    /// Breaks the connection of the agent to its server, which the agent opens again. What the
    /// server has sent meanwhile, and all subscriptions, are lost; the session of the workload goes
    /// on.
    fn break_connection(&mut self) {
        self.observations.counters.broken_connections += 1;
        self.server.end_session();
        self.delayed.clear();
    }

    /// Ends the session of the workload.
    pub(crate) fn end_session(&mut self) {
        self.server.end_session();
        self.outbox.clear();
        self.delayed.clear();
    }
}

/// The simulation, shared by the agent and the handle.
///
/// It is behind a lock because the methods of the handle do not wait for the agent.
pub(crate) struct SharedSimulation {
    simulation: Mutex<Simulation>,
    /// Wakes the agent after a change.
    pub(crate) wake: Notify,
    /// Wakes log writers after responses were sent.
    pub(crate) room: Notify,
    counters: watch::Sender<Counters>,
}

impl SharedSimulation {
    pub(crate) fn new(simulation: Simulation) -> Arc<Self> {
        Arc::new(Self {
            simulation: Mutex::new(simulation),
            wake: Notify::new(),
            room: Notify::new(),
            counters: watch::Sender::new(Counters::default()),
        })
    }

    /// Locks the simulation. A panic of a test while it holds the lock does no harm.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Simulation> {
        self.simulation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the simulation and wakes the agent, which sends the responses.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Simulation) -> T) -> T {
        let result = change(&mut self.lock());
        self.wake.notify_one();
        result
    }

    /// Publishes the counters to those who watch them.
    pub(crate) fn publish(&self, counters: Counters) {
        self.counters.send_if_modified(|known| {
            let changed = *known != counters;
            *known = counters;
            changed
        });
    }

    /// Watches the counters.
    pub(crate) fn watch(&self) -> watch::Receiver<Counters> {
        self.counters.subscribe()
    }
}

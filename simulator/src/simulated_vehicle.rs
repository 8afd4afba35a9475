//! The handle by which tests, benchmarks and the demo hold a simulated vehicle.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fleet_connector::proto::ank_base::{
    AgentAttributes, AgentStatus, CompleteState, ControlInterfaceAccess, ExecutionState, Request,
    State,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::agent::{Agent, Command, Order};
use crate::faults::{Fault, ReadPace};
use crate::fifos::Fifos;
use crate::instance::InstanceName;
use crate::options::Options;
use crate::record::{Counters, Problem};
use crate::simulation::{OUTBOX, Shared, Simulation};
use crate::vehicle::Vehicle;

/// What a test waited for has not come.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:?} in vain; so far {seen:?}")]
pub struct NotYet {
    waited: Duration,
    seen: Counters,
}

/// The simulated vehicle does not know such a workload.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the desired state holds no workload `{0}`")]
pub struct UnknownWorkload(String);

/// A running simulated vehicle. Dropping it stops it; the FIFOs stay.
pub struct SimulatedVehicle {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Drop for SimulatedVehicle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SimulatedVehicle {
    /// Starts a vehicle whose control interface is the folder `dir`.
    ///
    /// # Errors
    /// The FIFOs can't be made.
    pub async fn start(dir: &Path, options: Options) -> io::Result<Self> {
        let mut vehicle = Vehicle::new(options.timing.clone(), options.effective_state);
        vehicle.set_state(options.initial_state());
        let simulation = Simulation::new(vehicle, options.access);
        let shared = Shared::new(simulation);
        let (orders, receiver) = mpsc::channel(16);
        let agent = Agent::new(Fifos::in_folder(dir), Arc::clone(&shared), receiver);
        let simulated = Self { shared, orders, task: tokio::spawn(agent.run()) };
        if options.create_fifos {
            simulated.start_agent().await?;
        }
        Ok(simulated)
    }

    async fn order(&self, command: Command) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        let gone = || io::Error::other("the simulated agent has stopped");
        self.orders.send((command, done)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    // ------------------------------------------------- agent, server, session

    /// Makes the FIFOs where they are missing and begins a session on them: the
    /// first start of an agent, its restart, or Ankaios making the workload anew.
    ///
    /// # Errors
    /// The FIFOs can't be made or opened.
    pub async fn start_agent(&self) -> io::Result<()> {
        self.order(Command::Start).await
    }

    /// Ends the agent. The workload sees the end of `input` and a broken
    /// `output`; the files stay.
    ///
    /// # Errors
    /// The simulated vehicle has stopped.
    pub async fn kill_agent(&self) -> io::Result<()> {
        self.order(Command::Kill).await
    }

    /// Ends the agent and starts another after a pause. It needs a new Hello.
    ///
    /// # Errors
    /// The FIFOs can't be made or opened.
    pub async fn restart_agent(&self, pause: Duration) -> io::Result<()> {
        self.kill_agent().await?;
        sleep(pause).await;
        self.start_agent().await
    }

    /// The server takes requests and answers none, until it is up again.
    pub fn set_server_down(&self, down: bool) {
        self.shared.change(|simulation| simulation.faults.server_down = down);
    }

    /// Restarts the server, with what follows at the agent: the session is
    /// swapped for a new one on the same open FIFOs, which shows nowhere, and
    /// then the FIFOs and their folder are unlinked. The next restart has no
    /// path to go by and leaves broken FIFOs.
    ///
    /// # Errors
    /// The FIFOs can't be unlinked.
    pub async fn restart_server(&self) -> io::Result<()> {
        self.set_server_down(false);
        if self.swap_session().await.is_err() {
            return self.kill_agent().await;
        }
        self.unlink_fifos().await
    }

    /// The first half of a server restart: a new session on the same FIFOs.
    ///
    /// # Errors
    /// The FIFOs are no longer there. The old session is over all the same.
    pub async fn swap_session(&self) -> io::Result<()> {
        self.order(Command::Swap).await
    }

    /// The second half of a server restart: the FIFOs and their folder go.
    ///
    /// # Errors
    /// They can't be unlinked.
    pub async fn unlink_fifos(&self) -> io::Result<()> {
        self.order(Command::Unlink).await
    }

    /// Ends the session with `ConnectionClosed`. It never answers again; a new
    /// one begins with [`start_agent`](Self::start_agent).
    ///
    /// # Errors
    /// The simulated vehicle has stopped.
    pub async fn close_session(&self, reason: &str) -> io::Result<()> {
        self.order(Command::Close(reason.to_owned())).await
    }

    /// Writes bytes to `input` as they are: garbage, half a frame, a length that
    /// no message has.
    ///
    /// # Errors
    /// Nobody reads `input`.
    pub async fn inject(&self, bytes: &[u8]) -> io::Result<()> {
        self.order(Command::Inject(Bytes::copy_from_slice(bytes))).await
    }

    // ----------------------------------------------------------------- faults

    /// The next `times` requests that match meet with a fault.
    pub fn inject_fault(
        &self,
        times: usize,
        fault: Fault,
        matches: impl FnMut(&Request) -> bool + Send + 'static,
    ) {
        self.shared.change(|simulation| simulation.faults.add(times, fault, matches));
    }

    /// The next `times` requests of any kind are never answered.
    pub fn drop_requests(&self, times: usize) {
        self.inject_fault(times, Fault::LoseRequest, |_| true);
    }

    /// Ends all faults that [`inject_fault`](Self::inject_fault) has begun.
    pub fn clear_faults(&self) {
        self.shared.change(|simulation| simulation.faults.clear());
    }

    /// How fast the agent reads `output`.
    pub fn set_read_pace(&self, pace: ReadPace) {
        self.shared.change(|simulation| simulation.faults.pace = pace);
    }

    /// Whether the agent loses the frame it is reading when it has a reply to
    /// deliver, as real agents do.
    pub fn set_lose_half_read_frames(&self, lose: bool) {
        self.shared.change(|simulation| simulation.faults.lose_half_read_frames = lose);
    }

    /// How many entries still follow after a log stream has been cancelled.
    pub fn set_entries_after_cancel(&self, count: usize) {
        self.shared.change(|simulation| simulation.faults.entries_after_cancel = count);
    }

    /// The access rules of the workload from now on.
    pub fn set_access(&self, access: ControlInterfaceAccess) {
        self.shared.change(|simulation| simulation.access = access);
    }

    // ------------------------------------------------------------------ state

    /// The whole state of the vehicle.
    pub fn state(&self) -> CompleteState {
        self.shared.lock().vehicle.complete_state()
    }

    /// The desired state of the vehicle.
    pub fn desired_state(&self) -> State {
        self.state().desired_state.unwrap_or_default()
    }

    /// Replaces the whole state as it is, however large; nothing is started,
    /// stopped or reported.
    pub fn set_state(&self, state: CompleteState) {
        self.shared.change(|simulation| simulation.vehicle.set_state(state));
    }

    /// The instance of a workload that the desired state asks for.
    pub fn instance(&self, workload: &str) -> Option<InstanceName> {
        self.shared.lock().vehicle.instance(workload)
    }

    /// The execution state of a workload's instance.
    pub fn execution_state(&self, instance: &InstanceName) -> Option<ExecutionState> {
        self.shared.lock().vehicle.execution_state(instance)
    }

    /// Puts an instance into any execution state and reports it.
    pub fn set_execution_state(&self, instance: &InstanceName, state: ExecutionState) {
        self.shared.change(|simulation| {
            let now = Instant::now();
            let events = simulation.vehicle.set_execution_state(instance, state, now);
            simulation.outbox.extend(events);
        });
    }

    /// Lets a workload fail with exit code 1. Its restart policy decides what
    /// follows.
    ///
    /// # Errors
    /// There is no such workload.
    pub fn crash(&self, workload: &str) -> Result<(), UnknownWorkload> {
        self.end_workload(workload, 1)
    }

    /// Lets a workload end with exit code 0. Its restart policy decides what
    /// follows.
    ///
    /// # Errors
    /// There is no such workload.
    pub fn finish(&self, workload: &str) -> Result<(), UnknownWorkload> {
        self.end_workload(workload, 0)
    }

    fn end_workload(&self, workload: &str, exit_code: i32) -> Result<(), UnknownWorkload> {
        self.shared.change(|simulation| {
            let events = simulation
                .vehicle
                .end_workload(workload, exit_code, Instant::now())
                .ok_or_else(|| UnknownWorkload(workload.to_owned()))?;
            simulation.outbox.extend(events);
            Ok(())
        })
    }

    /// Adds an agent, or puts its load and tags anew. Its workloads start.
    pub fn connect_agent(&self, agent: &str, attributes: AgentAttributes) {
        self.shared.change(|simulation| {
            let events = simulation.vehicle.connect_agent(agent, attributes, Instant::now());
            simulation.outbox.extend(events);
        });
    }

    /// Reports the load of an agent; one that is not connected has none.
    pub fn set_agent_load(&self, agent: &str, status: AgentStatus) {
        self.shared.change(|simulation| {
            let events = simulation.vehicle.set_agent_load(agent, status);
            simulation.outbox.extend(events);
        });
    }

    /// Takes an agent away; its workloads are `AGENT_DISCONNECTED`.
    pub fn disconnect_agent(&self, agent: &str) {
        self.shared.change(|simulation| {
            let events = simulation.vehicle.disconnect_agent(agent);
            simulation.outbox.extend(events);
        });
    }

    // ------------------------------------------------------------------- logs

    /// Writes lines to the log of a workload, stamped with the present time.
    /// Waits while the workload behind the control interface reads too slowly.
    ///
    /// # Errors
    /// There is no such workload.
    pub async fn log<T: Into<String>>(
        &self,
        workload: &str,
        lines: impl IntoIterator<Item = T>,
    ) -> Result<(), UnknownWorkload> {
        self.log_at(workload, lines, SystemTime::now()).await
    }

    /// The same for lines written at another time.
    ///
    /// # Errors
    /// There is no such workload.
    pub async fn log_at<T: Into<String>>(
        &self,
        workload: &str,
        lines: impl IntoIterator<Item = T>,
        written: SystemTime,
    ) -> Result<(), UnknownWorkload> {
        let lines = lines.into_iter().map(Into::into).collect();
        loop {
            let room = self.shared.room.notified();
            if self.shared.lock().outbox.len() < OUTBOX {
                break;
            }
            room.await;
        }
        self.shared.change(|simulation| {
            let entries = simulation
                .vehicle
                .write_log(workload, lines, written)
                .ok_or_else(|| UnknownWorkload(workload.to_owned()))?;
            simulation.outbox.extend(entries);
            Ok(())
        })
    }

    // ----------------------------------------------------------- what arrived

    /// The last requests that reached Ankaios, oldest first, at most 10,000 and
    /// 64 MiB; the dropped and denied ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().record.requests.iter().cloned().collect()
    }

    /// The last problems, oldest first, at most 10,000.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared.lock().record.problems.iter().cloned().collect()
    }

    /// How much has arrived since the start.
    pub fn counters(&self) -> Counters {
        self.shared.lock().record.counters
    }

    /// Hellos since the start, the silent ones included.
    pub fn hello_count(&self) -> u64 {
        self.counters().hellos
    }

    /// Requests since the start.
    pub fn request_count(&self) -> u64 {
        self.counters().requests
    }

    /// The request ids of the live subscriptions, under `events` and `logs`.
    pub fn streams(&self) -> BTreeMap<&'static str, Vec<String>> {
        self.shared.lock().vehicle.streams()
    }

    /// Forgets the requests and problems so far. The counters go on.
    pub fn forget_requests(&self) {
        self.shared.lock().record.forget();
    }

    /// Waits until the counters fulfil a condition.
    ///
    /// # Errors
    /// They do not within `limit`.
    pub async fn wait_for(
        &self,
        limit: Duration,
        condition: impl FnMut(&Counters) -> bool,
    ) -> Result<Counters, NotYet> {
        let mut counters = self.shared.watch();
        let outcome = timeout(limit, counters.wait_for(condition)).await;
        match outcome {
            Ok(Ok(counters)) => Ok(*counters),
            Ok(Err(_)) | Err(_) => Err(NotYet { waited: limit, seen: self.counters() }),
        }
    }

    /// Waits until so many requests have arrived since the start.
    ///
    /// # Errors
    /// They have not within `limit`.
    pub async fn wait_for_requests(&self, count: u64, limit: Duration) -> Result<(), NotYet> {
        self.wait_for(limit, |counters| counters.requests >= count).await.map(|_| ())
    }

    /// Waits until so many Hellos have arrived since the start.
    ///
    /// # Errors
    /// They have not within `limit`.
    pub async fn wait_for_hellos(&self, count: u64, limit: Duration) -> Result<(), NotYet> {
        self.wait_for(limit, |counters| counters.hellos >= count).await.map(|_| ())
    }
}

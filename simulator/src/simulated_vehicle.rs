//! The handle with which tests, benchmarks and the demo control a simulated vehicle.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::{
    AgentAttributes, AgentStatus, CompleteState, ControlInterfaceAccess, ExecutionState, Request,
    State,
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::agent::{AgentCommand, QueuedCommand, SimulatedAgent};
use crate::faults::{Fault, ReadPace, WriteLimit};
use crate::fifos::Fifos;
use crate::observations::{Counters, Problem};
use crate::options::VehicleOptions;
use crate::server::SimulatedServer;
use crate::simulation::{OUTBOX_LIMIT, SharedSimulation, Simulation};

/// A test has waited too long for the counters to meet its condition.
#[derive(Debug, thiserror::Error)]
#[error("the condition is not met after {limit:?}: {counters:?}")]
pub struct WaitTimeout {
    limit: Duration,
    counters: Counters,
}

/// `ank-server` would not start with this manifest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the server refuses the startup manifest: {0}")]
pub struct InvalidStartupManifest(String);

/// The desired state has no such workload.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the desired state has no workload `{0}`")]
pub struct UnknownWorkload(String);

/// A running simulated vehicle. It stops when it is dropped, and leaves the FIFOs in place.
pub struct SimulatedVehicle {
    shared: Arc<SharedSimulation>,
    commands: mpsc::Sender<QueuedCommand>,
    task: JoinHandle<()>,
}

impl Drop for SimulatedVehicle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SimulatedVehicle {
    /// Starts a vehicle with the FIFOs of its control interface in the folder `dir`.
    ///
    /// # Errors
    /// The FIFOs cannot be created.
    pub async fn start(dir: &Path, options: VehicleOptions) -> io::Result<Self> {
        let mut server = SimulatedServer::new(options.timing.clone(), options.effective_state);
        let state = options.initial_state();
        server
            .set_startup_manifest(state.desired_state.clone().unwrap_or_default())
            .map_err(io::Error::other)?;
        server.set_state(state);
        let simulation = Simulation::new(server, options.access);
        let shared = SharedSimulation::new(simulation);
        let (commands, receiver) = mpsc::channel(16);
        let agent = SimulatedAgent::new(Fifos::in_folder(dir), Arc::clone(&shared), receiver);
        let simulated = Self { shared, commands, task: tokio::spawn(agent.run()) };
        if options.create_fifos {
            simulated.start_agent().await?;
        }
        Ok(simulated)
    }

    async fn execute(&self, command: AgentCommand) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        let stopped = || io::Error::other("the simulated agent has stopped");
        self.commands.send((command, done)).await.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }

    // ------------------------------------------------- agent, server, session

    /// Creates the FIFOs unless they exist, and starts a session on them. A real agent does so when
    /// it starts, restarts, or creates the workload again.
    ///
    /// # Errors
    /// The FIFOs cannot be created or opened.
    pub async fn start_agent(&self) -> io::Result<()> {
        self.execute(AgentCommand::Start).await
    }

    /// Stops the agent. The workload reads the end of `input` and cannot write to `output`. The
    /// files of the FIFOs stay.
    ///
    /// # Errors
    /// The simulated vehicle has stopped.
    pub async fn kill_agent(&self) -> io::Result<()> {
        self.execute(AgentCommand::Kill).await
    }

    /// Stops the agent and starts another one after a pause. The new session needs a Hello.
    ///
    /// # Errors
    /// The FIFOs cannot be created or opened.
    pub async fn restart_agent(&self, pause: Duration) -> io::Result<()> {
        self.kill_agent().await?;
        sleep(pause).await;
        self.start_agent().await
    }

    /// Sets whether the server is down. Then it accepts requests and answers none.
    pub fn set_server_down(&self, down: bool) {
        self.shared.change(|simulation| simulation.faults.server_down = down);
    }

    /// Sets what the server has after its next restarts, as if the software of the vehicle was
    /// updated. At first, it is the desired state with which the vehicle was started.
    ///
    /// # Errors
    /// The server would not start with this manifest. The former one stays.
    pub fn set_startup_manifest(&self, manifest: State) -> Result<(), InvalidStartupManifest> {
        self.shared.lock().server.set_startup_manifest(manifest).map_err(InvalidStartupManifest)
    }

    /// What the server has after a restart.
    pub fn startup_manifest(&self) -> State {
        self.shared.lock().server.startup_manifest().clone()
    }

    /// Restarts the server. As a real one, it keeps nothing: it starts with its
    /// [startup manifest](Self::startup_manifest) alone. The agents keep the workloads that run
    /// and are in it, and remove others.
    ///
    /// The agent replaces the session by a new one on the same open FIFOs, which the workload
    /// cannot notice, and then unlinks the FIFOs and their folder. The next restart finds no files
    /// and leaves broken FIFOs.
    ///
    /// # Errors
    /// The FIFOs cannot be unlinked.
    pub async fn restart_server(&self) -> io::Result<()> {
        self.execute(AgentCommand::RestartServer).await
    }

    /// The first half of a server restart: a new session on the same FIFOs.
    ///
    /// # Errors
    /// The files of the FIFOs do not exist. The old session ends nevertheless.
    pub async fn swap_session(&self) -> io::Result<()> {
        self.execute(AgentCommand::Swap).await
    }

    /// The second half of a server restart: unlinks the FIFOs and their folder.
    ///
    /// # Errors
    /// They cannot be unlinked.
    pub async fn unlink_fifos(&self) -> io::Result<()> {
        self.execute(AgentCommand::Unlink).await
    }

    /// Closes the session with `ConnectionClosed`. [`start_agent`](Self::start_agent) starts a new
    /// one.
    ///
    /// # Errors
    /// The simulated vehicle has stopped.
    pub async fn close_session(&self, reason: &str) -> io::Result<()> {
        self.execute(AgentCommand::Close(reason.to_owned())).await
    }

    /// Writes bytes to `input`, such as garbage, a part of a frame or an invalid length.
    ///
    /// # Errors
    /// The workload does not read `input`.
    pub async fn inject(&self, bytes: &[u8]) -> io::Result<()> {
        self.execute(AgentCommand::Inject(Bytes::copy_from_slice(bytes))).await
    }

    // ----------------------------------------------------------------- faults

    /// Causes a fault for the next `times` requests that match.
    pub fn inject_fault(
        &self,
        times: usize,
        fault: Fault,
        matches: impl FnMut(&Request) -> bool + Send + 'static,
    ) {
        self.shared.change(|simulation| simulation.faults.add(times, fault, matches));
    }

    /// Drops the next `times` requests of any kind.
    pub fn drop_requests(&self, times: usize) {
        self.inject_fault(times, Fault::LoseRequest, |_| true);
    }

    /// Removes all faults of [`inject_fault`](Self::inject_fault).
    pub fn clear_faults(&self) {
        self.shared.change(|simulation| simulation.faults.clear());
    }

    /// Sets how fast the agent reads `output`.
    pub fn set_read_pace(&self, pace: ReadPace) {
        self.shared.change(|simulation| simulation.faults.pace = pace);
    }

    /// Sets the largest message between the server and the agent, in bytes; real ones have 4 MiB. A
    /// larger answer breaks their connection. Without this there is no limit.
    pub fn set_max_message(&self, max: usize) {
        self.shared.change(|simulation| simulation.faults.max_message = Some(max));
    }

    /// Sets whether the agent drops a partially read frame when it has a response to send, as real
    /// agents do.
    pub fn set_lose_half_read_frames(&self, lose: bool) {
        self.shared.change(|simulation| simulation.faults.lose_half_read_frames = lose);
    }

    /// Sets how long the agent tries to write a frame to a workload that does not read. It is 500 ms
    /// in real agents, and at first. A test in which a busy machine must not count as a slow reader
    /// sets more.
    pub fn set_write_limit(&self, limit: Duration) {
        self.shared.change(|simulation| simulation.faults.write_limit = WriteLimit(limit));
    }

    /// Sets how many log entries are sent after a log stream was cancelled.
    pub fn set_entries_after_cancel(&self, count: usize) {
        self.shared.change(|simulation| simulation.faults.entries_after_cancel = count);
    }

    /// Sets why the runtimes start no container, such as a full disk. The agents retry each start
    /// until there is no error.
    pub fn set_runtime_error(&self, error: Option<&str>) {
        let error = error.map(str::to_owned);
        self.shared.change(|simulation| simulation.server.runtime_error = error);
    }

    /// Sets the access rules of the workload.
    pub fn set_access(&self, access: ControlInterfaceAccess) {
        self.shared.change(|simulation| simulation.access = access);
    }

    // ------------------------------------------------------------------ state

    /// The complete state.
    pub fn state(&self) -> CompleteState {
        self.shared.lock().server.state().complete()
    }

    /// The desired state.
    pub fn desired_state(&self) -> State {
        self.state().desired_state.unwrap_or_default()
    }

    /// Replaces the complete state. Nothing starts or stops because of it, and there is no event.
    /// The startup manifest stays as it is.
    pub fn set_state(&self, state: CompleteState) {
        self.shared.change(|simulation| simulation.server.set_state(state));
    }

    /// The name of the instance that the desired state asks for.
    pub fn instance(&self, workload: &str) -> Option<InstanceName> {
        self.shared.lock().server.state().instance(workload)
    }

    /// The execution state of an instance.
    pub fn execution_state(&self, instance: &InstanceName) -> Option<ExecutionState> {
        self.shared.lock().server.state().execution_state(instance)
    }

    /// Sets the execution state of an instance and sends the events.
    pub fn set_execution_state(&self, instance: &InstanceName, state: ExecutionState) {
        self.shared.change(|simulation| {
            let now = Instant::now();
            let events = simulation.server.set_execution_state(instance, state, now);
            simulation.outbox.extend(events);
        });
    }

    /// Ends a workload with exit code 1. Its restart policy decides what follows.
    ///
    /// # Errors
    /// The desired state has no such workload.
    pub fn crash(&self, workload: &str) -> Result<(), UnknownWorkload> {
        self.end_workload(workload, 1)
    }

    /// Ends a workload with exit code 0. Its restart policy decides what follows.
    ///
    /// # Errors
    /// The desired state has no such workload.
    pub fn finish(&self, workload: &str) -> Result<(), UnknownWorkload> {
        self.end_workload(workload, 0)
    }

    fn end_workload(&self, workload: &str, exit_code: i32) -> Result<(), UnknownWorkload> {
        self.shared.change(|simulation| {
            let events = simulation
                .server
                .end_workload(workload, exit_code, Instant::now())
                .ok_or_else(|| UnknownWorkload(workload.to_owned()))?;
            simulation.outbox.extend(events);
            Ok(())
        })
    }

    /// Adds an agent, or replaces its load and tags. Its workloads start.
    pub fn connect_agent(&self, agent: &str, attributes: AgentAttributes) {
        self.shared.change(|simulation| {
            let events = simulation.server.connect_agent(agent, attributes, Instant::now());
            simulation.outbox.extend(events);
        });
    }

    /// Sets the load of an agent. Does nothing if the agent is not connected.
    pub fn set_agent_load(&self, agent: &str, status: AgentStatus) {
        self.shared.change(|simulation| {
            let events = simulation.server.set_agent_load(agent, status);
            simulation.outbox.extend(events);
        });
    }

    /// Removes an agent. Its workloads become `AGENT_DISCONNECTED`.
    pub fn disconnect_agent(&self, agent: &str) {
        self.shared.change(|simulation| {
            let events = simulation.server.disconnect_agent(agent);
            simulation.outbox.extend(events);
        });
    }

    // ------------------------------------------------------------------- logs

    /// Writes lines to the log of a workload, with the present time. Waits while too many responses
    /// are queued because the reader of `input` is slow.
    ///
    /// # Errors
    /// The desired state has no such workload.
    pub async fn log<T: Into<String>>(
        &self,
        workload: &str,
        lines: impl IntoIterator<Item = T>,
    ) -> Result<(), UnknownWorkload> {
        self.log_at(workload, lines, SystemTime::now()).await
    }

    /// Writes lines to the log of a workload, as [`log`](Self::log) does, with the time `written`.
    ///
    /// # Errors
    /// The desired state has no such workload.
    pub async fn log_at<T: Into<String>>(
        &self,
        workload: &str,
        lines: impl IntoIterator<Item = T>,
        written: SystemTime,
    ) -> Result<(), UnknownWorkload> {
        let lines = lines.into_iter().map(Into::into).collect();
        loop {
            let room = self.shared.room.notified();
            if self.shared.lock().outbox.len() < OUTBOX_LIMIT {
                break;
            }
            room.await;
        }
        self.shared.change(|simulation| {
            let entries = simulation
                .server
                .write_log(workload, lines, written)
                .ok_or_else(|| UnknownWorkload(workload.to_owned()))?;
            simulation.outbox.extend(entries);
            Ok(())
        })
    }

    // ----------------------------------------------------------- observations

    /// The last requests, at most 10,000 and 64 MiB, from old to new. They include those that were
    /// dropped or denied.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().observations.requests.iter().cloned().collect()
    }

    /// The last problems, at most 10,000, from old to new.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared.lock().observations.problems.iter().cloned().collect()
    }

    /// The counters since the start.
    pub fn counters(&self) -> Counters {
        self.shared.lock().observations.counters
    }

    /// The number of Hellos since the start, including those that were not answered.
    pub fn hello_count(&self) -> u64 {
        self.counters().hellos
    }

    /// The number of requests since the start.
    pub fn request_count(&self) -> u64 {
        self.counters().requests
    }

    /// The request ids of the active event subscriptions (key `events`) and log streams (`logs`).
    pub fn streams(&self) -> BTreeMap<&'static str, Vec<String>> {
        self.shared.lock().server.streams()
    }

    /// Removes the stored requests and problems. The counters stay.
    pub fn clear_observations(&self) {
        self.shared.lock().observations.clear();
    }

    /// Waits until the counters meet a condition.
    ///
    /// # Errors
    /// They do not meet it within `limit`.
    pub async fn wait_for(
        &self,
        limit: Duration,
        condition: impl FnMut(&Counters) -> bool,
    ) -> Result<Counters, WaitTimeout> {
        let mut counters = self.shared.watch();
        match timeout(limit, counters.wait_for(condition)).await {
            Ok(Ok(counters)) => Ok(*counters),
            Ok(Err(_)) | Err(_) => Err(WaitTimeout { limit, counters: self.counters() }),
        }
    }

    /// Waits until `count` requests have arrived since the start.
    ///
    /// # Errors
    /// Fewer have arrived within `limit`.
    pub async fn wait_for_requests(&self, count: u64, limit: Duration) -> Result<(), WaitTimeout> {
        self.wait_for(limit, |counters| counters.requests >= count).await.map(|_| ())
    }

    /// Waits until `count` Hellos have arrived since the start.
    ///
    /// # Errors
    /// Fewer have arrived within `limit`.
    pub async fn wait_for_hellos(&self, count: u64, limit: Duration) -> Result<(), WaitTimeout> {
        self.wait_for(limit, |counters| counters.hellos >= count).await.map(|_| ())
    }
}

//! How workloads pass from one execution state to the next.
//!
//! A new workload is `PENDING_INITIAL`, then its agent takes it on:
//! `PENDING_WAITING_TO_START` until its dependencies are met, `PENDING_STARTING`,
//! `RUNNING_OK`. A deleted one is `STOPPING_REQUESTED_AT_RUNTIME` and then gone;
//! a changed one is stopped and started anew.

use std::time::Instant;

use fleet_connector::proto::ank_base::{AddCondition, ExecutionState, Response, RestartPolicy};

use crate::conversion;
use crate::document::Node;
use crate::execution;
use crate::instance::InstanceName;
use crate::timeline::Step;
use crate::vehicle::{Vehicle, execution_path, put, remove_execution_state};

/// A workload whose runtime configuration contains this text can't be started:
/// after a few attempts it stays in `PENDING_STARTING_FAILED`.
pub const UNKNOWN_IMAGE: &str = "example.com/unknown";

/// The runtimes that agents know.
const RUNTIMES: [&str; 3] = ["podman", "podman-kube", "containerd"];

impl Vehicle {
    /// When something happens next by itself.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timeline.next_due()
    }

    /// Lets everything happen that is due.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Response> {
        let mut responses = Vec::new();
        while let Some((due, name, step)) = self.timeline.take_due(now) {
            responses.extend(self.step(&name, step, due));
        }
        responses
    }

    fn step(&mut self, name: &InstanceName, step: Step, now: Instant) -> Vec<Response> {
        match step {
            Step::Start => self.start(name, now),
            Step::Run { attempt } => self.run(name, attempt, now),
            Step::Stop { successor } => {
                let mut responses = self.logs.end(name);
                responses.extend(self.set_execution_state(
                    name,
                    execution::stopping_requested(),
                    now,
                ));
                let due = now + self.timing.stopping;
                self.timeline
                    .plan(due, name.clone(), Step::Remove { successor });
                responses
            }
            Step::Remove { successor } => {
                let mut new = self.state.clone();
                remove_execution_state(&mut new, name);
                let mut responses = self.replace(new);
                match successor {
                    Some(successor) => responses.extend(self.start(&successor, now)),
                    None => self.logs.forget(name),
                }
                responses
            }
        }
    }

    fn start(&mut self, name: &InstanceName, now: Instant) -> Vec<Response> {
        let Some(rendered) = self
            .rendered
            .get(&*name.workload)
            .filter(|is| is.name == *name)
        else {
            return Vec::new();
        };
        if self.state.at(["agents", &name.agent]).is_none() {
            return Vec::new();
        }
        if !self.dependencies_met(&rendered.workload) {
            self.waiting.insert(name.clone());
            return self.set_execution_state(name, execution::waiting_to_start(), now);
        }
        self.waiting.remove(name);
        let responses =
            self.set_execution_state(name, execution::starting("Triggered at runtime."), now);
        let due = now + self.timing.starting;
        self.timeline
            .plan(due, name.clone(), Step::Run { attempt: 1 });
        responses
    }

    fn run(&mut self, name: &InstanceName, attempt: u32, now: Instant) -> Vec<Response> {
        let Some(rendered) = self.rendered.get(&*name.workload) else {
            return Vec::new();
        };
        let text = |field| {
            rendered
                .workload
                .get(field)
                .and_then(Node::as_text)
                .unwrap_or_default()
        };
        if !RUNTIMES.contains(&text("runtime")) {
            let state = execution::starting_failed("Unsupported Runtime");
            return self.set_execution_state(name, state, now);
        }
        if !text("runtimeConfig").contains(UNKNOWN_IMAGE) {
            return self.set_execution_state(name, execution::running(), now);
        }
        let reason = format!("unable to pull {UNKNOWN_IMAGE}: manifest unknown");
        if attempt >= self.timing.attempts {
            let info = format!("No more retries: {reason}");
            return self.set_execution_state(name, execution::starting_failed(info), now);
        }
        let info = format!("Retry {attempt}: {reason}");
        let responses = self.set_execution_state(name, execution::starting(info), now);
        let step = Step::Run {
            attempt: attempt + 1,
        };
        self.timeline
            .plan(now + self.timing.starting, name.clone(), step);
        responses
    }

    fn dependencies_met(&self, workload: &Node) -> bool {
        let dependencies = workload.get("dependencies").and_then(Node::fields);
        dependencies
            .into_iter()
            .flatten()
            .all(|(dependency, condition)| {
                let condition = condition
                    .as_text()
                    .and_then(AddCondition::from_str_name)
                    .unwrap_or_default();
                self.instance(dependency)
                    .and_then(|name| self.execution_state(&name))
                    .is_some_and(|state| execution::fulfils(&state, condition))
            })
    }

    /// Puts an instance into a state; those that waited for it start.
    pub(crate) fn set_execution_state(
        &mut self,
        name: &InstanceName,
        state: ExecutionState,
        now: Instant,
    ) -> Vec<Response> {
        self.timeline.cancel(name);
        let mut new = self.state.clone();
        put(
            &mut new,
            &execution_path(name),
            conversion::execution_to_node(state),
        );
        let responses = self.replace(new);
        let ready: Vec<InstanceName> = self
            .waiting
            .iter()
            .filter(|name| {
                let rendered = self.rendered.get(&*name.workload);
                rendered.is_some_and(|rendered| self.dependencies_met(&rendered.workload))
            })
            .cloned()
            .collect();
        for name in ready {
            self.waiting.remove(&name);
            self.timeline.plan(now, name, Step::Start);
        }
        responses
    }

    /// Lets a workload end by itself. Its restart policy decides what follows.
    pub(crate) fn end_workload(
        &mut self,
        workload: &str,
        exit_code: i32,
        now: Instant,
    ) -> Option<Vec<Response>> {
        let rendered = self.rendered.get(workload)?;
        let name = rendered.name.clone();
        let policy = rendered
            .workload
            .get("restartPolicy")
            .and_then(Node::as_text);
        let policy = policy
            .and_then(RestartPolicy::from_str_name)
            .unwrap_or_default();
        let (state, restart) = if exit_code == 0 {
            let restart = (policy == RestartPolicy::Always).then_some(Step::Start);
            (execution::succeeded(), restart)
        } else {
            let successor = Some(name.clone());
            let restart = (policy != RestartPolicy::Never).then_some(Step::Stop { successor });
            (execution::failed(exit_code), restart)
        };
        let mut responses = self.logs.end(&name);
        responses.extend(self.set_execution_state(&name, state, now));
        if let Some(step) = restart {
            self.timeline.plan(now + self.timing.restart, name, step);
        }
        Some(responses)
    }
}

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
                self.timeline.plan(due, name.clone(), Step::Remove { successor });
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
        let Some(rendered) = self.rendered.get(&*name.workload).filter(|is| is.name == *name)
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
        self.timeline.plan(due, name.clone(), Step::Run { attempt: 1 });
        responses
    }

    fn run(&mut self, name: &InstanceName, attempt: u32, now: Instant) -> Vec<Response> {
        let Some(rendered) = self.rendered.get(&*name.workload) else {
            return Vec::new();
        };
        let text = |field| rendered.workload.get(field).and_then(Node::as_text).unwrap_or_default();
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
        let step = Step::Run { attempt: attempt + 1 };
        self.timeline.plan(now + self.timing.starting, name.clone(), step);
        responses
    }

    fn dependencies_met(&self, workload: &Node) -> bool {
        let dependencies = workload.get("dependencies").and_then(Node::fields);
        dependencies.into_iter().flatten().all(|(dependency, condition)| {
            let condition =
                condition.as_text().and_then(AddCondition::from_str_name).unwrap_or_default();
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
        put(&mut new, &execution_path(name), conversion::execution_to_node(state));
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
        let policy = rendered.workload.get("restartPolicy").and_then(Node::as_text);
        let policy = policy.and_then(RestartPolicy::from_str_name).unwrap_or_default();
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use fleet_connector::proto::ank_base::{
        CompleteState, Dependencies, Request, State, UpdateStateRequest, Workload, WorkloadMap,
        request::RequestContent, response::ResponseContent,
    };

    use super::*;
    use crate::options::agent_attributes;
    use crate::timeline::Timing;

    const LONG: Duration = Duration::from_secs(60);

    struct Simulated {
        vehicle: Vehicle,
        now: Instant,
    }

    impl Simulated {
        fn new() -> Self {
            let now = Instant::now();
            let mut vehicle = Vehicle::new(Timing::default(), false);
            vehicle.connect_agent("agent_A", agent_attributes(), now);
            Self { vehicle, now }
        }

        /// Updates workloads by their masks; gives added and deleted instances.
        fn update(&mut self, workloads: &[(&str, Option<Workload>)]) -> (Vec<String>, Vec<String>) {
            let present = workloads.iter().filter_map(|(name, workload)| {
                workload.clone().map(|workload| ((*name).to_owned(), workload))
            });
            let state = State {
                api_version: "v1".to_owned(),
                workloads: Some(WorkloadMap { workloads: present.collect() }),
                configs: None,
            };
            let masks = workloads.iter().map(|(name, _)| format!("desiredState.workloads.{name}"));
            let request = UpdateStateRequest {
                new_state: Some(CompleteState {
                    desired_state: Some(state),
                    ..CompleteState::default()
                }),
                update_mask: masks.collect(),
            };
            let request = Request {
                request_id: "1".to_owned(),
                request_content: Some(RequestContent::UpdateStateRequest(request)),
            };
            let answer = self.vehicle.request(request, self.now).answer;
            match answer.response_content {
                Some(ResponseContent::UpdateStateSuccess(success)) => {
                    (success.added_workloads, success.deleted_workloads)
                }
                other => panic!("{other:?}"),
            }
        }

        /// All states from now on until nothing happens any more.
        fn states(&mut self, instance: &InstanceName) -> Vec<Option<ExecutionState>> {
            let mut states = vec![self.vehicle.execution_state(instance)];
            while let Some(due) = self.vehicle.next_due() {
                self.now = due;
                self.vehicle.advance(due);
                let state = self.vehicle.execution_state(instance);
                if states.last() != Some(&state) {
                    states.push(state);
                }
            }
            states
        }

        fn instance(&self, workload: &str) -> InstanceName {
            self.vehicle.instance(workload).unwrap()
        }
    }

    fn workload(config: &str) -> Workload {
        Workload {
            agent: Some("agent_A".to_owned()),
            runtime: Some("podman".to_owned()),
            runtime_config: Some(config.to_owned()),
            ..Workload::default()
        }
    }

    fn with_policy(policy: RestartPolicy) -> Workload {
        Workload { restart_policy: Some(policy.into()), ..workload("image: x") }
    }

    fn starts() -> [Option<ExecutionState>; 2] {
        [Some(execution::starting("Triggered at runtime.")), Some(execution::running())]
    }

    #[test]
    fn a_new_workload_starts_and_a_deleted_one_goes() {
        let mut simulated = Simulated::new();
        let (added, deleted) = simulated.update(&[("w", Some(workload("image: x")))]);
        let name = simulated.instance("w");
        assert_eq!((added, deleted), (vec![name.to_string()], vec![]));
        let [starting, running] = starts();
        assert_eq!(
            simulated.states(&name),
            [Some(execution::initial()), starting, running.clone()]
        );

        let (added, deleted) = simulated.update(&[("w", None)]);
        assert_eq!((added, deleted), (vec![], vec![name.to_string()]));
        let stopping = Some(execution::stopping_requested());
        assert_eq!(simulated.states(&name), [running, stopping, None]);
        assert_eq!(simulated.vehicle.state.get("workloadStates"), Some(&Node::empty()));
    }

    #[test]
    fn each_step_takes_its_time() {
        let mut simulated = Simulated::new();
        simulated.update(&[("w", Some(workload("image: x")))]);
        let timing = Timing::default();
        let start = simulated.now + timing.initial;
        assert_eq!(simulated.vehicle.next_due(), Some(start));
        assert_eq!(simulated.vehicle.advance(start - Duration::from_millis(1)), []);
        simulated.vehicle.advance(start);
        assert_eq!(simulated.vehicle.next_due(), Some(start + timing.starting));
    }

    #[test]
    fn a_changed_workload_is_replaced_by_a_new_instance() {
        let mut simulated = Simulated::new();
        simulated.update(&[("w", Some(workload("image: x")))]);
        let old = simulated.instance("w");
        simulated.states(&old);
        let (added, deleted) = simulated.update(&[("w", Some(workload("image: y")))]);
        let new = simulated.instance("w");
        assert_ne!(old.id, new.id);
        assert_eq!((added, deleted), (vec![new.to_string()], vec![old.to_string()]));
        let [starting, running] = starts();
        assert_eq!(simulated.states(&new), [Some(execution::initial()), starting, running]);
        assert_eq!(simulated.vehicle.execution_state(&old), None);
    }

    #[test]
    fn a_workload_with_other_tags_keeps_its_id_and_starts_anew() {
        let mut simulated = Simulated::new();
        simulated.update(&[("w", Some(workload("image: x")))]);
        let name = simulated.instance("w");
        simulated.states(&name);
        let (added, deleted) = simulated.update(&[("w", Some(with_policy(RestartPolicy::Always)))]);
        assert_eq!((added, deleted), (vec![name.to_string()], vec![name.to_string()]));
        let [starting, running] = starts();
        let stopping = Some(execution::stopping_requested());
        assert_eq!(simulated.states(&name), [running.clone(), stopping, starting, running]);
        let (added, deleted) = simulated.update(&[("w", Some(with_policy(RestartPolicy::Always)))]);
        assert_eq!((added, deleted), (vec![], vec![]), "nothing has changed");
    }

    #[test]
    fn an_unknown_image_or_runtime_does_not_start() {
        let mut simulated = Simulated::new();
        simulated.update(&[("w", Some(workload(&format!("image: {UNKNOWN_IMAGE}"))))]);
        let name = simulated.instance("w");
        let infos: Vec<String> = simulated
            .states(&name)
            .into_iter()
            .filter_map(|state| state?.additional_info)
            .collect();
        assert_eq!(infos[1], "Triggered at runtime.");
        assert!(infos[2].starts_with("Retry 1: "), "{infos:?}");
        assert!(infos[3].starts_with("No more retries: "), "{infos:?}");
        let state = simulated.vehicle.execution_state(&name).unwrap();
        assert_eq!(state, execution::starting_failed(infos[3].clone()));

        let foreign = Workload { runtime: Some("other".to_owned()), ..workload("x") };
        simulated.update(&[("f", Some(foreign))]);
        let name = simulated.instance("f");
        let unsupported = Some(execution::starting_failed("Unsupported Runtime"));
        assert_eq!(simulated.states(&name).last(), Some(&unsupported));
    }

    #[test]
    fn the_restart_policy_decides_what_follows_the_end() {
        let ends = |policy, exit_code| {
            let mut simulated = Simulated::new();
            simulated.update(&[("w", Some(with_policy(policy)))]);
            let name = simulated.instance("w");
            simulated.states(&name);
            simulated.vehicle.end_workload("w", exit_code, simulated.now).unwrap();
            simulated.states(&name)
        };
        let [starting, running] = starts();
        let (failed, succeeded) = (Some(execution::failed(1)), Some(execution::succeeded()));
        let stopping = Some(execution::stopping_requested());
        let anew = [failed.clone(), stopping, starting.clone(), running.clone()];
        assert_eq!(ends(RestartPolicy::Never, 1), [failed]);
        assert_eq!(ends(RestartPolicy::Never, 0), [succeeded.clone()]);
        assert_eq!(ends(RestartPolicy::OnFailure, 1), anew);
        assert_eq!(ends(RestartPolicy::OnFailure, 0), [succeeded.clone()]);
        assert_eq!(ends(RestartPolicy::Always, 1), anew);
        assert_eq!(ends(RestartPolicy::Always, 0), [succeeded, starting, running]);
        assert_eq!(Simulated::new().vehicle.end_workload("w", 0, Instant::now()), None);
    }

    #[test]
    fn a_workload_waits_for_what_it_depends_on() {
        let mut simulated = Simulated::new();
        let dependencies =
            BTreeMap::from([("first".to_owned(), AddCondition::AddCondSucceeded.into())]);
        let second = Workload {
            dependencies: Some(Dependencies { dependencies }),
            ..workload("image: second")
        };
        simulated.update(&[("second", Some(second)), ("first", Some(workload("image: first")))]);
        let name = simulated.instance("second");
        let waiting = Some(execution::waiting_to_start());
        assert_eq!(simulated.states(&name), [Some(execution::initial()), waiting.clone()]);
        simulated.vehicle.end_workload("first", 0, simulated.now).unwrap();
        let [starting, running] = starts();
        assert_eq!(simulated.states(&name), [waiting, starting, running]);
    }

    #[test]
    fn a_workload_that_waits_goes_without_being_stopped() {
        let mut simulated = Simulated::new();
        let dependencies = BTreeMap::from([("never".to_owned(), 0)]);
        let workload =
            Workload { dependencies: Some(Dependencies { dependencies }), ..workload("image: x") };
        simulated.update(&[("w", Some(workload))]);
        let name = simulated.instance("w");
        let waiting = Some(execution::waiting_to_start());
        assert_eq!(simulated.states(&name).last(), Some(&waiting));
        simulated.update(&[("w", None)]);
        assert_eq!(simulated.states(&name), [waiting, None]);
    }

    #[test]
    fn workloads_wait_for_their_agent_and_are_found_again() {
        let mut simulated = Simulated::new();
        let elsewhere = Workload { agent: Some("agent_B".to_owned()), ..workload("image: x") };
        let nowhere = Workload { agent: Some(String::new()), ..workload("image: x") };
        simulated.update(&[("w", Some(elsewhere.clone())), ("n", Some(nowhere))]);
        let name = simulated.instance("w");
        assert_eq!(simulated.states(&name), [Some(execution::initial())]);
        let unscheduled = simulated.instance("n");
        assert_eq!(simulated.states(&unscheduled), [Some(execution::not_scheduled())]);

        simulated.vehicle.connect_agent("agent_B", agent_attributes(), simulated.now);
        let [starting, running] = starts();
        assert_eq!(
            simulated.states(&name),
            [Some(execution::initial()), starting, running.clone()]
        );
        simulated.vehicle.disconnect_agent("agent_B");
        assert_eq!(simulated.states(&name), [Some(execution::agent_disconnected())]);
        assert_eq!(simulated.vehicle.state.at(["agents", "agent_B"]), None);
        simulated.vehicle.connect_agent("agent_B", agent_attributes(), simulated.now);
        assert_eq!(simulated.states(&name), [running]);
    }

    #[test]
    fn a_workload_that_never_started_is_gone_at_once() {
        let mut simulated = Simulated::new();
        let elsewhere = Workload { agent: Some("agent_B".to_owned()), ..workload("image: x") };
        simulated.update(&[("w", Some(elsewhere))]);
        let name = simulated.instance("w");
        let (_, deleted) = simulated.update(&[("w", None)]);
        assert_eq!(deleted, [name.to_string()]);
        assert_eq!(simulated.vehicle.execution_state(&name), None);
    }

    #[test]
    fn a_state_set_by_hand_stays() {
        let mut simulated = Simulated::new();
        simulated.update(&[("w", Some(workload("image: x")))]);
        let name = simulated.instance("w");
        simulated.vehicle.set_execution_state(&name, execution::failed(7), simulated.now);
        simulated.vehicle.advance(simulated.now + LONG);
        assert_eq!(simulated.states(&name), [Some(execution::failed(7))]);
    }
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use ankaios_model::proto::ank_base::{
    Dependencies, State, UpdateStateRequest, Workload, WorkloadMap, WorkloadStatesMap,
};

use super::*;
use crate::options::agent_attributes;

const LONG: Duration = Duration::from_secs(60);

struct Simulated {
    server: SimulatedServer,
    now: Instant,
}

impl Simulated {
    fn new() -> Self {
        let now = Instant::now();
        let mut server = SimulatedServer::new(Timing::default(), false);
        server.connect_agent("agent_A", agent_attributes(), now);
        Self { server, now }
    }

    /// Adds, changes and deletes (`None`) workloads. Returns the added and the deleted instances.
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
        let update = self.server.state().plan_update(request).unwrap();
        let names = |names: &[InstanceName]| names.iter().map(ToString::to_string).collect();
        let changed = (names(&update.added), names(&update.deleted));
        self.server.apply_update(update, self.now);
        changed
    }

    /// The execution states of an instance until no step is left.
    fn states(&mut self, instance: &InstanceName) -> Vec<Option<ExecutionState>> {
        let mut states = vec![self.server.state().execution_state(instance)];
        while let Some(due) = self.server.next_due() {
            self.now = due;
            self.server.advance(due);
            let state = self.server.state().execution_state(instance);
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
        states
    }

    fn instance(&self, workload: &str) -> InstanceName {
        self.server.state().instance(workload).unwrap()
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
fn a_new_workload_starts_and_a_deleted_one_stops() {
    let mut simulated = Simulated::new();
    let (added, deleted) = simulated.update(&[("w", Some(workload("image: x")))]);
    let name = simulated.instance("w");
    assert_eq!((added, deleted), (vec![name.to_string()], vec![]));
    let [starting, running] = starts();
    assert_eq!(simulated.states(&name), [Some(execution::initial()), starting, running.clone()]);

    let (added, deleted) = simulated.update(&[("w", None)]);
    assert_eq!((added, deleted), (vec![], vec![name.to_string()]));
    let stopping = Some(execution::stopping_requested());
    assert_eq!(simulated.states(&name), [running, stopping, None]);
    let states = simulated.server.state().complete().workload_states;
    assert_eq!(states, Some(WorkloadStatesMap::default()));
}

#[test]
fn each_step_takes_its_time() {
    let mut simulated = Simulated::new();
    simulated.update(&[("w", Some(workload("image: x")))]);
    let timing = Timing::default();
    let start = simulated.now + timing.initial;
    assert_eq!(simulated.server.next_due(), Some(start));
    assert_eq!(simulated.server.advance(start - Duration::from_millis(1)), []);
    simulated.server.advance(start);
    assert_eq!(simulated.server.next_due(), Some(start + timing.starting));
}

#[test]
fn a_changed_workload_is_replaced_by_a_new_instance() {
    let mut simulated = Simulated::new();
    simulated.update(&[("w", Some(workload("image: x")))]);
    let old = simulated.instance("w");
    simulated.states(&old);
    let (added, deleted) = simulated.update(&[("w", Some(workload("image: y")))]);
    let new = simulated.instance("w");
    assert_ne!(old.workload_id, new.workload_id);
    assert_eq!((added, deleted), (vec![new.to_string()], vec![old.to_string()]));
    let [starting, running] = starts();
    assert_eq!(simulated.states(&new), [Some(execution::initial()), starting, running]);
    assert_eq!(simulated.server.state().execution_state(&old), None);
}

#[test]
fn a_workload_with_other_tags_keeps_its_id_and_restarts() {
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
    let infos: Vec<String> =
        simulated.states(&name).into_iter().filter_map(|state| state?.additional_info).collect();
    assert_eq!(infos[1], "Triggered at runtime.");
    assert!(infos[2].starts_with("Retry 1: "), "{infos:?}");
    assert!(infos[3].starts_with("No more retries: "), "{infos:?}");
    let state = simulated.server.state().execution_state(&name).unwrap();
    assert_eq!(state, execution::starting_failed(infos[3].clone()));

    let foreign = Workload { runtime: Some("other".to_owned()), ..workload("x") };
    simulated.update(&[("f", Some(foreign))]);
    let name = simulated.instance("f");
    let unsupported = Some(execution::starting_failed("Unsupported Runtime"));
    assert_eq!(simulated.states(&name).last(), Some(&unsupported));
}

#[test]
fn the_restart_policy_decides_what_follows_an_exit() {
    let ends = |policy, exit_code| {
        let mut simulated = Simulated::new();
        simulated.update(&[("w", Some(with_policy(policy)))]);
        let name = simulated.instance("w");
        simulated.states(&name);
        simulated.server.end_workload("w", exit_code, simulated.now).unwrap();
        simulated.states(&name)
    };
    let [starting, running] = starts();
    let (failed, succeeded) = (Some(execution::failed(1)), Some(execution::succeeded()));
    let stopping = Some(execution::stopping_requested());
    let restarted = [failed.clone(), stopping, starting.clone(), running.clone()];
    assert_eq!(ends(RestartPolicy::Never, 1), [failed]);
    assert_eq!(ends(RestartPolicy::Never, 0), std::slice::from_ref(&succeeded));
    assert_eq!(ends(RestartPolicy::OnFailure, 1), restarted);
    assert_eq!(ends(RestartPolicy::OnFailure, 0), std::slice::from_ref(&succeeded));
    assert_eq!(ends(RestartPolicy::Always, 1), restarted);
    assert_eq!(ends(RestartPolicy::Always, 0), [succeeded, starting, running]);
    assert_eq!(Simulated::new().server.end_workload("w", 0, Instant::now()), None);
}

#[test]
fn a_workload_waits_for_what_it_depends_on() {
    let mut simulated = Simulated::new();
    let dependencies =
        BTreeMap::from([("first".to_owned(), AddCondition::AddCondSucceeded.into())]);
    let second =
        Workload { dependencies: Some(Dependencies { dependencies }), ..workload("image: second") };
    simulated.update(&[("second", Some(second)), ("first", Some(workload("image: first")))]);
    let name = simulated.instance("second");
    let waiting = Some(execution::waiting_to_start());
    assert_eq!(simulated.states(&name), [Some(execution::initial()), waiting.clone()]);
    simulated.server.end_workload("first", 0, simulated.now).unwrap();
    let [starting, running] = starts();
    assert_eq!(simulated.states(&name), [waiting, starting, running]);
}

#[test]
fn a_waiting_workload_is_removed_without_being_stopped() {
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
fn workloads_wait_for_their_agent_and_run_again_with_it() {
    let mut simulated = Simulated::new();
    let elsewhere = Workload { agent: Some("agent_B".to_owned()), ..workload("image: x") };
    let nowhere = Workload { agent: Some(String::new()), ..workload("image: x") };
    simulated.update(&[("w", Some(elsewhere.clone())), ("n", Some(nowhere))]);
    let name = simulated.instance("w");
    assert_eq!(simulated.states(&name), [Some(execution::initial())]);
    let unscheduled = simulated.instance("n");
    assert_eq!(simulated.states(&unscheduled), [Some(execution::not_scheduled())]);

    simulated.server.connect_agent("agent_B", agent_attributes(), simulated.now);
    let [starting, running] = starts();
    assert_eq!(simulated.states(&name), [Some(execution::initial()), starting, running.clone()]);
    simulated.server.disconnect_agent("agent_B");
    assert_eq!(simulated.states(&name), [Some(execution::agent_disconnected())]);
    assert!(!simulated.server.state().has_agent("agent_B"));
    simulated.server.connect_agent("agent_B", agent_attributes(), simulated.now);
    assert_eq!(simulated.states(&name), [running]);
}

#[test]
fn a_workload_that_never_started_is_removed_at_once() {
    let mut simulated = Simulated::new();
    let elsewhere = Workload { agent: Some("agent_B".to_owned()), ..workload("image: x") };
    simulated.update(&[("w", Some(elsewhere))]);
    let name = simulated.instance("w");
    let (_, deleted) = simulated.update(&[("w", None)]);
    assert_eq!(deleted, [name.to_string()]);
    assert_eq!(simulated.server.state().execution_state(&name), None);
}

#[test]
fn a_state_set_by_the_handle_stays() {
    let mut simulated = Simulated::new();
    simulated.update(&[("w", Some(workload("image: x")))]);
    let name = simulated.instance("w");
    simulated.server.set_execution_state(&name, execution::failed(7), simulated.now);
    simulated.server.advance(simulated.now + LONG);
    assert_eq!(simulated.states(&name), [Some(execution::failed(7))]);
}

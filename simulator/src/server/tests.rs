#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use ankaios_model::proto::ank_base::{
    AgentAttributes, AgentMap, Dependencies, UpdateStateRequest, Workload, WorkloadMap,
    WorkloadStatesMap,
};

use super::*;
use crate::instance::instance_name;
use crate::options::agent_attributes;
use crate::runtime::UNKNOWN_IMAGE;

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
        self.states_until(instance, self.now + 10 * LONG)
    }

    /// The execution states of an instance until this time.
    fn states_until(
        &mut self,
        instance: &InstanceName,
        end: Instant,
    ) -> Vec<Option<ExecutionState>> {
        let mut states = vec![self.server.state().execution_state(instance)];
        while let Some(due) = self.server.next_due().filter(|due| *due <= end) {
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

fn info(state: &Option<ExecutionState>) -> &str {
    state.as_ref().unwrap().additional_info()
}

#[test]
fn a_start_that_the_runtime_reports_as_failed_is_retried_without_an_end() {
    let mut simulated = Simulated::new();
    simulated.update(&[("w", Some(workload(&format!("image: {UNKNOWN_IMAGE}"))))]);
    let name = simulated.instance("w");
    let states = simulated.states_until(&name, simulated.now + LONG);
    assert_eq!(states[1], starts()[0]);
    let retries = &states[2..];
    assert!(retries.len() > 10, "{retries:?}");
    for (index, state) in retries.iter().enumerate() {
        let reason = "unable to pull example.com/unknown: manifest unknown";
        let expected = execution::starting(format!("Retry {}: {reason}", index + 1));
        assert_eq!(state, &Some(expected));
    }
    let timing = Timing::default();
    assert_eq!([1, 2, 3].map(|failures| timing.pause_after(failures).as_millis()), [5, 10, 20]);
    assert_eq!(timing.pause_after(u32::MAX), Duration::from_secs(300));

    // A new desired state begins anew.
    let other = format!("image: {UNKNOWN_IMAGE}:2");
    simulated.update(&[("w", Some(workload(&other)))]);
    assert_eq!(simulated.states_until(&name, simulated.now + LONG).last(), Some(&None));
    let name = simulated.instance("w");
    assert!(info(&simulated.server.state().execution_state(&name)).starts_with("Retry "));
    simulated.update(&[("w", Some(workload("image: x")))]);
    let name = simulated.instance("w");
    assert_eq!(simulated.states(&name).last(), Some(&starts()[1]));
}

#[test]
fn a_retried_start_succeeds_once_the_runtime_does() {
    let mut simulated = Simulated::new();
    simulated.server.runtime_error = Some("no space left on device".to_owned());
    simulated.update(&[("w", Some(workload("image: x")))]);
    let name = simulated.instance("w");
    let states = simulated.states_until(&name, simulated.now + Duration::from_millis(30));
    assert_eq!(info(states.last().unwrap()), "Retry 3: no space left on device");
    simulated.server.runtime_error = None;
    assert_eq!(simulated.states(&name).last(), Some(&starts()[1]));
}

#[test]
fn a_start_that_cannot_succeed_is_tried_once_until_the_desired_state_changes() {
    let mut simulated = Simulated::new();
    let foreign = Workload { runtime: Some("other".to_owned()), ..workload("x") };
    simulated.update(&[("f", Some(foreign)), ("w", Some(workload("no image")))]);
    let name = simulated.instance("f");
    let unsupported = Some(execution::starting_failed("Unsupported Runtime"));
    let [starting, running] = starts();
    let expected = [Some(execution::initial()), starting.clone(), unsupported];
    assert_eq!(simulated.states(&name), expected);

    let name = simulated.instance("w");
    let failed = simulated.server.state().execution_state(&name);
    assert!(info(&failed).starts_with("invalid type: string \"no image\""), "{failed:?}");
    assert_eq!(failed, Some(execution::starting_failed(info(&failed))));
    simulated.update(&[("w", Some(workload("image: x")))]);
    let stopping = Some(execution::stopping_requested());
    assert_eq!(simulated.states(&name), [failed, stopping, None]);
    let name = simulated.instance("w");
    assert_eq!(simulated.server.state().execution_state(&name), running);
}

#[test]
fn a_workload_keeps_its_first_runtime_until_it_is_deleted() {
    let mut simulated = Simulated::new();
    let with =
        |runtime: &str| Workload { runtime: Some(runtime.to_owned()), ..workload("image: x") };
    let mut change = |workload: Option<Workload>| {
        simulated.update(&[("w", workload)]);
        let name = instance_name("w", "agent_A", "image: x");
        simulated.states(&name).pop().unwrap()
    };
    let wrong = |kind: &str, runtime: &str| {
        let reason = format!("Received a {kind} for the wrong runtime: '{runtime}'");
        Some(execution::starting_failed(reason))
    };
    let [_, running] = starts();
    assert_eq!(change(Some(with("podman"))), running);
    assert_eq!(change(Some(with("docker"))), wrong("workload", "docker"));
    assert_eq!(change(Some(with("containerd"))), wrong("workload", "containerd"));
    assert_eq!(change(Some(with("podman"))), running);
    assert_eq!(change(None), None);
    let unsupported = Some(execution::starting_failed("Unsupported Runtime"));
    assert_eq!(change(Some(with("docker"))), unsupported);
    assert_eq!(change(Some(with("podman"))), wrong("manifest", "podman"));
    assert_eq!(change(None), None);
    assert_eq!(change(Some(with("podman"))), running);
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
fn a_workload_that_is_added_again_while_it_is_removed_starts_after_that() {
    let mut simulated = Simulated::new();
    simulated.update(&[("w", Some(workload("image: x")))]);
    let name = simulated.instance("w");
    let [starting, running] = starts();
    let stopping = Some(execution::stopping_requested());
    simulated.states(&name);
    simulated.update(&[("w", None)]);
    simulated.update(&[("w", Some(workload("image: x")))]);
    let expected = [running.clone(), stopping, starting, running];
    assert_eq!(simulated.states(&name), expected);
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

/// The server does not know what the agent does.
#[test]
fn what_changes_while_the_agent_is_disconnected_is_done_when_it_connects_again() {
    let mut simulated = Simulated::new();
    let elsewhere = |config| Workload { agent: Some("agent_B".to_owned()), ..workload(config) };
    simulated.server.connect_agent("agent_B", agent_attributes(), simulated.now);
    simulated.update(&[
        ("deleted", Some(elsewhere("image: x"))),
        ("again", Some(elsewhere("image: x"))),
        ("changed", Some(elsewhere("image: x"))),
    ]);
    let [deleted, again, old] =
        ["deleted", "again", "changed"].map(|name| simulated.instance(name));
    let [starting, running] = starts();
    assert_eq!(simulated.states(&old).last(), Some(&running));
    simulated.server.disconnect_agent("agent_B");
    simulated.update(&[("deleted", None), ("again", None)]);
    simulated.update(&[
        ("again", Some(elsewhere("image: x"))),
        ("changed", Some(elsewhere("image: y"))),
    ]);
    let new = simulated.instance("changed");
    let disconnected = Some(execution::agent_disconnected());
    for name in [&deleted, &again, &old] {
        assert_eq!(simulated.states(name), std::slice::from_ref(&disconnected), "{name}");
    }
    assert_eq!(simulated.states(&new), [Some(execution::initial())]);

    simulated.server.connect_agent("agent_B", agent_attributes(), simulated.now);
    assert_eq!(simulated.server.state().execution_state(&again), running);
    let expected = [Some(execution::initial()), starting, running];
    assert_eq!(simulated.states(&new), expected);
    for name in [&deleted, &old] {
        assert_eq!(simulated.server.state().execution_state(name), None, "{name}");
    }
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

#[test]
fn a_restarted_server_has_its_startup_manifest_alone_and_its_agents_remove_the_rest() {
    let mut simulated = Simulated::new();
    simulated.update(&[("own", Some(workload("image: own"))), ("w", Some(workload("image: x")))]);
    let [own, name] = ["own", "w"].map(|workload| simulated.instance(workload));
    simulated.states(&name);
    let desired = simulated.server.state().complete().desired_state.unwrap();
    let mut startup = desired.clone();
    startup.workloads.as_mut().unwrap().workloads.remove("w");
    simulated.server.set_startup_manifest(startup.clone()).unwrap();
    simulated.server.subscribe("ev".to_owned(), Vec::new());

    simulated.server.restart(simulated.now);
    let state = simulated.server.state().complete();
    assert_eq!(state.desired_state, Some(startup.clone()));
    assert_eq!(state.agents.unwrap().agents["agent_A"], agent_attributes());
    assert_eq!(simulated.server.streams()["events"], [""; 0]);
    let states = simulated.server.state();
    assert_eq!(states.execution_state(&own), Some(execution::initial()));
    let [starting, running] = starts();
    let stopping = Some(execution::stopping_requested());
    assert_eq!(simulated.states(&name), [None, stopping.clone(), None]);
    assert_eq!(simulated.server.state().execution_state(&own), running);

    // What is applied again while its container is being removed starts after that.
    simulated.server.set_startup_manifest(desired).unwrap();
    simulated.server.restart(simulated.now);
    let expected = [Some(execution::initial()), starting.clone(), running.clone()];
    assert_eq!(simulated.states(&name), expected);
    simulated.server.set_startup_manifest(startup).unwrap();
    simulated.server.restart(simulated.now);
    simulated.update(&[("w", Some(workload("image: x")))]);
    assert_eq!(simulated.states(&name), [Some(execution::initial()), stopping, starting, running]);
}

#[test]
fn after_a_restart_of_the_server_agents_keep_only_what_runs_as_it_should() {
    let names = ["same", "changed", "failed", "unsupported"];
    let workload = |name| match name {
        "unsupported" => Workload { runtime: Some("other".to_owned()), ..workload("image: x") },
        name => workload(&format!("image: {name}")),
    };
    let prepare = || {
        let mut simulated = Simulated::new();
        simulated.update(&names.map(|name| (name, Some(workload(name)))));
        simulated.states(&simulated.instance("same"));
        let desired = simulated.server.state().complete().desired_state.unwrap();
        simulated.server.set_startup_manifest(desired).unwrap();
        simulated.server.end_workload("failed", 1, simulated.now).unwrap();
        simulated.update(&[("changed", Some(self::workload("image: other")))]);
        simulated.states(&simulated.instance("changed"));
        simulated
    };

    let [starting, running] = starts();
    let initial = Some(execution::initial());
    let stopping = Some(execution::stopping_requested());
    let failed = Some(execution::starting_failed("Unsupported Runtime"));
    let restarted = [initial.clone(), stopping.clone(), starting.clone(), running.clone()];
    let tried = [initial.clone(), stopping.clone(), starting.clone(), failed];
    let replaced = [initial.clone(), starting, running.clone()];
    for (workload, expected) in [
        ("same", &[initial, running][..]),
        ("failed", &restarted),
        ("unsupported", &tried),
        ("changed", &replaced),
    ] {
        let mut simulated = prepare();
        simulated.server.restart(simulated.now);
        let name = simulated.instance(workload);
        assert_eq!(simulated.states(&name), expected, "{workload}");
    }
    let mut simulated = prepare();
    let other = simulated.instance("changed");
    simulated.server.restart(simulated.now);
    assert_eq!(simulated.states(&other), [None, stopping, None]);
}

#[test]
fn an_agent_goes_on_with_retries_of_which_a_restarted_server_does_not_know() {
    let mut simulated = Simulated::new();
    let bad = || Some(workload(&format!("image: {UNKNOWN_IMAGE}")));
    simulated.update(&[("w", bad())]);
    let name = simulated.instance("w");
    simulated.states_until(&name, simulated.now + Duration::from_secs(1));
    simulated.server.restart(simulated.now);
    assert_eq!(simulated.server.state().instance("w"), None);
    let states = simulated.states_until(&name, simulated.now + Duration::from_secs(1));
    assert_eq!(states[0], None);
    assert!(info(&states[1]).starts_with("Retry "), "{states:?}");

    // The agent replaces it by a workload with the same name.
    simulated.update(&[("w", Some(workload("image: x")))]);
    let stopping = Some(execution::stopping_requested());
    assert_eq!(simulated.states(&name)[1..], [stopping, None]);
    let name = simulated.instance("w");
    assert_eq!(simulated.server.state().execution_state(&name), starts()[1]);
}

#[test]
fn tags_of_agents_are_those_of_the_agent_after_a_restart_of_the_server() {
    let mut simulated = Simulated::new();
    let tags = Tags { tags: BTreeMap::from([("site".to_owned(), "1".to_owned())]) };
    let attributes = AgentAttributes { tags: Some(tags), ..agent_attributes() };
    let agents = AgentMap { agents: BTreeMap::from([("agent_A".to_owned(), attributes)]) };
    let request = UpdateStateRequest {
        new_state: Some(CompleteState { agents: Some(agents.clone()), ..Default::default() }),
        update_mask: vec!["agents.agent_A.tags".to_owned()],
    };
    let update = simulated.server.state().plan_update(request).unwrap();
    simulated.server.apply_update(update, simulated.now);
    assert_eq!(simulated.server.state().complete().agents, Some(agents));
    simulated.server.restart(simulated.now);
    let agents = simulated.server.state().complete().agents.unwrap().agents;
    assert_eq!(agents["agent_A"], agent_attributes());
}

#[test]
fn a_startup_manifest_that_the_server_refuses_is_not_taken() {
    let mut simulated = Simulated::new();
    let workloads = WorkloadMap { workloads: BTreeMap::from([("w w".to_owned(), workload("x"))]) };
    let bad = State { api_version: "v1".to_owned(), workloads: Some(workloads), configs: None };
    let present = simulated.server.startup_manifest().clone();
    let error = simulated.server.set_startup_manifest(bad).unwrap_err();
    assert!(error.contains("Unsupported workload name 'w w'"), "{error}");
    assert_eq!(simulated.server.startup_manifest(), &present);
}

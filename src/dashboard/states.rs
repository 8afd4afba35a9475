//! The states of all workload instances, as events tell of them.

use std::collections::BTreeMap;

use crate::ankaios::events::Event;
use crate::json::{InstanceName, instance_states};
use crate::proto::ank_base::{CompleteState, ExecutionState};

/// The states of all workload instances, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct States(BTreeMap<InstanceName, ExecutionState>);

impl States {
    /// All instances, in the order of agent, workload and id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&InstanceName, &ExecutionState)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets everything for a state that is complete.
    pub(super) fn replace(&mut self, state: &CompleteState) {
        let states = instance_states(state);
        self.0 = states.map(|(instance, state)| (instance, state.clone())).collect();
    }

    /// Takes over what an event tells of.
    pub(super) fn apply(&mut self, event: &Event) {
        let nothing = CompleteState::default();
        let state = event.response.complete_state.as_ref().unwrap_or(&nothing);
        if event.resynced {
            return self.replace(state);
        }
        // First what is gone: an instance may go and come in one event.
        if let Some(altered) = &event.response.altered_fields {
            for field in &altered.removed_fields {
                self.0.retain(|instance, _| !is_gone(instance, field));
            }
        }
        for (instance, news) in instance_states(state) {
            let known = self.0.entry(instance).or_default();
            // An event holds the fields that have changed and no others.
            if news.execution_state_enum.is_some() {
                known.execution_state_enum = news.execution_state_enum;
            }
            if news.additional_info.is_some() {
                known.additional_info.clone_from(&news.additional_info);
            }
        }
    }
}

/// Whether a removed field takes an instance away. Ankaios names the highest part
/// that is gone: the state of one instance, a workload or an agent. The path of an
/// instance without an agent leaves the agent out.
fn is_gone(instance: &InstanceName, field: &str) -> bool {
    let Some(field) = field.strip_prefix("workloadStates") else { return false };
    let field = field.strip_suffix(".state").unwrap_or(field);
    let InstanceName { agent_name, workload_name, workload_id } = instance;
    let path = if agent_name.is_empty() {
        format!(".{workload_name}.{workload_id}")
    } else {
        format!(".{agent_name}.{workload_name}.{workload_id}")
    };
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::proto::ank_base::execution_state::ExecutionStateEnum as E;
    use crate::proto::ank_base::{
        AlteredFields, CompleteStateResponse, ExecutionsStatesForId, ExecutionsStatesOfWorkload,
        WorkloadStatesMap,
    };

    const RUNNING: Option<E> = Some(E::Running(0));
    const FAILED: Option<E> = Some(E::Failed(0));

    fn state(
        instances: &[(&str, &str, &str)],
        state: Option<E>,
        info: Option<&str>,
    ) -> CompleteState {
        let mut agents = BTreeMap::<_, ExecutionsStatesOfWorkload>::new();
        for (agent, workload, id) in instances {
            let ids: &mut ExecutionsStatesForId = agents
                .entry((*agent).to_owned())
                .or_default()
                .wl_name_state_map
                .entry((*workload).to_owned())
                .or_default();
            let additional_info = info.map(str::to_owned);
            let state = ExecutionState { additional_info, execution_state_enum: state };
            ids.id_state_map.insert((*id).to_owned(), state);
        }
        let workload_states = Some(WorkloadStatesMap { agent_state_map: agents });
        CompleteState { workload_states, ..CompleteState::default() }
    }

    fn event(state: CompleteState, removed: &[&str]) -> Event {
        let altered_fields = Some(AlteredFields {
            removed_fields: removed.iter().map(ToString::to_string).collect(),
            ..AlteredFields::default()
        });
        let complete_state = Some(state);
        Event {
            response: CompleteStateResponse { complete_state, altered_fields },
            resynced: false,
        }
    }

    fn names(states: &States) -> Vec<String> {
        states.iter().map(|(instance, _)| instance.to_string()).collect()
    }

    #[test]
    fn what_an_event_leaves_out_has_not_changed() {
        let mut states = States::default();
        states.replace(&state(&[("a", "w", "1"), ("a", "v", "2")], RUNNING, Some("since today")));
        states.apply(&event(state(&[("a", "w", "1")], FAILED, None), &[]));
        let of = |states: &States, workload: &str| {
            let found = states.iter().find(|(name, _)| name.workload_name == workload);
            found.map(|(_, state)| state.clone()).unwrap()
        };
        assert_eq!(of(&states, "w").execution_state_enum, FAILED);
        assert_eq!(of(&states, "w").additional_info(), "since today");
        assert_eq!(of(&states, "v").execution_state_enum, RUNNING);
        states.apply(&event(state(&[("a", "w", "1")], None, Some("")), &[]));
        assert_eq!(of(&states, "w").execution_state_enum, FAILED);
        assert_eq!(of(&states, "w").additional_info(), "");
    }

    #[test]
    fn a_removed_field_takes_away_what_lies_below_it() {
        let all =
            [("a", "w", "1"), ("a", "w", "2"), ("a", "ww", "1"), ("b", "w", "1"), ("", "w", "1")];
        for (field, left) in [
            ("workloadStates.a.w.1.state", &["w.1.", "w.2.a", "ww.1.a", "w.1.b"][..]),
            ("workloadStates.a.w.1", &["w.1.", "w.2.a", "ww.1.a", "w.1.b"]),
            ("workloadStates.a.w", &["w.1.", "ww.1.a", "w.1.b"]),
            ("workloadStates.a", &["w.1.", "w.1.b"]),
            ("workloadStates.w.1", &["w.1.a", "w.2.a", "ww.1.a", "w.1.b"]),
            ("workloadStates", &[]),
            ("workloadStates.a.w.1.additionalInfo", &["w.1.", "w.1.a", "w.2.a", "ww.1.a", "w.1.b"]),
            ("desiredState.workloads.w", &["w.1.", "w.1.a", "w.2.a", "ww.1.a", "w.1.b"]),
        ] {
            let mut states = States::default();
            states.replace(&state(&all, RUNNING, None));
            states.apply(&event(CompleteState::default(), &[field]));
            assert_eq!(names(&states), left, "{field}");
        }
    }

    #[test]
    fn a_resynced_event_replaces_everything() {
        let mut states = States::default();
        states.replace(&state(&[("a", "w", "1")], RUNNING, Some("old")));
        let mut resynced = event(state(&[("a", "v", "1"), ("a", "w", "1")], FAILED, None), &[]);
        resynced.resynced = true;
        resynced.response.altered_fields = None;
        states.apply(&resynced);
        assert_eq!(names(&states), ["v.1.a", "w.1.a"]);
        assert!(states.iter().all(|(_, state)| state.additional_info().is_empty()));
        assert_eq!(states.len(), 2);
    }
}

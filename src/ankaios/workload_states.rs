//! The states of workload instances, put together from what events tell.

use std::collections::{BTreeMap, BTreeSet};

use super::events::Event;
use crate::json::{InstanceName, instance_states};
use crate::proto::ank_base::{CompleteState, ExecutionState};

/// The states of workload instances, by name.
///
/// An event holds the fields that have changed and no others: only the state of an
/// instance, or only its additional information. And it names the highest part
/// that is gone: an instance, but also a workload or an agent with all instances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkloadStates(BTreeMap<InstanceName, ExecutionState>);

/// Which instances an event was about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// They are new, or something about them has changed.
    pub changed: BTreeSet<InstanceName>,
    /// They were known, and are gone.
    pub gone: BTreeSet<InstanceName>,
}

impl WorkloadStates {
    /// All instances, in the order of agent, workload and id.
    pub fn iter(&self) -> impl Iterator<Item = (&InstanceName, &ExecutionState)> {
        self.0.iter()
    }

    /// How many instances there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The state of an instance, if it is known.
    #[must_use]
    pub fn get(&self, instance: &InstanceName) -> Option<&ExecutionState> {
        self.0.get(instance)
    }

    /// Forgets everything for a state that is complete.
    pub fn replace(&mut self, state: &CompleteState) -> Changes {
        let states = instance_states(state).map(|(instance, state)| (instance, state.clone()));
        let former = std::mem::replace(&mut self.0, states.collect());
        Changes {
            changed: self.0.keys().cloned().collect(),
            gone: former.into_keys().filter(|instance| !self.0.contains_key(instance)).collect(),
        }
    }

    /// Takes over what an event tells of.
    pub fn apply(&mut self, event: &Event) -> Changes {
        let nothing = CompleteState::default();
        let state = event.response.complete_state.as_ref().unwrap_or(&nothing);
        if event.resynced {
            return self.replace(state);
        }
        let mut changes = Changes::default();
        // First what is gone: an instance may go and come in one event.
        if let Some(altered) = &event.response.altered_fields {
            for field in &altered.removed_fields {
                let gone = self.0.extract_if(.., |instance, _| is_gone(instance, field));
                changes.gone.extend(gone.map(|(instance, _)| instance));
            }
        }
        for (instance, news) in instance_states(state) {
            let known = self.0.entry(instance.clone()).or_default();
            if news.execution_state_enum.is_some() {
                known.execution_state_enum = news.execution_state_enum;
            }
            if news.additional_info.is_some() {
                known.additional_info.clone_from(&news.additional_info);
            }
            changes.changed.insert(instance);
        }
        changes
    }
}

/// Whether a removed field takes an instance away. The path of an instance without
/// an agent leaves the agent out.
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
pub(crate) mod tests {
    use super::*;
    use crate::proto::ank_base::execution_state::ExecutionStateEnum as E;
    use crate::proto::ank_base::{
        AlteredFields, CompleteStateResponse, ExecutionsStatesForId, ExecutionsStatesOfWorkload,
        WorkloadStatesMap,
    };

    pub(crate) const RUNNING: Option<E> = Some(E::Running(0));
    pub(crate) const FAILED: Option<E> = Some(E::Failed(0));

    pub(crate) fn state(
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

    pub(crate) fn event(state: CompleteState, removed: &[&str]) -> Event {
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

    /// What a subscription that was made again begins with.
    pub(crate) fn snapshot(state: CompleteState) -> Event {
        let complete_state = Some(state);
        let response = CompleteStateResponse { complete_state, altered_fields: None };
        Event { response, resynced: true }
    }

    fn names(states: &WorkloadStates) -> Vec<String> {
        states.iter().map(|(instance, _)| instance.to_string()).collect()
    }

    #[test]
    fn what_an_event_leaves_out_has_not_changed() {
        let mut states = WorkloadStates::default();
        states.replace(&state(&[("a", "w", "1"), ("a", "v", "2")], RUNNING, Some("since today")));
        states.apply(&event(state(&[("a", "w", "1")], FAILED, None), &[]));
        let of = |states: &WorkloadStates, workload: &str| {
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
            let mut states = WorkloadStates::default();
            states.replace(&state(&all, RUNNING, None));
            states.apply(&event(CompleteState::default(), &[field]));
            assert_eq!(names(&states), left, "{field}");
        }
    }

    #[test]
    fn a_resynced_event_replaces_everything() {
        let mut states = WorkloadStates::default();
        states.replace(&state(&[("a", "w", "1"), ("a", "u", "1")], RUNNING, Some("old")));
        let resynced = snapshot(state(&[("a", "v", "1"), ("a", "w", "1")], FAILED, None));
        let changes = states.apply(&resynced);
        assert_eq!(names(&states), ["v.1.a", "w.1.a"]);
        assert_eq!(changes.changed, states.iter().map(|(name, _)| name.clone()).collect());
        assert_eq!(changes.gone, ["u.1.a".parse().unwrap()].into());
        assert!(states.iter().all(|(_, state)| state.additional_info().is_empty()));
        assert_eq!(states.len(), 2);
    }
}

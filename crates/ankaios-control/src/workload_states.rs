//! The states of workload instances, kept up to date by events.

use std::collections::{BTreeMap, BTreeSet};

use ankaios_model::InstanceName;
use ankaios_model::json::instance_states;
use ankaios_model::proto::ank_base::{CompleteState, ExecutionState};

use super::events::Event;

/// The states of all workload instances, kept up to date by the events of a subscription to
/// `workloadStates`.
///
/// An event of Ankaios contains only the fields that have changed: the state of an instance, for
/// example, without its additional information. Of what was removed it names only the topmost
/// field: an instance, a workload with all its instances, or an agent with all its workloads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkloadStates(BTreeMap<InstanceName, ExecutionState>);

/// The instances that an event has changed or removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct InstanceChanges {
    /// Instances that are new, or of which a field has changed.
    pub changed: BTreeSet<InstanceName>,
    /// Instances that were known and do not exist any more.
    pub gone: BTreeSet<InstanceName>,
}

impl WorkloadStates {
    /// All instances, in the order of agent, workload and id.
    pub fn iter(&self) -> impl Iterator<Item = (&InstanceName, &ExecutionState)> {
        self.0.iter()
    }

    /// The number of instances.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no instances.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The state of an instance, if it is known.
    #[must_use]
    pub fn get(&self, instance: &InstanceName) -> Option<&ExecutionState> {
        self.0.get(instance)
    }

    /// Replaces all states by those of a complete state.
    pub fn replace(&mut self, state: &CompleteState) -> InstanceChanges {
        let states = instance_states(state).map(|(instance, state)| (instance, state.clone()));
        let former = std::mem::replace(&mut self.0, states.collect());
        InstanceChanges {
            changed: self.0.keys().cloned().collect(),
            gone: former.into_keys().filter(|instance| !self.0.contains_key(instance)).collect(),
        }
    }

    /// Applies an event. One that follows a gap replaces all states.
    pub fn apply(&mut self, event: &Event) -> InstanceChanges {
        let nothing = CompleteState::default();
        let state = event.response.complete_state.as_ref().unwrap_or(&nothing);
        if event.resynced {
            return self.replace(state);
        }
        let mut changes = InstanceChanges::default();
        // Removed fields first: one event may remove an instance and add it again.
        if let Some(altered) = &event.response.altered_fields {
            for field in &altered.removed_fields {
                let gone = self.0.extract_if(.., |instance, _| is_gone(instance, field));
                changes.gone.extend(gone.map(|(instance, _)| instance));
            }
        }
        for (instance, state) in instance_states(state) {
            let known = self.0.entry(instance.clone()).or_default();
            if state.execution_state_enum.is_some() {
                known.execution_state_enum = state.execution_state_enum;
            }
            if state.additional_info.is_some() {
                known.additional_info.clone_from(&state.additional_info);
            }
            changes.changed.insert(instance);
        }
        changes
    }
}

/// Whether the removal of a field removes an instance. The path of an instance without an
/// agent has no part for the agent.
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
    use crate::testing::{FAILED, RUNNING, event, snapshot, state};

    fn names(states: &WorkloadStates) -> Vec<String> {
        states.iter().map(|(instance, _)| instance.to_string()).collect()
    }

    #[test]
    fn fields_that_an_event_does_not_contain_stay_as_they_are() {
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
    fn a_removed_field_removes_all_instances_below_it() {
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

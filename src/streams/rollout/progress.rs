//! The message on `manifest/apply/status`.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::following::{Following, Status};
use crate::ankaios::WorkloadStates;
use crate::json::{InstanceName, execution_state};
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{ExecutionState, Pending};

/// The states of all instances of a roll-out, as they are now.
#[derive(Serialize)]
pub(super) struct Progress<'a> {
    request_id: &'a str,
    status: Status,
    workloads: Workloads<'a>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(
        following: &'a Following,
        status: Status,
        states: &'a WorkloadStates,
    ) -> Self {
        let workloads = Workloads { following, states };
        Self { request_id: &following.request_id, status, workloads }
    }
}

struct Workloads<'a> {
    following: &'a Following,
    states: &'a WorkloadStates,
}

#[derive(Serialize)]
struct Workload<'a, S> {
    #[serde(flatten)]
    instance: &'a InstanceName,
    execution_state: S,
}

impl Serialize for Workloads<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What Ankaios has not told of yet.
        let begin = ExecutionState {
            execution_state_enum: Some(ExecutionStateEnum::Pending(Pending::Initial.into())),
            additional_info: None,
        };
        let instances = &self.following.instances;
        let mut workloads = serializer.serialize_seq(Some(instances.len()))?;
        for instance in instances {
            let execution_state = execution_state(self.states.get(instance).unwrap_or(&begin));
            workloads.serialize_element(&Workload { instance, execution_state })?;
        }
        workloads.end()
    }
}

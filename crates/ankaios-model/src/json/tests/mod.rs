#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod observed;
mod parsing;
mod replies;
mod workload;

use serde_json::{Value, json};

use super::*;
use crate::json::ankaios::parse_complete_state;
use crate::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use crate::proto::ank_base::config_item::ConfigItemEnum;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::file::FileContent;
use crate::proto::ank_base::*;

fn in_format(state: &CompleteState, format: StateFormat) -> Value {
    serde_json::to_value(complete_state(state, format)).unwrap()
}

fn sdk(state: &CompleteState) -> Value {
    in_format(state, StateFormat::Sdk)
}

fn ankaios(state: &CompleteState) -> Value {
    in_format(state, StateFormat::Ankaios)
}

fn execution_state(state: &ExecutionState) -> super::sdk::ExecutionState<'_> {
    state.into()
}

fn with_workload(workload: Workload) -> CompleteState {
    let workloads = [("w".to_owned(), workload)].into();
    CompleteState {
        desired_state: Some(State {
            api_version: "v1".into(),
            workloads: Some(WorkloadMap { workloads }),
            configs: None,
        }),
        ..CompleteState::default()
    }
}

fn with_execution_state(state: ExecutionState) -> CompleteState {
    let instances = ExecutionsStatesForId { id_state_map: [("i".to_owned(), state)].into() };
    let workloads =
        ExecutionsStatesOfWorkload { wl_name_state_map: [("w".to_owned(), instances)].into() };
    CompleteState {
        workload_states: Some(WorkloadStatesMap {
            agent_state_map: [("a".to_owned(), workloads)].into(),
        }),
        ..CompleteState::default()
    }
}

fn with_configs(item: Option<ConfigItemEnum>) -> CompleteState {
    let configs = [("c".to_owned(), ConfigItem { config_item_enum: item })].into();
    CompleteState {
        desired_state: Some(State { configs: Some(ConfigMap { configs }), ..State::default() }),
        ..CompleteState::default()
    }
}

fn string(text: &str) -> ConfigItem {
    ConfigItem { config_item_enum: Some(ConfigItemEnum::String(text.into())) }
}

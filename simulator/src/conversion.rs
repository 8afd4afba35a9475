//! Converts messages of the control interface to trees and back.
//!
//! The field names in a tree are those of manifests and field masks (`runtimeConfig`,
//! `cpuUsage`); an execution state has `state`, `subState` and `additionalInfo`. Like Ankaios
//! before it applies field masks, the tree omits empty maps and lists in workloads and configs.
//!
//! `ankaios-model` has similar conversions to JSON. The simulator does not use them, so that
//! tests find a wrong field name in either.

use std::collections::BTreeMap;

use ankaios_model::proto::ank_base::{
    self, AccessRightsRule, AddCondition, AgentAttributes, AgentMap, AgentStatus, CompleteState,
    ConfigArray, ConfigItem, ConfigMap, ConfigMappings, ConfigObject, ControlInterfaceAccess,
    CpuUsage, Dependencies, ExecutionState, ExecutionsStatesForId, ExecutionsStatesOfWorkload,
    File, Files, FreeMemory, LogRule, ReadWriteEnum, RestartPolicy, State, StateRule, Tags,
    Workload, WorkloadMap, WorkloadStatesMap, access_rights_rule::AccessRightsRuleEnum,
    config_item::ConfigItemEnum, execution_state::ExecutionStateEnum, file::FileContent,
};

use crate::tree::{FieldMap, Node};

/// How a message represents a field that the tree lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// As an empty message. Ankaios does so when it answers a request without masks.
    AsEmpty,
    /// As an unset field. Ankaios does so in events and when it answers a request with masks.
    AsUnset,
}

/// The tree of a complete state.
pub(crate) fn to_tree(state: CompleteState) -> Node {
    let mut fields = FieldMap::new();
    if let Some(desired) = state.desired_state {
        fields.insert("desiredState".into(), state_to_tree(desired));
    }
    if let Some(states) = state.workload_states {
        let agents = states.agent_state_map.into_iter().map(|(agent, workloads)| {
            let workloads = workloads.wl_name_state_map.into_iter().map(|(workload, ids)| {
                let ids = ids.id_state_map.into_iter();
                (workload, Node::map(ids.map(|(id, state)| (id, execution_to_tree(state)))))
            });
            (agent, Node::map(workloads))
        });
        fields.insert("workloadStates".into(), Node::map(agents));
    }
    if let Some(agents) = state.agents {
        let agents = agents.agents.into_iter();
        let agents = agents.map(|(name, attributes)| (name, agent_to_tree(attributes)));
        fields.insert("agents".into(), Node::map(agents));
    }
    if let Some(effective) = state.effective_state {
        fields.insert("effectiveState".into(), state_to_tree(effective));
    }
    Node::Map(fields.into())
}

/// The complete state in a tree, or the part that masks have selected.
pub(crate) fn to_message(node: &Node, absent: Absent) -> CompleteState {
    CompleteState {
        desired_state: node.get("desiredState").map(|state| state_to_message(state, absent)),
        workload_states: node.get("workloadStates").map(|agents| WorkloadStatesMap {
            agent_state_map: map(agents, |workloads| ExecutionsStatesOfWorkload {
                wl_name_state_map: map(workloads, |ids| ExecutionsStatesForId {
                    id_state_map: map(ids, execution_to_message),
                }),
            }),
        }),
        agents: node.get("agents").map(|agents| AgentMap {
            agents: map(agents, |agent| agent_to_message(agent, absent)),
        }),
        effective_state: node.get("effectiveState").map(|state| state_to_message(state, absent)),
    }
}

// ------------------------------------------------------------ desired state

fn state_to_tree(state: State) -> Node {
    let mut fields = FieldMap::new();
    fields.insert("apiVersion".into(), Node::text(state.api_version));
    if let Some(workloads) = state.workloads {
        let workloads = workloads.workloads.into_iter();
        let workloads = workloads.map(|(name, workload)| (name, workload_to_tree(workload)));
        fields.insert("workloads".into(), Node::map(workloads));
    }
    if let Some(configs) = state.configs.filter(|configs| !configs.configs.is_empty()) {
        let configs = configs.configs.into_iter();
        let configs = configs.map(|(name, item)| (name, config_to_tree(item)));
        fields.insert("configs".into(), Node::map(configs));
    }
    Node::Map(fields.into())
}

fn state_to_message(node: &Node, absent: Absent) -> State {
    State {
        api_version: text(node, "apiVersion").unwrap_or_default(),
        workloads: or_empty(node.get("workloads"), absent, |workloads| WorkloadMap {
            workloads: map(workloads, |workload| workload_to_message(workload, absent)),
        }),
        configs: or_empty(node.get("configs"), absent, |configs| ConfigMap {
            configs: map(configs, config_to_message),
        }),
    }
}

/// The tree of one workload.
pub(crate) fn workload_to_tree(workload: Workload) -> Node {
    let mut fields = FieldMap::new();
    let mut put = |name: &str, node: Option<Node>| {
        if let Some(node) = node {
            fields.insert(name.into(), node);
        }
    };
    put("agent", workload.agent.map(Node::text));
    put("runtime", workload.runtime.map(Node::text));
    put("runtimeConfig", workload.runtime_config.map(Node::text));
    put(
        "restartPolicy",
        workload.restart_policy.map(|policy| {
            Node::text(RestartPolicy::try_from(policy).unwrap_or_default().as_str_name())
        }),
    );
    put("tags", workload.tags.and_then(|tags| texts_to_tree(tags.tags)));
    put("configs", workload.configs.and_then(|configs| texts_to_tree(configs.configs)));
    put(
        "dependencies",
        workload.dependencies.and_then(|dependencies| {
            let conditions = dependencies.dependencies.into_iter().map(|(name, condition)| {
                let condition = AddCondition::try_from(condition).unwrap_or_default();
                (name, condition.as_str_name().to_owned())
            });
            texts_to_tree(conditions.collect())
        }),
    );
    put(
        "files",
        workload
            .files
            .filter(|files| !files.files.is_empty())
            .map(|files| Node::list(files.files.into_iter().map(file_to_tree))),
    );
    put("controlInterfaceAccess", workload.control_interface_access.and_then(access_to_tree));
    Node::Map(fields.into())
}

/// The message of one workload, or of the part that masks have selected.
pub(crate) fn workload_to_message(node: &Node, absent: Absent) -> Workload {
    Workload {
        agent: text(node, "agent"),
        runtime: text(node, "runtime"),
        runtime_config: text(node, "runtimeConfig"),
        restart_policy: text(node, "restartPolicy")
            .map(|policy| RestartPolicy::from_str_name(&policy).unwrap_or_default().into()),
        tags: or_empty(node.get("tags"), absent, |tags| Tags { tags: map(tags, text_of) }),
        configs: or_empty(node.get("configs"), absent, |configs| ConfigMappings {
            configs: map(configs, text_of),
        }),
        dependencies: or_empty(node.get("dependencies"), absent, |dependencies| Dependencies {
            dependencies: map(dependencies, |condition| {
                AddCondition::from_str_name(&text_of(condition)).unwrap_or_default().into()
            }),
        }),
        files: or_empty(node.get("files"), absent, |files| Files {
            files: values(files, file_to_message),
        }),
        control_interface_access: or_empty(
            node.get("controlInterfaceAccess"),
            absent,
            access_to_message,
        ),
    }
}

fn file_to_tree(file: File) -> Node {
    let mut fields = FieldMap::new();
    fields.insert("mountPoint".into(), Node::text(file.mount_point));
    match file.file_content {
        Some(FileContent::Data(data)) => fields.insert("data".into(), Node::text(data)),
        Some(FileContent::BinaryData(data)) => fields.insert("binaryData".into(), Node::text(data)),
        None => None,
    };
    Node::Map(fields.into())
}

fn file_to_message(node: &Node) -> File {
    File {
        mount_point: text(node, "mountPoint").unwrap_or_default(),
        file_content: text(node, "data")
            .map(FileContent::Data)
            .or_else(|| text(node, "binaryData").map(FileContent::BinaryData)),
    }
}

fn access_to_tree(access: ControlInterfaceAccess) -> Option<Node> {
    let mut fields = FieldMap::new();
    for (name, rules) in [("allowRules", access.allow_rules), ("denyRules", access.deny_rules)] {
        if !rules.is_empty() {
            fields.insert(name.into(), Node::list(rules.into_iter().map(rule_to_tree)));
        }
    }
    (!fields.is_empty()).then(|| Node::Map(fields.into()))
}

/// The message of access rules.
pub(crate) fn access_to_message(node: &Node) -> ControlInterfaceAccess {
    let rules =
        |name| node.get(name).map(|rules| values(rules, rule_to_message)).unwrap_or_default();
    ControlInterfaceAccess { allow_rules: rules("allowRules"), deny_rules: rules("denyRules") }
}

fn rule_to_tree(rule: AccessRightsRule) -> Node {
    match rule.access_rights_rule_enum {
        Some(AccessRightsRuleEnum::StateRule(rule)) => {
            let operation = ReadWriteEnum::try_from(rule.operation).unwrap_or_default();
            Node::map([
                ("type", Node::text("StateRule")),
                ("operation", Node::text(operation.as_str_name())),
                ("filterMasks", Node::list(rule.filter_masks.into_iter().map(Node::text))),
            ])
        }
        Some(AccessRightsRuleEnum::LogRule(rule)) => Node::map([
            ("type", Node::text("LogRule")),
            ("workloadNames", Node::list(rule.workload_names.into_iter().map(Node::text))),
        ]),
        None => Node::Unset,
    }
}

fn rule_to_message(node: &Node) -> AccessRightsRule {
    let names = |field| node.get(field).map(|list| values(list, text_of)).unwrap_or_default();
    let rule = match text(node, "type").as_deref() {
        Some("StateRule") => Some(AccessRightsRuleEnum::StateRule(StateRule {
            operation: text(node, "operation")
                .and_then(|operation| ReadWriteEnum::from_str_name(&operation))
                .unwrap_or_default()
                .into(),
            filter_masks: names("filterMasks"),
        })),
        Some("LogRule") => {
            Some(AccessRightsRuleEnum::LogRule(LogRule { workload_names: names("workloadNames") }))
        }
        _ => None,
    };
    AccessRightsRule { access_rights_rule_enum: rule }
}

fn config_to_tree(item: ConfigItem) -> Node {
    match item.config_item_enum {
        Some(ConfigItemEnum::String(text)) => Node::text(text),
        Some(ConfigItemEnum::Array(array)) => {
            Node::list(array.values.into_iter().map(config_to_tree))
        }
        Some(ConfigItemEnum::Object(object)) => {
            let fields = object.fields.into_iter();
            Node::map(fields.map(|(name, item)| (name, config_to_tree(item))))
        }
        None => Node::Unset,
    }
}

fn config_to_message(node: &Node) -> ConfigItem {
    let item = match node {
        Node::Map(_) => {
            Some(ConfigItemEnum::Object(ConfigObject { fields: map(node, config_to_message) }))
        }
        Node::List(_) => {
            Some(ConfigItemEnum::Array(ConfigArray { values: values(node, config_to_message) }))
        }
        Node::Text(text) => Some(ConfigItemEnum::String(text.to_string())),
        Node::Number(_) | Node::Unset => None,
    };
    ConfigItem { config_item_enum: item }
}

// --------------------------------------------------------- execution states

/// The tree of one execution state.
pub(crate) fn execution_to_tree(state: ExecutionState) -> Node {
    let mut fields = FieldMap::new();
    if let Some(info) = state.additional_info {
        fields.insert("additionalInfo".into(), Node::text(info));
    }
    if let Some(state) = state.execution_state_enum {
        let (name, sub_state) = execution_names(state);
        fields.insert("state".into(), Node::text(name));
        fields.insert("subState".into(), Node::text(sub_state));
    }
    Node::Map(fields.into())
}

/// The message of one execution state, or of the part that masks have selected.
pub(crate) fn execution_to_message(node: &Node) -> ExecutionState {
    ExecutionState {
        additional_info: text(node, "additionalInfo"),
        execution_state_enum: node
            .get("state")
            .and_then(Node::as_text)
            .zip(node.get("subState").and_then(Node::as_text))
            .and_then(|(name, sub_state)| execution_of_names(name, sub_state)),
    }
}

fn execution_names(state: ExecutionStateEnum) -> (&'static str, &'static str) {
    use ank_base::{
        AgentDisconnected, Failed, NotScheduled, Pending, Removed, Running, Stopping, Succeeded,
    };
    match state {
        ExecutionStateEnum::AgentDisconnected(sub) => (
            "AgentDisconnected",
            AgentDisconnected::try_from(sub).unwrap_or_default().as_str_name(),
        ),
        ExecutionStateEnum::Pending(sub) => {
            ("Pending", Pending::try_from(sub).unwrap_or_default().as_str_name())
        }
        ExecutionStateEnum::Running(sub) => {
            ("Running", Running::try_from(sub).unwrap_or_default().as_str_name())
        }
        ExecutionStateEnum::Stopping(sub) => {
            ("Stopping", Stopping::try_from(sub).unwrap_or_default().as_str_name())
        }
        ExecutionStateEnum::Succeeded(sub) => {
            ("Succeeded", Succeeded::try_from(sub).unwrap_or_default().as_str_name())
        }
        ExecutionStateEnum::Failed(sub) => {
            ("Failed", Failed::try_from(sub).unwrap_or_default().as_str_name())
        }
        ExecutionStateEnum::NotScheduled(sub) => {
            ("NotScheduled", NotScheduled::try_from(sub).unwrap_or_default().as_str_name())
        }
        ExecutionStateEnum::Removed(sub) => {
            ("Removed", Removed::try_from(sub).unwrap_or_default().as_str_name())
        }
    }
}

fn execution_of_names(name: &str, sub: &str) -> Option<ExecutionStateEnum> {
    use ank_base::{
        AgentDisconnected, Failed, NotScheduled, Pending, Removed, Running, Stopping, Succeeded,
    };
    Some(match name {
        "AgentDisconnected" => {
            ExecutionStateEnum::AgentDisconnected(AgentDisconnected::from_str_name(sub)?.into())
        }
        "Pending" => ExecutionStateEnum::Pending(Pending::from_str_name(sub)?.into()),
        "Running" => ExecutionStateEnum::Running(Running::from_str_name(sub)?.into()),
        "Stopping" => ExecutionStateEnum::Stopping(Stopping::from_str_name(sub)?.into()),
        "Succeeded" => ExecutionStateEnum::Succeeded(Succeeded::from_str_name(sub)?.into()),
        "Failed" => ExecutionStateEnum::Failed(Failed::from_str_name(sub)?.into()),
        "NotScheduled" => {
            ExecutionStateEnum::NotScheduled(NotScheduled::from_str_name(sub)?.into())
        }
        "Removed" => ExecutionStateEnum::Removed(Removed::from_str_name(sub)?.into()),
        _ => return None,
    })
}

// ------------------------------------------------------------------- agents

/// The tree of one agent.
pub(crate) fn agent_to_tree(agent: AgentAttributes) -> Node {
    let mut fields = FieldMap::new();
    if let Some(status) = agent.status {
        fields.insert("status".into(), status_to_tree(status));
    }
    if let Some(tags) = agent.tags.and_then(|tags| texts_to_tree(tags.tags)) {
        fields.insert("tags".into(), tags);
    }
    Node::Map(fields.into())
}

/// The tree of the load of an agent.
pub(crate) fn status_to_tree(status: AgentStatus) -> Node {
    let mut fields = FieldMap::new();
    if let Some(cpu) = status.cpu_usage {
        fields.insert("cpuUsage".into(), Node::Number(cpu.cpu_usage.into()));
    }
    if let Some(memory) = status.free_memory {
        fields.insert("freeMemory".into(), Node::Number(memory.free_memory));
    }
    Node::Map(fields.into())
}

fn agent_to_message(node: &Node, absent: Absent) -> AgentAttributes {
    let number = |status: &Node, name| match status.get(name) {
        Some(Node::Number(number)) => Some(*number),
        _ => None,
    };
    AgentAttributes {
        status: node.get("status").map(|status| AgentStatus {
            cpu_usage: number(status, "cpuUsage")
                .map(|number| CpuUsage { cpu_usage: u32::try_from(number).unwrap_or(u32::MAX) }),
            free_memory: number(status, "freeMemory").map(|free_memory| FreeMemory { free_memory }),
        }),
        tags: or_empty(node.get("tags"), absent, |tags| Tags { tags: map(tags, text_of) }),
    }
}

// ------------------------------------------------------------------ helpers

fn texts_to_tree(texts: BTreeMap<String, String>) -> Option<Node> {
    (!texts.is_empty())
        .then(|| Node::map(texts.into_iter().map(|(name, text)| (name, Node::text(text)))))
}

fn map<T>(node: &Node, convert: impl Fn(&Node) -> T) -> BTreeMap<String, T> {
    let fields = node.fields().into_iter().flatten();
    fields.map(|(name, field)| (name.to_string(), convert(field))).collect()
}

fn values<T>(node: &Node, convert: impl Fn(&Node) -> T) -> Vec<T> {
    match node {
        Node::List(values) => values.iter().map(convert).collect(),
        _ => Vec::new(),
    }
}

fn text_of(node: &Node) -> String {
    node.as_text().unwrap_or_default().to_owned()
}

fn text(node: &Node, field: &str) -> Option<String> {
    node.get(field).and_then(Node::as_text).map(str::to_owned)
}

fn or_empty<T: Default>(
    node: Option<&Node>,
    absent: Absent,
    convert: impl FnOnce(&Node) -> T,
) -> Option<T> {
    match (node, absent) {
        (Some(node), _) => Some(convert(node)),
        (None, Absent::AsEmpty) => Some(T::default()),
        (None, Absent::AsUnset) => None,
    }
}

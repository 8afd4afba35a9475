//! What an update does to the desired state, or why Ankaios rejects it.
//!
//! The checks are written independently of those in `ankaios-model`, so that tests find a bug in
//! either. The error messages are those of Ankaios, because the connector forwards them to
//! operators.

use std::collections::BTreeSet;
use std::sync::Arc;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::UpdateStateRequest;

use crate::conversion;
use crate::field_mask;
use crate::instance::RenderedWorkloads;
use crate::template;
use crate::tree::{FieldMap, Node};

const NAME_RULE: &str = "Only a-z, A-Z, 0-9 chars, underscore (_), and hyphen (-) allowed. \
                         Maximum length is 63 characters.";

/// The result of an update that Ankaios accepts.
#[derive(Debug)]
pub(crate) struct PlannedUpdate {
    /// The new desired state.
    pub(crate) desired: Node,
    pub(crate) rendered: RenderedWorkloads,
    pub(crate) added: Vec<InstanceName>,
    pub(crate) deleted: Vec<InstanceName>,
    /// The new tags of agents.
    pub(crate) agent_tags: Vec<(Arc<str>, Option<Node>)>,
}

/// Determines what an update does: merges it into the desired state, adds defaults, renders the
/// workloads and compares them with the present ones.
///
/// # Errors
/// The message of the error response.
pub(crate) fn plan(
    desired: &Node,
    rendered: &RenderedWorkloads,
    request: UpdateStateRequest,
) -> Result<PlannedUpdate, String> {
    let new = request.new_state.ok_or("The UpdateStateRequest does not contain a new state")?;
    let new = conversion::to_tree(new);
    let rejected = |reason: String| format!("Update rejected: '{reason}'");
    let invalid =
        |reason: String| rejected(format!("Resulting State is invalid, reason: '{reason}'"));

    let whole = request.update_mask.is_empty();
    let merged = if whole {
        new
    } else {
        let mut merged = Node::map([("desiredState", desired.clone())]);
        field_mask::merge(&mut merged, &new, &request.update_mask)
            .map_err(|field| rejected(format!("Could not find field {field}")))?;
        merged
    };
    let completed = complete(merged.get("desiredState"), desired).map_err(|error| {
        let error = if whole { error.in_message() } else { error.in_merged_state() };
        invalid(format!("Could not parse into CompleteState: '{error}'"))
    })?;
    check_api_version(&completed)?;
    check_configs(&completed)?;
    let new_rendered = render(&completed, desired, rendered).map_err(invalid)?;
    check_names(&new_rendered).map_err(invalid)?;

    let (added, deleted) = compare(rendered, &new_rendered);
    if let Some(workload) = find_cycle(&completed, &added) {
        return Err(rejected(format!("workload dependency '{workload}' is part of a cycle.")));
    }
    let agent_tags = merged.get("agents").and_then(Node::fields).into_iter().flatten();
    let agent_tags =
        agent_tags.map(|(name, agent)| (name.clone(), agent.get("tags").cloned())).collect();
    Ok(PlannedUpdate { desired: completed, rendered: new_rendered, added, deleted, agent_tags })
}

/// A required field is missing.
#[derive(Debug)]
struct MissingField(&'static str);

impl MissingField {
    /// The error message if the update replaces the complete state.
    fn in_message(&self) -> String {
        let field = match self.0 {
            "runtimeConfig" => "runtime_config",
            field => field,
        };
        ["workloads", "workloads", "desired_state"]
            .into_iter()
            .fold(format!("Missing field '{field}'"), |error, outer| {
                format!("Cannot convert field '{outer}' to spec object: '{error}'.")
            })
    }

    /// The error message if the update is merged into the present state.
    fn in_merged_state(&self) -> String {
        format!("missing field `{}`", self.0)
    }
}

/// Adds default values and checks for required fields.
fn complete(new: Option<&Node>, old: &Node) -> Result<Node, MissingField> {
    let nothing = Node::empty();
    let new = new.unwrap_or(&nothing);
    let mut fields = FieldMap::new();
    let version = match (new.get("apiVersion"), new.is_empty_map()) {
        (Some(version), _) => version.clone(),
        (None, true) => Node::text("v1"),
        (None, false) => return Err(MissingField("apiVersion")),
    };
    fields.insert("apiVersion".into(), version);

    let mut workloads = new.get("workloads").cloned().unwrap_or_else(Node::empty);
    let old_workloads = old.get("workloads");
    let incomplete: Vec<(Arc<str>, Node)> = workloads
        .fields()
        .into_iter()
        .flatten()
        .filter(|(name, workload)| {
            let old = old_workloads.and_then(|old| old.get(name));
            !old.is_some_and(|old| old.is_shared_with(workload))
        })
        .map(|(name, workload)| (name.clone(), workload.clone()))
        .collect();
    for (name, workload) in incomplete {
        let workload = complete_workload(workload)?;
        // Cannot fail: `workloads` is a map.
        let _ = workloads.set(&[&name], workload);
    }
    fields.insert("workloads".into(), workloads);
    if let Some(configs) = new.get("configs").filter(|configs| !configs.is_empty_map()) {
        fields.insert("configs".into(), configs.clone());
    }
    Ok(Node::Map(fields.into()))
}

fn complete_workload(workload: Node) -> Result<Node, MissingField> {
    let mut fields = workload.fields().cloned().unwrap_or_default();
    for required in ["agent", "runtime", "runtimeConfig"] {
        if !fields.contains_key(required) {
            return Err(MissingField(required));
        }
    }
    if let Some(Node::Text(config)) = fields.get("runtimeConfig") {
        let trimmed = config.trim();
        if trimmed.len() != config.len() {
            let trimmed = Node::text(trimmed);
            fields.insert("runtimeConfig".into(), trimmed);
        }
    }
    fields.entry("restartPolicy".into()).or_insert_with(|| Node::text("NEVER"));
    for optional in ["tags", "configs", "dependencies"] {
        if fields.get(optional).is_some_and(Node::is_empty_map) {
            fields.remove(optional);
        }
    }
    Ok(Node::Map(fields.into()))
}

fn check_api_version(desired: &Node) -> Result<(), String> {
    match desired.get("apiVersion").and_then(Node::as_text) {
        Some("v1" | "v0.1") => Ok(()),
        other => Err(format!(
            "Unsupported API version. Received '{}', expected 'v1'",
            other.unwrap_or_default()
        )),
    }
}

fn check_configs(desired: &Node) -> Result<(), String> {
    if let Some(configs) = desired.get("configs") {
        check_config_keys(configs)?;
    }
    let workloads = desired.get("workloads").and_then(Node::fields).into_iter().flatten();
    for (_, workload) in workloads {
        for (alias, name) in workload.get("configs").and_then(Node::fields).into_iter().flatten() {
            if !is_name(alias) {
                return Err(format!("Unsupported config alias '{alias}'. {NAME_RULE}"));
            }
            let name = name.as_text().unwrap_or_default();
            if !is_name(name) {
                return Err(format!("Unsupported config reference key '{name}'. {NAME_RULE}"));
            }
        }
    }
    Ok(())
}

fn check_config_keys(configs: &Node) -> Result<(), String> {
    match configs {
        Node::Map(fields) => fields.iter().try_for_each(|(key, value)| {
            if is_name(key) {
                check_config_keys(value)
            } else {
                Err(format!("Unsupported config item key '{key}'. {NAME_RULE}"))
            }
        }),
        Node::List(values) => values.iter().try_for_each(check_config_keys),
        Node::Text(_) | Node::Number(_) | Node::Unset => Ok(()),
    }
}

/// Whether a name has 1 to 63 characters of `[a-zA-Z0-9_-]`.
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && has_name_characters(name)
}

fn has_name_characters(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Renders the workloads that have changed and keeps the others.
fn render(
    new: &Node,
    old: &Node,
    rendered: &RenderedWorkloads,
) -> Result<RenderedWorkloads, String> {
    let configs = new.get("configs");
    let same_configs = match (configs, old.get("configs")) {
        (Some(new), Some(old)) => new.same(old),
        (new, old) => new == old,
    };
    let old_workloads = old.get("workloads");
    let workloads = new.get("workloads").and_then(Node::fields).into_iter().flatten();
    workloads
        .map(|(name, workload)| {
            let kept = rendered.get(name).filter(|_| {
                let old = old_workloads.and_then(|old| old.get(name));
                old.is_some_and(|old| old.is_shared_with(workload))
                    && (same_configs || workload.get("configs").is_none())
            });
            let rendered = match kept {
                Some(rendered) => Arc::clone(rendered),
                None => Arc::new(template::render(name, workload, configs)?),
            };
            Ok((name.clone(), rendered))
        })
        .collect()
}

fn check_names(rendered: &RenderedWorkloads) -> Result<(), String> {
    for (name, workload) in rendered {
        let reason = if name.is_empty() {
            Some("Is empty.".to_owned())
        } else if !has_name_characters(name) {
            Some("Expected to have characters in [a-zA-Z0-9_-].".to_owned())
        } else if name.len() > 63 {
            let length = name.len();
            Some(format!("Length {length} exceeds the maximum limit of 63 characters."))
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(format!("Unsupported workload name '{name}'. {reason}"));
        }
        let agent = &workload.name.agent_name;
        if !has_name_characters(agent) {
            return Err(format!("Unsupported agent name '{agent}'. {NAME_RULE}"));
        }
    }
    Ok(())
}

/// The added and the deleted instances. A changed workload counts as both.
fn compare(
    old: &RenderedWorkloads,
    new: &RenderedWorkloads,
) -> (Vec<InstanceName>, Vec<InstanceName>) {
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    for (name, was) in old {
        match new.get(name) {
            Some(is) if is.name == was.name && is.workload.same(&was.workload) => {}
            Some(is) => {
                added.push(is.name.clone());
                deleted.push(was.name.clone());
            }
            None => deleted.push(was.name.clone()),
        }
    }
    added.extend(
        new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(_, is)| is.name.clone()),
    );
    (added, deleted)
}

/// A workload that depends on itself, directly or by way of others. Only cycles that an added
/// workload can reach are searched for: the present state has none.
fn find_cycle(desired: &Node, added: &[InstanceName]) -> Option<String> {
    fn visit<'a>(
        workloads: &'a Node,
        name: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        if path.contains(&name) {
            return Some(name.to_owned());
        }
        if done.contains(name) {
            return None;
        }
        path.push(name);
        let dependencies = workloads.at([name, "dependencies"]).and_then(Node::fields);
        for (dependency, _) in dependencies.into_iter().flatten() {
            if let Some(found) = visit(workloads, dependency, path, done) {
                return Some(found);
            }
        }
        path.pop();
        done.insert(name);
        None
    }
    let workloads = desired.get("workloads")?;
    let mut done = BTreeSet::new();
    added.iter().find_map(|name| visit(workloads, &name.workload_name, &mut Vec::new(), &mut done))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use ankaios_model::proto::ank_base::{
        AgentAttributes, AgentMap, CompleteState, ConfigItem, ConfigMap, ConfigMappings,
        Dependencies, State, Tags, Workload, WorkloadMap, config_item::ConfigItemEnum,
    };

    use super::*;
    use crate::instance::instance_name;

    /// A desired state and its rendered workloads.
    #[derive(Default)]
    struct Desired(Option<Node>, RenderedWorkloads);

    impl Desired {
        fn plan(&self, new: State, masks: &[&str]) -> Result<PlannedUpdate, String> {
            let new_state = CompleteState { desired_state: Some(new), ..CompleteState::default() };
            self.plan_all(new_state, masks)
        }

        fn plan_all(&self, new: CompleteState, masks: &[&str]) -> Result<PlannedUpdate, String> {
            let version = [("apiVersion", Node::text("v1")), ("workloads", Node::empty())];
            let desired = self.0.clone().unwrap_or_else(|| Node::map(version));
            let request = UpdateStateRequest {
                new_state: Some(new),
                update_mask: masks.iter().map(|&mask| mask.to_owned()).collect(),
            };
            plan(&desired, &self.1, request)
        }

        fn apply(&mut self, new: State, masks: &[&str]) {
            let update = self.plan(new, masks).unwrap();
            *self = Self(Some(update.desired), update.rendered);
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

    fn state<const N: usize>(workloads: [(&str, Workload); N]) -> State {
        let workloads = workloads.map(|(name, workload)| (name.to_owned(), workload)).into();
        State {
            api_version: "v1".to_owned(),
            workloads: Some(WorkloadMap { workloads }),
            configs: None,
        }
    }

    fn config(name: &str, value: &str) -> State {
        let item = ConfigItem { config_item_enum: Some(ConfigItemEnum::String(value.to_owned())) };
        let configs = ConfigMap { configs: [(name.to_owned(), item)].into() };
        State { configs: Some(configs), ..state([]) }
    }

    fn rejection(new: State, masks: &[&str]) -> String {
        Desired::default().plan(new, masks).unwrap_err()
    }

    #[test]
    fn defaults_are_added_and_the_configuration_is_trimmed() {
        let masks = ["desiredState.workloads.w"];
        let new = state([("w", workload(" image: x\n\n"))]);
        let update = Desired::default().plan(new, &masks).unwrap();
        let completed = update.desired.at(["workloads", "w"]).unwrap();
        assert_eq!(completed.get("restartPolicy"), Some(&Node::text("NEVER")));
        assert_eq!(completed.get("runtimeConfig"), Some(&Node::text("image: x")));
        assert_eq!(update.added, [instance_name("w", "agent_A", "image: x")]);
    }

    #[test]
    fn without_masks_the_whole_state_is_replaced() {
        let mut desired = Desired::default();
        let masks = ["desiredState.workloads.a", "desiredState.workloads.b"];
        desired.apply(state([("a", workload("a")), ("b", workload("b"))]), &masks);
        let update = desired.plan(state([("a", workload("a"))]), &[]).unwrap();
        assert_eq!(update.added, []);
        assert_eq!(update.deleted, [instance_name("b", "agent_A", "b")]);
        let update = desired.plan_all(CompleteState::default(), &[]).unwrap();
        assert_eq!(update.deleted.len(), 2, "this removes all workloads");
    }

    #[test]
    fn the_first_missing_field_is_reported() {
        let masks = ["desiredState.workloads.w"];
        let prefix = "Update rejected: 'Resulting State is invalid, reason: \
                      'Could not parse into CompleteState: '";
        let mut incomplete = Workload::default();
        type Add = fn(&mut Workload);
        let fields: [(&str, Add); 3] = [
            ("agent", |workload| workload.agent = Some("a".to_owned())),
            ("runtime", |workload| workload.runtime = Some("r".to_owned())),
            ("runtimeConfig", |workload| workload.runtime_config = Some("c".to_owned())),
        ];
        for (missing, add) in fields {
            assert_eq!(
                rejection(state([("w", incomplete.clone())]), &masks),
                format!("{prefix}missing field `{missing}`'''")
            );
            add(&mut incomplete);
        }
        assert!(Desired::default().plan(state([("w", incomplete)]), &masks).is_ok());
        assert_eq!(
            rejection(state([("w", Workload::default())]), &[]),
            format!(
                "{prefix}Cannot convert field 'desired_state' to spec object: \
                 'Cannot convert field 'workloads' to spec object: \
                 'Cannot convert field 'workloads' to spec object: \
                 'Missing field 'agent''.'.'.'''"
            )
        );
    }

    #[test]
    fn error_messages_are_those_of_ankaios() {
        let invalid = |reason: &str| {
            format!("Update rejected: 'Resulting State is invalid, reason: '{reason}''")
        };
        let w = "desiredState.workloads.w";
        let elsewhere = Workload { agent: Some("agent A".to_owned()), ..workload("x") };
        let configured = Workload {
            configs: Some(ConfigMappings {
                configs: [("alias".to_owned(), "nothing".to_owned())].into(),
            }),
            ..workload("x")
        };
        let long = "n".repeat(64);
        let long_mask = format!("desiredState.workloads.{long}");
        let cases = [
            (
                rejection(state([]), &["desiredState.workloads.nobody.tags.x"]),
                "Update rejected: 'Could not find field desiredState.workloads.nobody.tags.x'"
                    .to_owned(),
            ),
            (
                rejection(
                    State { api_version: "v9".to_owned(), ..state([]) },
                    &["desiredState.apiVersion"],
                ),
                "Unsupported API version. Received 'v9', expected 'v1'".to_owned(),
            ),
            (
                rejection(state([("w x", workload("x"))]), &["desiredState.workloads.w x"]),
                invalid(
                    "Unsupported workload name 'w x'. Expected to have characters in [a-zA-Z0-9_-].",
                ),
            ),
            (
                rejection(state([(&long, workload("x"))]), &[&long_mask]),
                invalid(&format!(
                    "Unsupported workload name '{long}'. \
                     Length 64 exceeds the maximum limit of 63 characters."
                )),
            ),
            (
                rejection(state([("w", elsewhere)]), &[w]),
                invalid(&format!("Unsupported agent name 'agent A'. {NAME_RULE}")),
            ),
            (
                rejection(state([("w", configured)]), &[w]),
                invalid("Workload references config key 'nothing' that does not exist"),
            ),
            (
                rejection(config("a b", "x"), &["desiredState.configs"]),
                format!("Unsupported config item key 'a b'. {NAME_RULE}"),
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_changed_config_changes_the_workloads_that_use_it() {
        let mut desired = Desired::default();
        let configured = Workload {
            configs: Some(ConfigMappings {
                configs: [("port".to_owned(), "port".to_owned())].into(),
            }),
            ..workload("port: {{port}}")
        };
        let both = State {
            configs: config("port", "80").configs,
            ..state([("w", configured), ("other", workload("x"))])
        };
        let masks = [
            "desiredState.configs.port",
            "desiredState.workloads.w",
            "desiredState.workloads.other",
        ];
        desired.apply(both, &masks);
        let update = desired.plan(config("port", "81"), &["desiredState.configs.port"]).unwrap();
        assert_eq!(update.deleted, [instance_name("w", "agent_A", "port: 80")]);
        assert_eq!(update.added, [instance_name("w", "agent_A", "port: 81")]);
        let same = desired.plan(config("port", "80"), &["desiredState.configs.port"]).unwrap();
        assert_eq!((same.added, same.deleted), (vec![], vec![]));
        let gone = desired.plan(state([]), &["desiredState.configs.port"]).unwrap_err();
        assert!(gone.contains("config key 'port' that does not exist"), "{gone}");
    }

    #[test]
    fn cycles_are_rejected() {
        let waits_for = |name: &str| Workload {
            dependencies: Some(Dependencies { dependencies: [(name.to_owned(), 0)].into() }),
            ..workload("x")
        };
        let masks = ["desiredState.workloads"];
        assert_eq!(
            rejection(state([("a", waits_for("b")), ("b", waits_for("a"))]), &masks),
            "Update rejected: 'workload dependency 'a' is part of a cycle.'"
        );
        let chain =
            state([("a", waits_for("b")), ("b", waits_for("missing")), ("c", waits_for("b"))]);
        assert!(Desired::default().plan(chain, &masks).is_ok());
    }

    #[test]
    fn tags_of_agents_can_be_set() {
        let tags = Tags { tags: [("k".to_owned(), "v".to_owned())].into() };
        let agent = AgentAttributes { tags: Some(tags), ..AgentAttributes::default() };
        let new = CompleteState {
            agents: Some(AgentMap { agents: [("agent_A".to_owned(), agent)].into() }),
            ..CompleteState::default()
        };
        let update = Desired::default().plan_all(new, &["agents.agent_A.tags"]).unwrap();
        let tags = Node::map([("k", Node::text("v"))]);
        assert_eq!(update.agent_tags, [("agent_A".into(), Some(tags))]);
    }
}

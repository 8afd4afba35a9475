//! Mistakes in the fields of a workload.

use super::super::known::{FILE_FIELDS, PODMAN_KEYS, RULE_FIELDS, WORKLOAD_FIELDS, meant};
use super::super::outline::{Kind, Node, Place};
use super::hint::Hint;
use crate::hints::nearest;
use crate::schema::is_name;

/// Explains the error of a field.
pub(super) fn hint(place: &Place<'_, '_>) -> Option<Hint> {
    let names: Vec<&str> = place.names.iter().map(String::as_str).collect();
    let ["workloads", _, fields @ ..] = names.as_slice() else { return None };
    let (node, reason) = (place.node, place.reason);
    if let Some(field) = missing_field(reason) {
        return Some(missing(node, field, fields));
    }
    let is_type = reason.starts_with("invalid type");
    match fields {
        [] if node.text().is_some_and(|text| text.contains(':')) => {
            Some(Hint::new("the space after the colon is missing: runtime: podman"))
        }
        [] => Some(Hint::new("write its fields below its name: runtime, agent, runtimeConfig")),
        ["runtimeConfig"] if is_type => Some(Hint::new(
            "it is a text for the runtime: write runtimeConfig: | (with the bar), and leave the \
             lines below it indented",
        )),
        ["agent"] if is_type => Some(Hint::new(
            "write the name of one agent: agent: agent_A; for several agents, write one workload \
             for each",
        )),
        ["agent"] if node.text().is_some_and(|text| text.contains('$')) => Some(Hint::new(
            "the variable has not been replaced: envsubst < FILE > NEW, or write a template such \
             as \"{{alias.key}}\"",
        )),
        ["agent"] => Some(Hint::new("ank -k get agents lists the names")),
        ["runtime"] if is_type => Some(Hint::new("write for example runtime: podman")),
        ["restartPolicy"] => restart_policy(node),
        ["dependencies"] if is_type => Some(dependencies(node)),
        ["dependencies"] if reason.contains("cycle") => Some(Hint::new(
            "each of these workloads waits for the next one, so none of them starts; remove one of \
             their dependencies",
        )),
        ["dependencies", name] => condition(node, name),
        ["tags"] => Some(Hint::new("write a map: tags: {key: value}")),
        ["tags", "[]"] => Some(Hint::new("write a map: tags: {key: value}")),
        ["tags", ..] => Some(Hint::new("the value of a tag is a text")),
        ["configs"] => Some(configs(node)),
        ["configs", alias] => {
            Some(Hint::new(format!("write the name of a config: {alias}: NAME_OF_CONFIG")))
        }
        ["files"] => Some(Hint::new(
            "write a list: each file begins with -, as in - mountPoint: /etc/app.conf, and below \
             it data: |",
        )),
        ["files", "[]"] if node.text().is_some() => Some(Hint::new(
            "write mountPoint: and data: | (volumes of the host belong into commandOptions of the \
             runtimeConfig)",
        )),
        ["files", "[]"] if reason.contains("not both") => Some(both_contents(node)),
        ["files", "[]", "data" | "binaryData"] => {
            Some(Hint::new("the content is a text: write data: | and the lines below it"))
        }
        ["controlInterfaceAccess"] => Some(Hint::new(
            "write allowRules: and below it - type: StateRule, operation: Read, \
             filterMasks: [\"*\"]",
        )),
        ["controlInterfaceAccess", "allowRules" | "denyRules"] => {
            Some(Hint::new("write a list: each rule begins with -, as in - type: StateRule"))
        }
        ["controlInterfaceAccess", _, "[]", "filterMasks" | "filterMask" | "workloadNames"]
            if is_type =>
        {
            Some(Hint::new("write a list: [\"name\"]"))
        }
        ["controlInterfaceAccess", _, "[]", "operation"] => spelled(
            node,
            &[("Nothing", &["none"]), ("Read", &["r"]), ("Write", &["w"]), ("ReadWrite", &["rw"])],
        ),
        _ => None,
    }
}

/// The field that an error says is missing.
fn missing_field(reason: &str) -> Option<&str> {
    let (_, field) = reason.split_once(" needs the field ")?;
    field.split(' ').next()
}

/// A field that is missing: misspelled, without a value, or not there.
fn missing(node: &Node, field: &str, fields: &[&str]) -> Hint {
    if let Some((key, value)) = node.entry(field)
        && value.is_null()
    {
        return Hint::new(format!("{field} has no value; write it after the colon")).at(key.at);
    }
    let known: &[&'static str] = match fields {
        [] => &WORKLOAD_FIELDS,
        ["files", ..] => &FILE_FIELDS,
        _ => &RULE_FIELDS,
    };
    for (key, _) in node.entries() {
        let Some(name) = key.text().filter(|name| !known.contains(name)) else { continue };
        if meant(name, known) == Some(field) {
            let text = format!("{name} is not a field, did you mean {field}?");
            return Hint::new(text).at(key.at);
        }
    }
    let podman = node
        .entries()
        .iter()
        .map(|(key, _)| key)
        .find(|key| key.text().is_some_and(|name| PODMAN_KEYS.contains(&name)));
    if let (Some(key), "runtimeConfig") = (podman, field) {
        let name = key.text().unwrap_or_default();
        let text = format!(
            "{name} belongs into the text of runtimeConfig: write runtimeConfig: | and below it, \
             indented, {name}:"
        );
        return Hint::new(text).at(key.at);
    }
    if node.is_null() {
        return Hint::new("nothing is below its name: indent its fields by two more spaces");
    }
    Hint::new(match (field, fields) {
        ("runtime", []) => "write for example runtime: podman",
        ("agent", []) => "write for example agent: agent_A (ank -k get agents lists the names)",
        ("runtimeConfig", []) => "write runtimeConfig: | and below it, indented, image: NAME",
        ("mountPoint", _) => "write for example mountPoint: /etc/app.conf",
        ("data", _) => "write data: | and the content below it, or binaryData: with base64",
        ("type", _) => "write type: StateRule or type: LogRule",
        ("operation", _) => "write for example operation: Read",
        ("filterMasks", _) => "write for example filterMasks: [\"workloadStates\"]",
        ("workloadNames", _) => "write for example workloadNames: [\"*\"]",
        _ => "add it",
    })
}

/// The value that a spelling of another format stands for.
fn spelled(node: &Node, values: &[(&str, &[&str])]) -> Option<Hint> {
    let plain = |text: &str| {
        text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
    };
    let found = plain(node.text()?);
    let (value, _) = values.iter().find(|(value, others)| {
        plain(value) == found || others.iter().any(|other| plain(other) == found)
    })?;
    Some(Hint::new(format!("here it is {value}")))
}

fn restart_policy(node: &Node) -> Option<Hint> {
    spelled(
        node,
        &[
            ("NEVER", &["no", "none", "false", "off"]),
            ("ON_FAILURE", &["failure", "on-error", "on-abnormal"]),
            ("ALWAYS", &["unless-stopped", "yes", "true", "any", "on"]),
        ],
    ) // The message lists the values; "always" needs no hint.
    .filter(|_| node.text().is_some_and(|text| nearest(text, ["ALWAYS", "NEVER"]).is_none()))
}

const CONDITIONS: &[(&str, &[&str])] = &[
    ("ADD_COND_RUNNING", &["running", "started", "service_started", "service_healthy", "healthy"]),
    (
        "ADD_COND_SUCCEEDED",
        &["succeeded", "success", "completed", "service_completed_successfully", "done"],
    ),
    ("ADD_COND_FAILED", &["failed", "failure", "error"]),
];

/// Dependencies that are not a map.
fn dependencies(node: &Node) -> Hint {
    let first = match &node.kind {
        Kind::List(items) => items.first().and_then(|item| {
            item.text().or_else(|| item.entries().first().and_then(|(key, _)| key.text()))
        }),
        _ => node.text(),
    };
    let name = first.filter(|name| is_name(name)).unwrap_or("NAME");
    Hint::new(format!(
        "write a map from the names of workloads to conditions: \
         dependencies: {{{name}: ADD_COND_RUNNING}}"
    ))
}

/// The condition of one dependency.
fn condition(node: &Node, name: &str) -> Option<Hint> {
    let value = node.get("condition").unwrap_or(node);
    match spelled(value, CONDITIONS) {
        Some(Hint { text, .. }) if node.text().is_some() => Some(Hint::new(text)),
        Some(Hint { text, .. }) => {
            let condition = text.trim_start_matches("here it is ");
            Some(Hint::new(format!("write the condition after the name: {name}: {condition}")))
        }
        None if node.text().is_some() => None,
        None => {
            let text = format!("write the condition after the name: {name}: ADD_COND_RUNNING");
            Some(Hint::new(text))
        }
    }
}

/// Config references that are not a map.
fn configs(node: &Node) -> Hint {
    let first = node.items().first().and_then(Node::text).or(node.text());
    let name = first.filter(|name| is_name(name)).unwrap_or("NAME");
    Hint::new(format!(
        "write a map from the aliases in templates to the names of configs: \
         configs: {{{name}: {name}}}"
    ))
}

fn both_contents(node: &Node) -> Hint {
    let second = node.entries().iter().map(|(key, _)| key);
    let second = second.filter(|key| matches!(key.text(), Some("data" | "binaryData"))).nth(1);
    let hint = Hint::new("remove one of them");
    match second {
        Some(key) => hint.at(key.at),
        None => hint,
    }
}

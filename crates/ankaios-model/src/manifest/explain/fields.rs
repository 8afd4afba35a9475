//! Mistakes in fields that are possible everywhere, and at the root of a manifest.

use super::super::outline::{Kind, Node, Place};
use super::super::quotes::has_typographic_quotes;
use super::documents;
use super::hint::Hint;
use crate::schema::is_name;

/// Mistakes that do not depend on the schema.
pub(super) fn general(place: &Place<'_, '_>) -> Option<Hint> {
    duplicate(place)
        .or_else(|| unquoted_template(place.node))
        .or_else(|| empty(place))
        .or_else(|| typographic_quotes(place))
}

/// The second of two equal keys.
fn duplicate(place: &Place<'_, '_>) -> Option<Hint> {
    let reason = place.reason;
    let is_field = reason.contains("duplicate field `");
    if !is_field && !reason.contains("is listed twice") {
        return None;
    }
    let field = reason.split('`').nth(1).filter(|_| is_field);
    let is_it = |name: &str| match field {
        Some(field) => name == field || name.trim_end_matches('s') == field.trim_end_matches('s'),
        None => reason.starts_with(&crate::hints::quoted(name)),
    };
    let keys: Vec<&Node> = match &place.node.kind {
        Kind::List(items) => items.iter().filter_map(|item| item.get("key")).collect(),
        _ => place.node.entries().iter().map(|(key, _)| key).collect(),
    };
    let mut equal = keys.into_iter().filter(|key| key.text().is_some_and(is_it));
    let (first, second) = (equal.next()?, equal.next()?);
    let text = format!("the first is in line {}", first.at.line);
    Some(Hint::new(text).at(second.at))
}

/// A field that has no value.
fn empty(place: &Place<'_, '_>) -> Option<Hint> {
    let reason = place.reason;
    if !reason.contains("invalid type: null") && !reason.contains("a rule is empty") {
        return None;
    }
    let key = match place.key.filter(|_| place.node.is_null()) {
        Some(key) => key,
        None => {
            place.node.entries().iter().find(|(_, value)| value.is_null()).map(|(key, _)| key)?
        }
    };
    let name = key.text().unwrap_or_default();
    let text = match place.names.last().map(String::as_str) {
        Some("dependencies") => {
            format!("{name} has no condition; write {name}: ADD_COND_RUNNING")
        }
        _ => format!("{name} has no value; write it after the colon ('' is an empty text)"),
    };
    Some(Hint::new(text).at(key.at))
}

/// A template that is not in quotes, at the node or directly below it.
fn unquoted_template(node: &Node) -> Option<Hint> {
    let entries = node.entries().iter().flat_map(|(key, value)| [key, value]);
    let template =
        std::iter::once(node).chain(entries).chain(node.items()).find(|node| node.is_template())?;
    let inner = template.entries().iter().find_map(|(key, _)| key.entries().first());
    let name = inner.and_then(|(name, _)| name.text()).filter(|name| name.len() < 64);
    let name = name.unwrap_or("alias.key");
    let text =
        format!("a template must be in quotes, because braces begin a map: \"{{{{{name}}}}}\"");
    Some(Hint::new(text).at(template.at))
}

fn typographic_quotes(place: &Place<'_, '_>) -> Option<Hint> {
    let keys = place.node.entries().iter().map(|(key, _)| key);
    let has = |node: &&Node| {
        let is_plain = matches!(node.kind, Kind::Scalar { plain: true, .. });
        is_plain && node.text().is_some_and(has_typographic_quotes)
    };
    let node = std::iter::once(place.node).chain(keys).find(has)?;
    Some(Hint::new("these are typographic quotes; write \" or '").at(node.at))
}

/// Mistakes at the root, and in names and configs.
pub(super) fn hint(place: &Place<'_, '_>) -> Option<Hint> {
    let names: Vec<&str> = place.names.iter().map(String::as_str).collect();
    let (node, reason) = (place.node, place.reason);
    if reason.contains("is not a valid name") {
        return invalid_name(place);
    }
    match names.as_slice() {
        [] if reason.contains("no apiVersion") => Some(no_version(node)),
        [] if reason.contains("no workloads and no configs") => {
            if let Some(hint) = documents::workload_at_root(node) {
                return Some(hint);
            }
            let text = "write workloads: with at least one workload below it, or configs:";
            Some(Hint::new(text).at(node.at))
        }
        ["apiVersion"] => Some(version(node)),
        ["workloads"] => match &node.kind {
            Kind::List(items) => Some(workload_list(items)),
            Kind::Scalar { text, .. } if text.contains(char::is_whitespace) => {
                Some(Hint::new("the colon after the name of the workload is missing: NAME:"))
            }
            Kind::Scalar { .. } => {
                Some(Hint::new("write the name of each workload below it, with its fields: NAME:"))
            }
            _ => None,
        },
        ["configs"] => Some(Hint::new("write a map from names to values: configs: {NAME: text}")),
        ["configs", ..] if reason.contains("invalid type") && node.text().is_some() => {
            let key = names.last().copied().filter(|name| is_name(name)).unwrap_or("key");
            Some(Hint::new(format!("for example {key}: \"1\"")))
        }
        _ => None,
    }
}

fn no_version(root: &Node) -> Hint {
    let near = |name: &str| crate::hints::nearest(name, ["apiVersion"]).is_some();
    let key = root.entries().iter().map(|(key, _)| key);
    match key.clone().find(|key| key.text().is_some_and(near)) {
        Some(key) if key.text() == Some("apiVersion") => {
            Hint::new("apiVersion has no value; write apiVersion: v1").at(key.at)
        }
        Some(key) => {
            let name = key.text().unwrap_or_default();
            let text = format!("{name} is not a field, did you mean apiVersion?");
            Hint::new(text).at(key.at)
        }
        None => Hint::new("put the line apiVersion: v1 in front").at(root.at),
    }
}

fn version(node: &Node) -> Hint {
    Hint::new(match node.text().unwrap_or_default() {
        text if text.contains('/') => {
            "this is a version of Kubernetes; a manifest of Ankaios has apiVersion: v1"
        }
        "1" | "1.0" | "V1" | "v1.0" | "0.1" | "v0" => "write it as apiVersion: v1",
        _ => "write apiVersion: v1",
    })
}

/// Workloads as a list, as in Compose and Kubernetes.
fn workload_list(items: &[Node]) -> Hint {
    let name = items.iter().find_map(|item| {
        let named = item.get("name").and_then(Node::text);
        named.or(item.text()).or_else(|| item.entries().first().and_then(|(key, _)| key.text()))
    });
    let name = name.filter(|name| is_name(name)).unwrap_or("NAME");
    Hint::new(format!(
        "write a map from names to workloads, without -: {name}: and its fields below, indented \
         by two more spaces"
    ))
}

/// A key or value with characters that are not allowed, or too many.
fn invalid_name(place: &Place<'_, '_>) -> Option<Hint> {
    let keys = place.node.entries().iter().map(|(key, _)| key);
    let is_invalid = |node: &&Node| node.text().is_some_and(|name| !is_name(name));
    let node = std::iter::once(place.node).chain(keys).find(is_invalid)?;
    let name = node.text()?;
    let replaced: String =
        name.chars().map(|c| if is_name(&c.to_string()) { c } else { '-' }).take(63).collect();
    let text = match replaced.trim_matches('-') {
        "" => "a name is missing here".to_owned(),
        valid if name.chars().count() > 63 => format!("it is too long, for example {valid}"),
        valid => format!("for example {valid}"),
    };
    Some(Hint::new(text).at(node.at))
}

//! Fields that Ankaios ignores, and quotes that are none.

use super::super::known::{
    ACCESS_FIELDS, FILE_FIELDS, MANIFEST_FIELDS, PODMAN_KEYS, RULE_FIELDS, WORKLOAD_FIELDS, meant,
};
use super::super::outline::{Kind, Node};
use super::super::quotes::has_typographic_quotes;
use super::list::{Warnings, shown};

/// Checks the fields of a manifest.
pub(super) fn check(root: &Node, warnings: &mut Warnings) {
    let own = |name: &str| name.starts_with("x-") || name.starts_with('.');
    unknown("", root, &MANIFEST_FIELDS, own, warnings);
    for (key, workload) in root.get("workloads").map(Node::entries).unwrap_or_default() {
        let path = format!("workloads.{}", shown(key.text().unwrap_or_default()));
        check_workload(&path, workload, warnings);
    }
}

fn check_workload(path: &str, workload: &Node, warnings: &mut Warnings) {
    unknown(path, workload, &WORKLOAD_FIELDS, |_| false, warnings);
    for (index, file) in items(workload, "files") {
        unknown(&format!("{path}.files[{index}]"), file, &FILE_FIELDS, |_| false, warnings);
    }
    if let Some(access) = workload.get("controlInterfaceAccess") {
        let path = format!("{path}.controlInterfaceAccess");
        unknown(&path, access, &ACCESS_FIELDS, |_| false, warnings);
        for list in ACCESS_FIELDS {
            for (index, rule) in items(access, list) {
                let path = format!("{path}.{list}[{index}]");
                unknown(&path, rule, &RULE_FIELDS, |name| name == "filterMask", warnings);
            }
        }
    }
    workload.visit(&mut |node| {
        let Kind::Scalar { text, plain: true } = &node.kind else { return };
        if has_typographic_quotes(text) {
            let text = "typographic quotes are part of the text for YAML; write \" or '";
            warnings.add(format!("{path}: {text}"), node.at);
        }
    });
}

fn items<'a>(node: &'a Node, list: &str) -> impl Iterator<Item = (usize, &'a Node)> {
    node.get(list).map(Node::items).unwrap_or_default().iter().enumerate()
}

/// Warns of the fields of a map that are not known.
fn unknown(
    path: &str,
    node: &Node,
    known: &[&'static str],
    is_allowed: impl Fn(&str) -> bool,
    warnings: &mut Warnings,
) {
    for (key, _) in node.entries() {
        let name = key.text().unwrap_or_default();
        if known.contains(&name) || is_allowed(name) {
            continue;
        }
        let field = shown(name);
        let hint = if let Some(field) = meant(name, known) {
            format!("; did you mean {field}?")
        } else if known == WORKLOAD_FIELDS && PODMAN_KEYS.contains(&name) {
            format!("; write it into runtimeConfig: | and below it, indented, {field}:")
        } else {
            String::new()
        };
        let path = if path.is_empty() { field } else { format!("{path}.{field}") };
        warnings.add(format!("{path}: Ankaios ignores this field{hint}"), key.at);
    }
}

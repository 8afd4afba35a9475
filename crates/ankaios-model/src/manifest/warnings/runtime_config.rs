//! The runtime configurations of Ankaios' own runtimes.

use super::super::limits;
use super::super::outline::{Kind, Node, Outline};
use super::super::quotes::has_typographic_quotes;
use super::list::{Warnings, shown};
use crate::hints::nearest;
use crate::line_column::LineColumn;
use crate::proto::ank_base::Workload;

/// The fields of `podman` and `containerd`.
const CONTAINER: [&str; 4] = ["image", "commandOptions", "commandArgs", "generalOptions"];

/// The fields of `podman-kube`.
const KUBE: [&str; 5] =
    ["manifest", "playOptions", "downOptions", "generalOptions", "controlInterfaceTarget"];

/// Checks the runtime configuration of a workload. `config` is its node in the manifest.
pub(super) fn check(
    text: &str,
    name: &str,
    workload: &Workload,
    config: &Node,
    warnings: &mut Warnings,
) {
    let known: &[&str] = match workload.runtime() {
        "podman" | "containerd" => &CONTAINER,
        "podman-kube" => &KUBE,
        _ => return,
    };
    let path = format!("workloads.{name}.runtimeConfig");
    let inner = workload.runtime_config();
    // A template can write any field.
    if inner.contains("{{") {
        return;
    }
    let mut warn = |message: String, at| warnings.add(format!("{path}: {message}"), at);
    let required = known.first().copied().unwrap_or_default();
    if inner.trim().is_empty() {
        let text = "it is empty; indent the lines below runtimeConfig: | more than runtimeConfig";
        return warn(text.to_owned(), config.at);
    }
    // What the runtime cannot read is reported by Ankaios when the workload starts.
    let Some(outline) = limits::check(inner).ok().and_then(|_| Outline::of(inner)) else { return };
    let Outline { root, is_broken } = outline;
    let place = |at: LineColumn| outer(text, config, at);
    if is_broken || !matches!(root.kind, Kind::Map { .. }) {
        let hint = match header(text, config).and_then(|mut header| header.next()) {
            Some('>') => "write | instead of >, which joins the lines".to_owned(),
            _ => format!("write {required}: and a value"),
        };
        return warn(
            format!("it is not a map in YAML, which the runtime needs; {hint}"),
            config.at,
        );
    }
    for (key, _) in root.entries() {
        let name = key.text().unwrap_or_default();
        if !known.contains(&name) {
            let hint = nearest(name, known.iter().copied())
                .map(|field| format!("; did you mean {field}?"))
                .unwrap_or_default();
            let name = shown(name);
            warn(format!("the runtime ignores the field {name}{hint}"), place(key.at));
        }
    }
    if root.get(required).is_none() {
        warn(format!("the field {required} is missing, which the runtime needs"), config.at);
    }
    root.visit(&mut |node| {
        let Kind::Scalar { text, plain: true } = &node.kind else { return };
        if has_typographic_quotes(text) {
            let text = "typographic quotes are part of the text for YAML; write \" or '";
            warn(text.to_owned(), place(node.at));
        }
    });
}

/// The line of the runtime configuration from where its value begins.
fn header<'a>(text: &'a str, config: &Node) -> Option<impl Iterator<Item = char> + use<'a>> {
    let line = text.lines().nth(config.at.line - 1)?;
    Some(line.chars().skip(config.at.column - 1))
}

/// The position in the manifest of a position in a runtime configuration, if that is a block;
/// else that of the runtime configuration.
fn outer(text: &str, config: &Node, inner: LineColumn) -> LineColumn {
    // With a number after the bar, the indentation is that number.
    let is_block = header(text, config).is_some_and(|mut header| {
        header.next() == Some('|') && !header.any(|c| c.is_ascii_digit())
    });
    let content = text.lines().skip(config.at.line).find(|line| !line.trim().is_empty());
    let (true, Some(content)) = (is_block, content) else { return config.at };
    let indentation = content.len() - content.trim_start().len();
    LineColumn { line: config.at.line + inner.line, column: inner.column + indentation }
}

//! Renders the templates of a workload with its configs.
//!
//! Ankaios and the connector use Handlebars. The simulator supports only `{{alias.field}}`,
//! which is enough to decide where a workload runs and whether it has changed; blocks, helpers
//! and partials are not replaced.

use crate::instance::{RenderedWorkload, instance_name};
use crate::tree::{FieldMap, Node};

/// Renders the templates of a workload.
///
/// # Errors
/// A config does not exist, or a template refers to a field that its config does not have.
pub(crate) fn render(
    name: &str,
    workload: &Node,
    configs: Option<&Node>,
) -> Result<RenderedWorkload, String> {
    let mut fields = workload.fields().cloned().unwrap_or_default();
    if let Some(aliases) = fields.remove("configs") {
        let context = context(&aliases, configs)?;
        for field in ["runtimeConfig", "agent"] {
            fill_field(&mut fields, field, field, &context)?;
        }
        if let Some(Node::List(files)) = fields.get("files") {
            let files = files.iter().map(|file| fill_file(file, &context));
            let files = files.collect::<Result<Vec<_>, _>>()?;
            fields.insert("files".into(), Node::list(files));
        }
    }
    let text = |field| fields.get(field).and_then(Node::as_text).unwrap_or_default();
    let name = instance_name(name, text("agent"), text("runtimeConfig"));
    Ok(RenderedWorkload { name, workload: Node::Map(fields.into()) })
}

/// The values of the configs by alias.
fn context(aliases: &Node, configs: Option<&Node>) -> Result<Node, String> {
    let mut context = FieldMap::new();
    for (alias, config) in aliases.fields().into_iter().flatten() {
        let config = config.as_text().unwrap_or_default();
        let value = configs.and_then(|configs| configs.get(config)).ok_or_else(|| {
            format!("Workload references config key '{config}' that does not exist")
        })?;
        context.insert(alias.clone(), value.clone());
    }
    Ok(Node::Map(context.into()))
}

fn fill_file(file: &Node, context: &Node) -> Result<Node, String> {
    let mut fields = file.fields().cloned().unwrap_or_default();
    let mount_point = file.get("mountPoint").and_then(Node::as_text).unwrap_or_default();
    let label = format!("files with mount point {mount_point}");
    for field in ["data", "binaryData"] {
        fill_field(&mut fields, field, &label, context)?;
    }
    Ok(Node::Map(fields.into()))
}

fn fill_field(
    fields: &mut FieldMap,
    field: &str,
    label: &str,
    context: &Node,
) -> Result<(), String> {
    let Some(template) = fields.get(field).and_then(Node::as_text) else {
        return Ok(());
    };
    let filled = fill(template, context)
        .map_err(|error| format!("Failed to render field '{label}': '{error}'"))?;
    fields.insert(field.into(), Node::text(filled));
    Ok(())
}

fn fill(template: &str, context: &Node) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, (expression, after))) =
        rest.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        filled.push_str(before);
        let path = expression.trim();
        let is_path = !path.is_empty()
            && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_path {
            let value = context.at(path.split('.')).and_then(Node::as_text).ok_or_else(|| {
                format!("Failed to access variable in strict mode Some(\"{path}\")")
            })?;
            filled.push_str(value);
        } else {
            filled.extend(["{{", expression, "}}"]);
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn workload(config: &str) -> Node {
        Node::map([
            ("agent", Node::text("{{where}}")),
            ("runtimeConfig", Node::text(config)),
            ("configs", Node::map([("where", Node::text("place")), ("c", Node::text("web"))])),
        ])
    }

    fn configs(port: &str) -> Node {
        Node::map([
            ("place", Node::text("agent_B")),
            ("web", Node::map([("port", Node::text(port))])),
        ])
    }

    #[test]
    fn configs_determine_the_agent_and_the_id() {
        let at = |port| {
            let configs = configs(port);
            render("w", &workload("port: {{ c.port }}"), Some(&configs)).unwrap()
        };
        assert_eq!(at("80").name, instance_name("w", "agent_B", "port: 80"));
        assert_ne!(at("80").name.workload_id, at("81").name.workload_id);
        assert_eq!(at("80").workload.get("configs"), None);
    }

    #[test]
    fn other_expressions_and_workloads_without_configs_are_not_rendered() {
        let blocks = "{{#each c}}x{{/each}} {{ unfinished";
        let rendered = render("w", &workload(blocks), Some(&configs("80"))).unwrap();
        assert_eq!(rendered.workload.get("runtimeConfig"), Some(&Node::text(blocks)));
        let plain = Node::map([("runtimeConfig", Node::text("{{c.port}}"))]);
        assert_eq!(render("w", &plain, None).unwrap().workload, plain);
    }

    #[test]
    fn errors_name_what_is_missing() {
        let error = render("w", &workload("x"), None).unwrap_err();
        assert!(error.contains("references config key") && error.contains("does not exist"));
        let error = render("w", &workload("{{c.nothing}}"), Some(&configs("80"))).unwrap_err();
        assert_eq!(
            error,
            "Failed to render field 'runtimeConfig': \
             'Failed to access variable in strict mode Some(\"c.nothing\")'"
        );
    }
}

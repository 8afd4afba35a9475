//! Renders the templates of a workload with its configs.
//!
//! As Ankaios does: with Handlebars in strict mode, without escaping, and with the one partial
//! `indent`.

use handlebars::{Handlebars, no_escape};
use serde_json::Value;

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
    if !template.contains("{{") {
        return Ok(template.to_owned());
    }
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    engine.register_escape_fn(no_escape);
    engine.register_partial("indent", "{{content}}").map_err(|error| error.to_string())?;
    let rendered = engine.render_template(template, &json(context));
    rendered.map_err(|error| error.reason().to_string())
}

fn json(node: &Node) -> Value {
    match node {
        Node::Map(fields) => {
            fields.iter().map(|(name, value)| (name.to_string(), json(value))).collect()
        }
        Node::List(items) => items.iter().map(json).collect(),
        Node::Text(text) => Value::from(&**text),
        Node::Number(number) => Value::from(*number),
        Node::Unset => Value::Null,
    }
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
    fn loops_and_the_partial_for_indentation_are_rendered() {
        let entry =
            |key, value| Node::map([("key", Node::text(key)), ("value", Node::text(value))]);
        let env = Node::list([entry("A", "1"), entry("B", "\"2\"")]);
        let web = Node::map([("env", env), ("page", Node::text("x\ny"))]);
        let configs = Node::map([("place", Node::text("agent_A")), ("web", web)]);
        let rendered = |template| {
            let rendered = render("w", &workload(template), Some(&configs)).unwrap();
            rendered.workload.get("runtimeConfig").and_then(Node::as_text).unwrap().to_owned()
        };
        let loops = "{{#each c.env}}\n- {{key}}={{value}}\n{{/each}}\n";
        assert_eq!(rendered(loops), "- A=1\n- B=\"2\"\n");
        assert_eq!(rendered("a:\n  {{> indent content=c.page}}"), "a:\n  x\n  y");
    }

    #[test]
    fn workloads_without_configs_are_not_rendered() {
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

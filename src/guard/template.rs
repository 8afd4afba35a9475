//! Fills configs into templates as Ankaios does, within bounds.
//!
//! Ankaios renders with Handlebars: strictly, without escaping, with one partial,
//! `indent`. The same library renders here. It has no bounds of its own: nested
//! loops over a long list run for years, and partials that a template defines
//! itself may call each other without end. So the work is estimated from the
//! parsed template before it is done, and partials other than `indent` are refused.

use std::io::{self, Write};

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Context, Handlebars, Template, no_escape};
use serde_json::{Map, Value};

/// The longest template, in bytes. A document of Kubernetes fits.
const MAX_TEMPLATE: usize = 128 * 1024;

/// How deep blocks may be nested, and brackets within one expression.
const MAX_DEPTH: usize = 16;

/// How many `else` one template may have.
const MAX_ALTERNATIVES: usize = 64;

/// What may be written for one field, in bytes.
const MAX_OUTPUT: usize = 1024 * 1024;

/// What all templates of one request may cost: about half a second.
const BUDGET: usize = 500_000;

/// Bytes that are copied at the cost of one step.
const BYTES_PER_STEP: usize = 64;

/// Renders the templates of one request.
pub(super) struct Renderer {
    engine: Handlebars<'static>,
    budget: usize,
}

impl Renderer {
    pub(super) fn new() -> Self {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(no_escape);
        engine
            .register_partial("indent", "{{content}}")
            .expect("the one partial of Ankaios is a valid template");
        Self { engine, budget: BUDGET }
    }

    /// Fills `configs`, by their aliases, into a template.
    ///
    /// # Errors
    /// Why it can not be rendered.
    pub(super) fn render(
        &mut self,
        template: &str,
        configs: &Map<String, Value>,
    ) -> Result<String, String> {
        check_text(template)?;
        let size = Size::of_map(configs);
        // The text is parsed, and the configs are copied.
        self.charge(size.nodes + (size.bytes + template.len()) / BYTES_PER_STEP)?;
        let parsed = Template::compile(template).map_err(|error| error.to_string())?;
        let longest = size.longest.max(longest_literal(template));
        self.charge(Cost { longest, partial: size.nodes + 1 }.of(&parsed)?)?;

        let context = Context::wraps(configs).map_err(|error| error.to_string())?;
        let mut output = Bounded::default();
        self.engine
            .render_template_with_context_to_write(template, &context, &mut output)
            .map_err(|error| error.to_string())?;
        self.charge(output.0.len() / BYTES_PER_STEP)?;
        String::from_utf8(output.0).map_err(|error| error.to_string())
    }

    fn charge(&mut self, steps: usize) -> Result<(), String> {
        self.budget = self.budget.checked_sub(steps).ok_or(TOO_MUCH)?;
        Ok(())
    }
}

const TOO_MUCH: &str = "the templates of this request take too much time to check; use shorter \
                        lists, fewer nested loops, or several requests";

/// How large configs are.
#[derive(Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    /// The number of items in the longest list or map.
    longest: usize,
}

impl Size {
    fn of_map(map: &Map<String, Value>) -> Self {
        let mut size = Self::default();
        size.add_map(map);
        size
    }

    fn add_map(&mut self, map: &Map<String, Value>) {
        self.longest = self.longest.max(map.len());
        for (key, value) in map {
            self.bytes += key.len();
            self.add(value);
        }
    }

    // As deep as the schema of configs allows.
    fn add(&mut self, value: &Value) {
        self.nodes += 1;
        match value {
            Value::Object(map) => self.add_map(map),
            Value::Array(items) => {
                self.longest = self.longest.max(items.len());
                items.iter().for_each(|item| self.add(item));
            }
            Value::String(text) => self.bytes += text.len(),
            _ => {}
        }
    }
}

/// Bounds what the recursive parser sees.
fn check_text(template: &str) -> Result<(), String> {
    if template.len() > MAX_TEMPLATE {
        return Err(format!("it is longer than {} KiB", MAX_TEMPLATE / 1024));
    }
    let mut depth = 0_usize;
    let mut alternatives = 0_usize;
    for expression in template.split("{{").skip(1) {
        let expression = expression.split("}}").next().unwrap_or_default();
        let brackets = expression.matches(['(', '[', '{']).count();
        if brackets > MAX_DEPTH {
            return Err(format!("an expression has more than {MAX_DEPTH} brackets"));
        }
        let tag = expression.trim_start_matches([' ', '\t', '\r', '\n', '~', '{']);
        // Each `else if` is a block in the one before it.
        let is_else = tag.starts_with('^') || tag.starts_with("else");
        alternatives += usize::from(is_else);
        match tag.chars().next() {
            Some('#') => depth += 1,
            Some('/') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if alternatives > MAX_ALTERNATIVES {
            return Err(format!("there are more than {MAX_ALTERNATIVES} times else"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("blocks are nested more than {MAX_DEPTH} deep"));
        }
    }
    Ok(())
}

/// The number of items that a list or map written in the template may have.
fn longest_literal(template: &str) -> usize {
    let expressions = template.split("{{").skip(1);
    let commas = expressions.map(|expression| {
        let expression = expression.split("}}").next().unwrap_or_default();
        expression.matches(',').count() + 1
    });
    commas.max().unwrap_or_default()
}

/// Estimates steps from above: every loop may be one over the longest list.
struct Cost {
    longest: usize,
    /// A partial gets a copy of the configs.
    partial: usize,
}

impl Cost {
    fn of(&self, template: &Template) -> Result<usize, String> {
        let mut cost = 1_usize;
        for element in &template.elements {
            cost = cost.saturating_add(match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => 1,
                TemplateElement::Expression(expression)
                | TemplateElement::HtmlExpression(expression) => self.of_expression(expression),
                TemplateElement::HelperBlock(block) => self.of_block(block)?,
                TemplateElement::PartialExpression(partial)
                    if partial.name == Parameter::Name("indent".into()) =>
                {
                    self.partial
                }
                _ => {
                    return Err("partials other than indent, and decorators, are not supported; \
                                write their content out"
                        .into());
                }
            });
        }
        Ok(cost)
    }

    fn of_block(&self, block: &HelperTemplate) -> Result<usize, String> {
        let is_loop = !["if", "unless", "with", "raw"]
            .iter()
            .any(|name| block.name == Parameter::Name((*name).into()));
        let times = if is_loop { self.longest.max(1) } else { 1 };
        let mut cost = self.of_expression(block);
        for template in [&block.template, &block.inverse].into_iter().flatten() {
            cost = cost.saturating_add(self.of(template)?.saturating_mul(times));
        }
        Ok(cost)
    }

    /// Each parameter may be a copy of everything.
    fn of_expression(&self, expression: &HelperTemplate) -> usize {
        let copies = |parameter: &Parameter| match parameter {
            Parameter::Subexpression(_) => self.partial.saturating_mul(MAX_DEPTH),
            _ => 1,
        };
        let parameters = expression.params.iter().chain(expression.hash.values());
        parameters.map(copies).fold(1, usize::saturating_add)
    }
}

/// An output that ends at [`MAX_OUTPUT`].
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            let reason = format!("the result is longer than {} KiB", MAX_OUTPUT / 1024);
            return Err(io::Error::other(reason));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use serde_json::json;

    fn render(template: &str, configs: Value) -> Result<String, String> {
        Renderer::new().render(template, configs.as_object().unwrap())
    }

    #[test]
    fn templates_are_filled_as_ankaios_does() {
        let configs = json!({"c": {"env": [{"key": "A", "value": "1\""}, {"key": "B", "value": "<"}],
                                   "file": "x\ny"}});
        let template = "{{#each c.env}}\n- {{key}}={{value}}\n{{/each}}";
        assert_eq!(render(template, configs.clone()).unwrap(), "- A=1\"\n- B=<\n");
        let indented = render("a:\n  {{> indent content=c.file}}", configs.clone()).unwrap();
        assert_eq!(indented, "a:\n  x\n  y");
        let condition = "{{#if (eq c.file \"z\")}}yes{{else}}no{{/if}}{{#with c}}{{file}}{{/with}}";
        assert_eq!(render(condition, configs.clone()).unwrap(), "nox\ny");
        let missing = render("{{c.nothing}}", configs).unwrap_err();
        assert!(missing.contains("c.nothing"), "{missing}");
    }

    #[test]
    fn bombs_are_refused_and_take_no_time() {
        let list: Vec<_> = (0..2000).map(|number| number.to_string()).collect();
        let nested = "{{#each ../c}}".repeat(5) + &"{{/each}}".repeat(5);
        let start = Instant::now();
        for bomb in [
            format!("{{{{#each c}}}}{nested}{{{{/each}}}}"),
            "{{#each c}}{{#each @root.c}}x{{/each}}{{/each}}".into(),
            "{{#*inline \"x\"}}{{> x}}{{> x}}{{/inline}}{{> x}}".into(),
            "{{#*inline \"indent\"}}{{> indent}}{{/inline}}{{> indent}}".into(),
            "{{#> indent}}x{{/indent}}".into(),
            "{{> (lookup c \"0\")}}".into(),
            "{{> other}}".into(),
            "{{#if c}}".repeat(60_000 / 9),
            "{{#if c}}".repeat(20) + &"{{/if}}".repeat(20),
            "{{#if c}}".repeat(MAX_DEPTH),
            "{{ # if c}}".repeat(100),
            "{{#if c.x}}".to_owned() + &"{{else if c.y}}".repeat(8000) + "{{/if}}",
            "{{#if c.x}}".to_owned() + &"{{ ~^if c.y}}".repeat(8000) + "{{/if}}",
            format!("{{{{c {}", "(".repeat(100_000)),
            format!("{{{{c {}", "(a ".repeat(MAX_DEPTH)),
            format!("{{{{#each {}1{}}}}}x{{{{/each}}}}", "[".repeat(1000), "]".repeat(1000)),
            "{{".repeat(50_000),
            "{{{{".repeat(30_000),
            "x".repeat(MAX_TEMPLATE + 1),
            "{{c}}".repeat(1000),
            format!("{{{{#each c}}}}{}{{{{/each}}}}", "x".repeat(1000)),
        ] {
            let shown: String = bomb.chars().take(60).collect();
            let result = render(&bomb, json!({"c": list}));
            assert!(result.is_err(), "{shown}");
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
    }

    #[test]
    fn all_templates_of_a_request_share_one_budget() {
        let configs = json!({"c": vec!["x"; 1000]});
        let configs = configs.as_object().unwrap();
        let mut renderer = Renderer::new();
        let rendered = (0..1000)
            .take_while(|_| renderer.render("{{#each c}}{{this}}{{/each}}", configs).is_ok());
        let rendered = rendered.count();
        assert!((50..500).contains(&rendered), "{rendered}");
    }
}

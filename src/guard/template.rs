//! Renders templates with configs as Ankaios does, within limits.
//!
//! Ankaios renders with Handlebars: strict mode, no escaping, and the one partial
//! `indent`. The same library renders here. It has no limits: nested loops over a long
//! list would run for years. So a helper is inserted in front of the body of each block.
//! It takes the cost of the body from a budget, and `lookup` takes the cost of its copy.
//! Partials other than `indent` are refused: partials that a template defines could call
//! each other without end.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    BlockContext, Context, Handlebars, Helper, HelperDef, HelperResult, Output, Path,
    RenderContext, RenderError, RenderErrorReason, ScopedJson, Template, no_escape,
};
use serde_json::{Map, Value, json};

/// Maximum nesting depth of blocks, and maximum number of brackets in one expression.
const MAX_DEPTH: usize = 16;

/// Maximum number of `else` in one template.
const MAX_ALTERNATIVES: usize = 64;

/// Limits for what a [`Renderer`] does.
#[derive(Debug, Clone, Copy)]
pub(super) struct RenderLimits {
    /// Maximum size of a template, in bytes.
    pub(super) template: usize,
    /// Maximum size of the result for one field, in bytes.
    pub(super) output: usize,
    /// Maximum number of steps of all templates together.
    pub(super) steps: usize,
}

impl RenderLimits {
    /// For the fields that a policy covers, of the workloads of one request: about half a second.
    /// A Kubernetes manifest fits.
    pub(super) const POLICY: Self =
        Self { template: 128 * 1024, output: 1024 * 1024, steps: 500_000 };
}

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RenderFailure {
    /// It is mistaken, so that Ankaios refuses it, too.
    Mistake(String),
    /// It exceeds a limit, or contains what is not supported here.
    Limit(String),
}

impl fmt::Display for RenderFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Mistake(reason) | Self::Limit(reason)) = self;
        formatter.write_str(reason)
    }
}

/// How many bytes are copied, or values compared, in one step.
const PER_STEP: usize = 64;

/// The name of the helper that runs first in each body. A template cannot contain this name.
const METER: &str = " ";

const TOO_MUCH: &str = "the templates of this request take too much time to check; use shorter \
                        lists, fewer nested loops, or several requests";

/// Renders the templates of one request.
pub(super) struct Renderer {
    engine: Handlebars<'static>,
    budget: Budget,
    limits: RenderLimits,
}

impl Renderer {
    pub(super) fn new(limits: RenderLimits) -> Self {
        let budget = Budget(Arc::new(AtomicUsize::new(limits.steps)));
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(no_escape);
        engine
            .register_partial("indent", "{{content}}")
            .expect("the one partial of Ankaios is a valid template");
        engine.register_helper(METER, Box::new(Meter(budget.clone())));
        engine.register_helper("lookup", Box::new(Lookup(budget.clone())));
        Self { engine, budget, limits }
    }

    /// Renders a template with `configs`, which are named by their aliases.
    ///
    /// # Errors
    /// The reason why it cannot be rendered.
    pub(super) fn render(
        &mut self,
        template: &str,
        configs: &Map<String, Value>,
    ) -> Result<String, RenderFailure> {
        check_text(template, self.limits.template).map_err(RenderFailure::Limit)?;
        let size = configs.values().map(weight).sum::<usize>();
        // The cost of copying the configs and parsing the text.
        self.budget.spend(size + steps_of_parsing(template)).map_err(describe)?;
        let mistake = |error: String| RenderFailure::Mistake(error);
        let mut parsed = Template::compile(template).map_err(|error| mistake(error.to_string()))?;
        add_meters(&mut parsed, size).map_err(RenderFailure::Limit)?;

        let context = Context::wraps(configs).map_err(describe)?;
        let mut output = BoundedOutput::new(self.limits.output);
        self.engine.register_template("", parsed);
        self.engine.render_with_context_to_write("", &context, &mut output).map_err(describe)?;
        self.budget.spend(output.text.len() / PER_STEP).map_err(describe)?;
        String::from_utf8(output.text).map_err(|error| mistake(error.to_string()))
    }
}

/// The error as text. For an exhausted budget, the position in the template is left out.
fn describe(error: RenderError) -> RenderFailure {
    match error.reason() {
        RenderErrorReason::Other(reason) => RenderFailure::Limit(reason.clone()),
        // The output is the only thing that does I/O.
        RenderErrorReason::IOError(reason) => RenderFailure::Limit(reason.to_string()),
        _ => RenderFailure::Mistake(error.to_string()),
    }
}

/// The number of steps that are left. An atomic, because the library requires helpers to be
/// `Send` and `Sync`; only one thread uses it.
#[derive(Clone)]
struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn spend(&self, steps: usize) -> Result<(), RenderError> {
        let spent = |left: usize| left.checked_sub(steps);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent) {
            Ok(_) => Ok(()),
            Err(_) => Err(RenderErrorReason::Other(TOO_MUCH.into()).into()),
        }
    }
}

/// The number of steps to copy a value.
fn weight(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| key.len() / PER_STEP + weight(value)).sum()
        }
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::String(text) => text.len() / PER_STEP,
        _ => 0,
    }
}

/// Refuses text that would make the parser recurse too deeply.
fn check_text(template: &str, max_size: usize) -> Result<(), String> {
    if template.len() > max_size {
        return Err(format!("it is longer than {} KiB", max_size / 1024));
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
        // Each `else if` is a block within the previous one.
        let is_else = tag.starts_with('^') || tag.starts_with("else");
        alternatives += usize::from(is_else);
        match tag.chars().next() {
            Some('#') => depth += 1,
            Some('/') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if alternatives > MAX_ALTERNATIVES {
            return Err(format!("there are more than {MAX_ALTERNATIVES} else branches"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("blocks are nested more than {MAX_DEPTH} deep"));
        }
    }
    Ok(())
}

/// The number of steps to parse a text. The parser takes quadratic time for some texts: it counts
/// lines from the beginning of the text for each expression, scans to the end of the text for
/// each comment that is not closed, and to the end of a run of backslashes for each of them.
fn steps_of_parsing(text: &str) -> usize {
    let expressions = text.matches("{{").count().saturating_mul(text.len());
    let open = text.rfind("--}}").map_or(text, |end| &text[end..]);
    let comments = open.split("{{!").filter(|rest| rest.trim_start().starts_with("--")).count();
    let rows = text.split(|character| character != '\\').map(str::len);
    let backslashes = rows.fold(0, |sum: usize, row| sum.saturating_add(row.saturating_mul(row)));
    (text.len() + expressions / 4)
        .saturating_add(comments.saturating_mul(open.len()).saturating_mul(4))
        .saturating_add(backslashes / 4)
        / PER_STEP
}

/// Inserts a meter in front of the template and of each body in it. `size` is the weight of the
/// configs.
fn add_meters(template: &mut Template, size: usize) -> Result<(), String> {
    // One for the meter, one for the loop around it.
    let mut steps = 2;
    let (mut contexts, mut copies) = (Vec::new(), HashMap::new());
    for element in &mut template.elements {
        steps += match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => 1,
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                steps_of_call(call, size)
            }
            TemplateElement::HelperBlock(block) => {
                for body in [&mut block.template, &mut block.inverse].into_iter().flatten() {
                    add_meters(body, size)?;
                }
                steps_of_call(block, size)
            }
            TemplateElement::PartialExpression(partial)
                if partial.name == Parameter::Name("indent".into()) =>
            {
                contexts.push(match partial.params.first() {
                    Some(context) => context.clone(),
                    None => Parameter::parse("this").map_err(|error| error.to_string())?,
                });
                for value in partial.hash.values() {
                    copies.insert(copies.len().to_string(), value.clone());
                }
                // Once for the partial, once for its meter.
                2 + 2 * steps_of_parameters(&partial.params, &partial.hash, size)
            }
            _ => {
                return Err("partials other than indent, and decorators, are not supported; \
                            write out their content"
                    .into());
            }
        };
    }
    if !contexts.is_empty() {
        insert_meter(template, 0, contexts, copies);
    }
    insert_meter(template, steps, vec![], HashMap::new());
    Ok(())
}

/// Inserts a meter in front of a template. See [`Meter`] for the parameters.
fn insert_meter(
    template: &mut Template,
    steps: usize,
    contexts: Vec<Parameter>,
    copies: HashMap<String, Parameter>,
) {
    let parameters = [vec![Parameter::Literal(json!(steps))], contexts].concat();
    let meter = Subexpression::new(Parameter::Name(METER.into()), parameters, copies);
    template.elements.insert(0, *meter.element);
    // Errors look up the position of an element by its index.
    if let Some(place) = template.mapping.first().cloned() {
        template.mapping.insert(0, place);
    }
}

/// The number of steps to call a helper, or to look up a value by its name, if no enclosing block
/// holds a copy.
fn steps_of_call(call: &HelperTemplate, size: usize) -> usize {
    let compares = ["eq", "ne", "gt", "gte", "lt", "lte"].map(Some).contains(&call.name.as_name());
    let compared = if compares { size / PER_STEP } else { 0 };
    let parameters = steps_of_parameters(&call.params, &call.hash, size);
    steps_of_parameter(&call.name, size) + parameters + compared
}

fn steps_of_parameters(
    list: &[Parameter],
    hash: &HashMap<String, Parameter>,
    size: usize,
) -> usize {
    list.iter().chain(hash.values()).map(|parameter| steps_of_parameter(parameter, size)).sum()
}

fn steps_of_parameter(parameter: &Parameter, size: usize) -> usize {
    match parameter {
        Parameter::Path(Path::Relative((_, text)) | Path::Local((_, _, text))) => {
            1 + 2 * text.len() / PER_STEP
        }
        Parameter::Literal(value) => weight(value),
        Parameter::Subexpression(call) => match call.as_element() {
            TemplateElement::Expression(call) => steps_of_call(call, size),
            _ => 1,
        },
        _ => 1,
    }
}

/// A helper that takes the steps of the following body from the budget.
///
/// The first parameter is the number of steps if no enclosing block holds a copy. The other
/// parameters are the contexts of the partials in the body, and the hash contains their other
/// arguments. The library copies all of them, and splits a context that is a text into
/// characters.
struct Meter(Budget);

impl HelperDef for Meter {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        let mut parameters = helper.params().iter().map(|parameter| parameter.value());
        // A template can only call this helper by a name that it looks up, without parameters.
        let steps = parameters.next().and_then(Value::as_u64).map(|steps| steps as usize);
        let steps = steps.ok_or(RenderErrorReason::HelperNotFound(METER.into()))?;
        let blocks = context.replace_blocks(VecDeque::new());
        let (values, bytes): (Vec<_>, Vec<_>) = blocks.iter().map(held).unzip();
        context.replace_blocks(blocks);
        let held = values.iter().sum::<usize>() + bytes.iter().sum::<usize>() / PER_STEP;
        let contexts: usize =
            parameters.map(|value| value.as_str().map_or(weight(value), str::len)).sum();
        let others: usize = helper.hash().values().map(|value| weight(value.value())).sum();
        self.0.spend(steps.saturating_mul(1 + held).saturating_add(contexts + others))
    }
}

/// The cost of a copy by a parameter in this block. The first number is the weight of the value
/// that the block holds, if it holds a copy and not a path in the configs. The second is the
/// size of that path and of the key, in bytes.
fn held(block: &BlockContext<'_>) -> (usize, usize) {
    let key = block.get_local_var("key").and_then(Value::as_str).unwrap_or_default();
    let path = block.base_path().iter().map(String::len).sum::<usize>();
    (block.base_value().map_or(0, weight), path + key.len())
}

/// The helper `lookup` of Handlebars. It copies the value, so it takes the cost from the budget.
struct Lookup(Budget);

impl HelperDef for Lookup {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let parameter = |index| {
            let parameter = helper.param(index).map(|parameter| parameter.value());
            parameter.ok_or(RenderErrorReason::ParamNotFoundForIndex("lookup", index))
        };
        let (values, index) = (parameter(0)?, parameter(1)?);
        let value = match values {
            Value::Array(items) => index.as_u64().and_then(|index| items.get(index as usize)),
            Value::Object(fields) => index.as_str().and_then(|key| fields.get(key)),
            _ => None,
        };
        let value = value.ok_or_else(|| RenderError::strict_error(None))?;
        self.0.spend(weight(index) + weight(value))?;
        Ok(value.clone().into())
    }
}

/// A buffer of limited size.
struct BoundedOutput {
    text: Vec<u8>,
    limit: usize,
}

impl BoundedOutput {
    fn new(limit: usize) -> Self {
        Self { text: Vec::new(), limit }
    }
}

impl Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            let reason = format!("the result is longer than {} KiB", self.limit / 1024);
            return Err(io::Error::other(reason));
        }
        self.text.extend_from_slice(bytes);
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

    use serde_json::json;

    use super::*;

    const MAX_TEMPLATE: usize = RenderLimits::POLICY.template;

    fn render(template: &str, configs: Value) -> Result<String, String> {
        let mut renderer = Renderer::new(RenderLimits::POLICY);
        let rendered = renderer.render(template, configs.as_object().unwrap());
        rendered.map_err(|failure| failure.to_string())
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

    /// The parser, and the library where it copies or compares, take long for little text.
    #[test]
    fn short_loops_over_large_values_are_refused_and_take_no_time() {
        let text = "x".repeat(300_000);
        let words = vec!["a"; 20_000];
        let numbers: Vec<_> = (0..2000).collect();
        let start = Instant::now();
        for (template, configs) in [
            (r"\".repeat(100_000), json!({})),
            ("x{{c}}\n".repeat(16_000), json!({"c": ""})),
            ("{{!-- }}".repeat(16_000), json!({})),
            (
                format!(
                    "{{{{#with (lookup c 0)}}}}{{{{and {}}}}}{{{{/with}}}}",
                    "this ".repeat(9000)
                ),
                json!({"c": [text]}),
            ),
            (
                format!(
                    "{{{{#with (lookup c 0)}}}}{}{{{{/with}}}}",
                    "{{#if this}}{{/if}}".repeat(50)
                ),
                json!({"c": [words]}),
            ),
            (
                format!(
                    "{{{{#with (lookup c 0)}}}}{}{{{{/with}}}}",
                    "{{#each @root.c}}{{#if ../this}}{{/if}}{{/each}}".repeat(50)
                ),
                json!({"c": [words]}),
            ),
            ("{{#if (lookup c 0)}}{{/if}}".repeat(50), json!({"c": [words]})),
            (
                "{{#each c}}{{#if (eq @root.d @root.d)}}{{/if}}{{/each}}".into(),
                json!({"c": numbers, "d": words}),
            ),
            (
                "{{#each c}}{{#if (lookup @root.d @root.e)}}{{/if}}{{/each}}".into(),
                json!({"c": numbers, "d": {&text: 1}, "e": text}),
            ),
            (
                "{{#each c}}{{#each @root.d}}{{/each}}{{/each}}".into(),
                json!({"c": numbers, "d": {&text: 1}}),
            ),
            (
                format!(
                    "{{{{#each c as |value key|}}}}{{{{and {}}}}}{{{{/each}}}}",
                    "key ".repeat(9000)
                ),
                json!({"c": {&text: 1}}),
            ),
            (
                format!(
                    "{{{{#each c}}}}{{{{#if {}x}}}}{{{{/if}}}}{{{{/each}}}}",
                    "x.".repeat(50_000)
                ),
                json!({"c": numbers}),
            ),
            ("{{> indent content=1}}".repeat(50), json!({"c": words})),
            ("{{> indent content=c}}".repeat(50), json!({"c": words})),
            (
                format!("{{{{#with c}}}}{}{{{{/with}}}}", "{{> indent content=1}}".repeat(2)),
                json!({"c": text}),
            ),
            ("{{> indent c content=1}}".repeat(2), json!({"c": text})),
        ] {
            let shown: String = template.chars().take(60).collect();
            let error = render(&template, configs).unwrap_err();
            assert_eq!(error, TOO_MUCH, "{shown}");
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(40), "{took:?}");
    }

    #[test]
    fn counting_steps_changes_no_result() {
        let mut plain = Handlebars::new();
        plain.set_strict_mode(true);
        plain.register_escape_fn(no_escape);
        plain.register_partial("indent", "{{content}}").unwrap();
        let configs = json!({"c": {"list": [1, "a\nb", [2], {"x": "y"}], "map": {"k": {"x": [1]}, "l": {}},
                                   "text": "a\nb\n", "none": null, "empty": []}});
        for template in [
            "a\n  {{#if c.empty}}\n  x\n  {{else if c.text}}\n  {{c.text}}\n  {{/if}}\nb",
            "{{#each c.list as |value index|}}{{index}} {{value}}{{@first}}{{~else~}} x {{/each}}",
            "{{#each c.map as |value key|}}\n  - {{key}}{{@last}}{{#each value}}{{@../key}}{{@key}}{{/each}}\n{{/each}}",
            "{{#each c.map}}{{#with (lookup ../c.map @key)}}{{#each x}}{{this}}{{/each}}{{/with}}{{/each}}",
            "{{#with (lookup c \"map\")}}{{#with k as |v|}}{{v.x}}{{../l}}{{@root.c.text}}{{/with}}{{/with}}",
            "{{#with c.none}}x{{else}}y{{/with}}{{#unless c.empty}}{{lookup c.list 1}}{{/unless}}",
            "a:\n  {{> indent content=c.text}}\n  {{#each c.list}}\n  {{> indent content=this}}\n  {{/each}}\n",
            "{{#each c.list}}\n    {{> indent ../c content=(lookup ../c \"text\")}}x\n{{/each}}",
            "{{#each [1, \"a\", {\"x\": 2}]}}{{this}}{{#if x}}{{x}}{{/if}}{{/each}}{{{{raw}}}}{{x}}{{{{/raw}}}}",
            "{{#eq c.text \"x\"}}a{{else}}b{{/eq}}{{len c.list}}{{and c.text c.empty}}{{log c}}\\{{x}}{{!-- {{> x}} --}}",
            "x\n{{c.list.7}}",
            "{{lookup c.list 7}}",
            "\n{{lookup c}}",
            "{{#each c.text}}{{/each}}",
            "{{#each c.list}}\n{{x}}{{/each}}",
            "{{x c}}",
            "{{(lookup c \"text\")}}",
            "{{> indent content=c.list.x}}",
        ] {
            let expected =
                plain.render_template(template, &configs).map_err(|error| error.to_string());
            assert_eq!(render(template, configs.clone()), expected, "{template}");
        }
    }

    #[test]
    fn limits_are_told_from_mistakes() {
        let configs = json!({"c": ["x"]});
        let configs = configs.as_object().unwrap();
        let limits = RenderLimits { template: 100, output: 10, steps: 1000 };
        let render = |template: &str| Renderer::new(limits).render(template, configs);
        for template in [
            &"x".repeat(101),
            &"x".repeat(11),
            "{{> a}}",
            &"{{#if c}}".repeat(17),
            &"\\".repeat(99),
        ] {
            let failure = render(template).unwrap_err();
            assert!(matches!(failure, RenderFailure::Limit(_)), "{template}: {failure}");
        }
        for template in ["{{", "{{#if c}}", "{{d}}", "{{nothing c}}", "{{lookup c}}"] {
            let failure = render(template).unwrap_err();
            assert!(matches!(failure, RenderFailure::Mistake(_)), "{template}: {failure}");
        }
    }

    #[test]
    fn all_templates_of_a_request_share_one_budget() {
        let configs = json!({"c": vec!["x"; 1000]});
        let configs = configs.as_object().unwrap();
        let mut renderer = Renderer::new(RenderLimits::POLICY);
        let rendered = (0..1000)
            .take_while(|_| renderer.render("{{#each c}}{{this}}{{/each}}", configs).is_ok());
        let rendered = rendered.count();
        assert!((50..500).contains(&rendered), "{rendered}");
    }
}

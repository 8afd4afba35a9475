//! The workloads that agents get after an update, with their templates rendered.

use std::collections::{BTreeMap, BTreeSet};

use ankaios_model::update_mask::get;
use serde_json::{Map, Value};

use super::size::{EXECUTION_STATE, MAX_SIZE, refusal, size, workloads};
use crate::guard::refusal::Refusal;
use crate::guard::template::{RenderFailure, RenderLimits, Renderer};
use crate::guard::touched::Touched;

/// Limits for all templates of the state together: about a second.
const RENDER_LIMITS: RenderLimits =
    RenderLimits { template: MAX_SIZE, output: MAX_SIZE, steps: 1_000_000 };

/// Size of the instance name of a workload without its own name and its agent's, in bytes.
const INSTANCE_NAME: usize = 128;

/// The workloads that agents get.
#[derive(Default)]
pub(super) struct Delivery {
    /// Size of the workloads of each agent, in bytes.
    by_agent: BTreeMap<String, usize>,
    /// Maximum size of the execution state of each workload, in bytes.
    pub(super) reports: BTreeMap<String, usize>,
    pub(super) templated: BTreeSet<String>,
    pub(super) used_configs: BTreeSet<String>,
    /// The update adds or changes one of them.
    pub(super) is_changed: bool,
}

impl Delivery {
    /// The workloads of a state after an update.
    ///
    /// # Errors
    /// A template that the update adds or changes cannot be rendered within the limits.
    pub(super) fn of(state: &Value, touched: &Touched<'_>) -> Result<Self, Refusal> {
        let nothing = Map::new();
        let configs = get(state, &["desiredState", "configs"]).and_then(Value::as_object);
        let configs = configs.unwrap_or(&nothing);
        let mut delivery = Self::default();
        let mut renderer = Renderer::new(RENDER_LIMITS);
        for (name, workload) in workloads(state) {
            let used: BTreeSet<&str> = aliases(workload).map(|(_, config)| config).collect();
            let is_changed =
                touched.workload(name) || used.iter().any(|config| touched.config(config));
            delivery.is_changed |= is_changed;
            let mut rendered = Rendered::as_it_is(workload);
            if !used.is_empty() {
                delivery.templated.insert(name.clone());
                delivery.used_configs.extend(used.into_iter().map(str::to_owned));
                match render(workload, configs, &mut renderer) {
                    Ok(with_configs) => rendered = with_configs,
                    Err(RenderFailure::Limit(reason)) if is_changed => {
                        return Err(Refusal {
                            workload: Some(name.clone()),
                            ..refusal(format!(
                                "its templates cannot be rendered: {reason}. They would keep \
                                 Ankaios' server busy or end it; nothing was done"
                            ))
                        });
                    }
                    // Ankaios refuses the first itself. The others have been accepted before, or
                    // did not come from this connector.
                    Err(RenderFailure::Mistake(_) | RenderFailure::Limit(_)) => {}
                }
            }
            let Rendered { agent, growth, error } = rendered;
            let report = EXECUTION_STATE + 2 * name.len() + agent.len() + error;
            delivery.reports.insert(name.clone(), report);
            let size = size_of(name, workload).saturating_add(growth);
            *delivery.by_agent.entry(agent).or_default() += size;
        }
        Ok(delivery)
    }

    /// Size of all of them, in bytes.
    pub(super) fn size(&self) -> usize {
        self.by_agent.values().sum()
    }

    /// The agent that gets most, and the size of it in bytes.
    pub(super) fn largest(&self) -> Option<(&str, usize)> {
        let largest = self.by_agent.iter().max_by_key(|(_, size)| **size);
        largest.map(|(agent, size)| (agent.as_str(), *size))
    }
}

/// Size of a workload whose templates are not rendered, in bytes.
pub(super) fn size_of(name: &str, workload: &Value) -> usize {
    size(workload) + name.len() + INSTANCE_NAME
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The aliases of a workload with the names of their configs.
fn aliases(workload: &Value) -> impl Iterator<Item = (&String, &str)> {
    let aliases = workload.get("configs").and_then(Value::as_object).into_iter().flatten();
    aliases.filter_map(|(alias, config)| Some((alias, config.as_str()?)))
}

/// A workload whose templates are rendered.
struct Rendered {
    agent: String,
    /// How much larger it has become, in bytes.
    growth: usize,
    /// Maximum length of the error that its agent reports if it cannot be started, in bytes.
    error: usize,
}

impl Rendered {
    fn as_it_is(workload: &Value) -> Self {
        Self {
            agent: text(workload, "agent").to_owned(),
            growth: 0,
            error: longest_error(workload, text(workload, "runtimeConfig")),
        }
    }
}

/// Maximum length of the error that an agent reports if a workload cannot be started, in bytes: it
/// contains the options, quoted, or the name of the runtime, or twice the path of a file.
fn longest_error(workload: &Value, runtime_config: &str) -> usize {
    let quoted = |text: &str| text.escape_debug().map(char::len_utf8).sum::<usize>();
    let files = workload.get("files").and_then(Value::as_array).into_iter().flatten();
    let path = files.map(|file| text(file, "mountPoint").len()).max().unwrap_or_default();
    quoted(runtime_config) + text(workload, "runtime").len() + 2 * path
}

/// Renders all fields of a workload that are templates for Ankaios.
fn render(
    workload: &Value,
    configs: &Map<String, Value>,
    renderer: &mut Renderer,
) -> Result<Rendered, RenderFailure> {
    let mut context = Map::new();
    for (alias, name) in aliases(workload) {
        let config = configs.get(name).ok_or_else(|| {
            RenderFailure::Mistake(format!("it depends on the config {name}, which does not exist"))
        })?;
        context.insert(alias.clone(), config.clone());
    }
    let mut growth = 0_usize;
    let mut rendered = |template: &str| {
        // Nothing to render, and no cost to count.
        if !template.contains("{{") {
            return Ok(template.to_owned());
        }
        let text = renderer.render(template, &context)?;
        growth = growth.saturating_add(text.len().saturating_sub(template.len()));
        Ok(text)
    };
    let agent = rendered(text(workload, "agent"))?;
    let runtime_config = rendered(text(workload, "runtimeConfig"))?;
    for file in workload.get("files").and_then(Value::as_array).into_iter().flatten() {
        rendered(text(file, "data"))?;
        rendered(text(file, "binaryData"))?;
    }
    Ok(Rendered { agent, growth, error: longest_error(workload, &runtime_config) })
}

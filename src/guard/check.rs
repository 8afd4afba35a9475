//! Checks the state after an update against the policy. Pure: no I/O and no clock.

use ankaios_model::update_mask::{get, merge, touches};
use fleet_contract::error::ErrorCode;
use serde_json::{Map, Value, json};

use super::podman::{self, PartCount};
use super::policy::Policy;
use super::refusal::Refusal;
use super::template::{RenderLimits, Renderer};
use super::touched::Touched;
use super::violation::{Violation, listed, shown};

const WORKLOADS: [&str; 2] = ["desiredState", "workloads"];
const CONFIGS: [&str; 2] = ["desiredState", "configs"];

/// Checks the workloads that an update touches, and those that use a config that it touches, as
/// they are after the update.
///
/// `state` is the complete state before the update, `new` the update's new state, both
/// in Ankaios' own format.
///
/// # Errors
/// The first violation, or the reason why the rules cannot be checked.
pub(super) fn check(
    policy: &Policy,
    mut state: Value,
    new: &Value,
    masks: &[String],
) -> Result<(), Refusal> {
    for mask in masks.iter().filter(|mask| touches(mask, &["desiredState"])) {
        let refuse = |message: &str| {
            Err(Refusal {
                code: ErrorCode::Forbidden,
                rule: "update_mask",
                field: mask.clone(),
                workload: None,
                message: format!("the mask {mask:?} {message}, so the policy cannot be checked"),
            })
        };
        if mask.split('.').any(|part| part == "*") {
            return refuse("has a wildcard, which Ankaios does not support in updates");
        }
        if merge(&mut state, new, mask).is_err() {
            return refuse("goes into a field that has no subfields");
        }
    }
    let nothing = Map::new();
    let map = |path| get(&state, path).and_then(Value::as_object).unwrap_or(&nothing);
    let configs = map(&CONFIGS);
    let (mut renderer, mut parts) = (Renderer::new(RenderLimits::POLICY), PartCount::default());
    let touched = Touched::of(masks);
    for (name, workload) in map(&WORKLOADS) {
        if touched.workload(name) || uses_config(workload, &touched) {
            check_workload(policy, workload, configs, &mut renderer, &mut parts).map_err(
                |violation| {
                    let Violation { rule, field, reason } = violation;
                    let message =
                        format!("{field}: {reason} (rule {rule} of the policy); nothing was done");
                    Refusal {
                        code: ErrorCode::Forbidden,
                        rule,
                        field: field.to_owned(),
                        workload: Some(name.clone()),
                        message,
                    }
                },
            )?;
        }
    }
    Ok(())
}

/// Whether a workload uses a config that an update touches.
fn uses_config(workload: &Value, touched: &Touched<'_>) -> bool {
    let mut used = aliases(workload).filter_map(|(_, config)| config.as_str());
    used.any(|config| touched.config(config))
}

fn aliases(workload: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workload.get("configs").and_then(Value::as_object).into_iter().flatten()
}

fn check_workload(
    policy: &Policy,
    workload: &Value,
    configs: &Map<String, Value>,
    renderer: &mut Renderer,
    parts: &mut PartCount,
) -> Result<(), Violation> {
    let text = |field| workload.get(field).and_then(Value::as_str).unwrap_or_default();
    let runtime = text("runtime");
    if let Some(allowed) = &policy.runtimes
        && !allowed.iter().any(|name| name.is(runtime))
    {
        return Err(not_allowed("runtimes", "runtime", runtime, &listed(allowed)));
    }
    let allow_rules = get(workload, &["controlInterfaceAccess", "allowRules"]);
    let grants = allow_rules.is_some_and(|rules| *rules != json!([]) && !rules.is_null());
    if grants && policy.control_interface_access == Some(false) {
        let reason = "access to the control interface must not be granted";
        let field = "controlInterfaceAccess";
        return Err(Violation::new("control_interface_access", field, reason));
    }
    if let Some(allowed) = &policy.agents {
        let agent = render("agents", "agent", workload, configs, renderer)?;
        if !allowed.iter().any(|name| name.is(&agent)) {
            return Err(not_allowed("agents", "agent", &agent, &listed(allowed)));
        }
    }
    if policy.covers_runtime_config() {
        let rule = if policy.images.is_some() { "images" } else { "forbidden_options" };
        if runtime != "podman" {
            let reason = format!(
                "{:?} cannot be checked: the rules images and forbidden_options support only the \
                 runtime podman",
                shown(runtime)
            );
            return Err(Violation::new(rule, "runtime", reason));
        }
        let config = render(rule, "runtimeConfig", workload, configs, renderer)?;
        podman::check(policy, &config, parts)?;
    }
    Ok(())
}

/// Renders a field of a workload. Without configs the field stays as it is: Ankaios does not
/// render it either.
fn render(
    rule: &'static str,
    field: &'static str,
    workload: &Value,
    configs: &Map<String, Value>,
    renderer: &mut Renderer,
) -> Result<String, Violation> {
    let text = workload.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut context = Map::new();
    for (alias, name) in aliases(workload) {
        let name = name.as_str().unwrap_or_default();
        let Some(config) = configs.get(name) else {
            let reason = format!("it depends on the config {name}, which does not exist");
            return Err(Violation::new(rule, field, reason));
        };
        context.insert(alias.clone(), config.clone());
    }
    if context.is_empty() {
        return Ok(text.to_owned());
    }
    renderer
        .render(text, &context)
        .map_err(|reason| Violation::new(rule, field, format!("it cannot be rendered: {reason}")))
}

fn not_allowed(rule: &'static str, field: &'static str, value: &str, allowed: &str) -> Violation {
    let reason = format!("{:?} is not allowed; the allowed values are {allowed}", shown(value));
    Violation::new(rule, field, reason)
}

#[cfg(test)]
mod tests;

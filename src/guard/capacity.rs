//! What Ankaios can carry: the size of the state after an update. Pure: no I/O and no clock.
//!
//! Agent and server exchange messages of at most 4 MiB (the default of their gRPC library). Two of
//! them grow with the state: the reply with the whole state, and the workloads of an agent, with
//! their templates rendered, which the agent gets each time it connects. If one of these is larger,
//! the connection breaks: for the first at each request, for the second for good. An update that
//! would cause this is accepted by Ankaios.
//!
//! The reply also contains what agents report. If a workload cannot be started, that may be as long
//! as its `runtimeConfig`, which is part of the text of some errors.
//!
//! Other updates are accepted, too, and keep the server busy or end it: templates that take long,
//! that call themselves, and so many workloads that the server works through them for each event.
//! All templates are rendered again with each update.

mod delivery;
mod size;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ankaios_model::update_mask::{merge, touches};
use delivery::Delivery;
use serde_json::{Map, Value};
pub(super) use size::{EXECUTION_STATE, MAX_SIZE};
use size::{MAX_MESSAGE, refusal, size, workloads};

use super::refusal::Refusal;
use super::touched::Touched;

/// Maximum number of workloads after an update. For each event, the server compares the states of
/// all workloads; with 2000 of them that takes a second, and each workload that starts causes
/// several events.
pub(super) const MAX_WORKLOADS: usize = 1000;

/// The parts of the state that [`check`] looks at. The last one tells whether Ankaios has an
/// effective state, which the reply with the whole state contains.
pub(super) const FIELD_MASKS: [&str; 4] =
    ["desiredState", "workloadStates", "agents", "effectiveState.apiVersion"];

/// The size of a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StateSize {
    /// Maximum size of the reply with the whole state, in bytes.
    pub(super) reply: usize,
    /// The number of workloads.
    pub(super) workloads: usize,
    /// The workloads with templates.
    pub(super) templated: BTreeSet<String>,
    /// The configs that they use.
    pub(super) used_configs: BTreeSet<String>,
}

/// Checks whether Ankaios can carry the state after an update. Returns its size.
///
/// `before` is the state before the update, with all of [`FIELD_MASKS`], and `new` the new state
/// of the update, both in Ankaios' own format. An update that makes the state smaller passes.
///
/// # Errors
/// It cannot; says why.
pub(super) fn check(before: &Value, new: &Value, masks: &[String]) -> Result<StateSize, Refusal> {
    let after = state_after(before, new, masks);
    let (old_workloads, new_workloads) = (workloads(before).count(), workloads(&after).count());
    if new_workloads > MAX_WORKLOADS && new_workloads > old_workloads {
        return Err(refusal(format!(
            "after this update the vehicle would have {new_workloads} workloads; more than \
             {MAX_WORKLOADS} keep Ankaios' server so busy that the vehicle cannot be reached (it \
             has {old_workloads} now); nothing was done"
        )));
    }
    let touched = Touched::of(masks);
    let delivery = Delivery::of(&after, &touched)?;
    let observed = before.get("workloadStates").map_or(0, size);
    let set =
        |state: &Value| PARTS.iter().filter_map(|part| state.get(part)).map(size).sum::<usize>();
    let mut reply = observed + set(&after) + future_states(before, &touched, &delivery);
    let mut old_reply = observed + set(before);
    if before.get("effectiveState").is_some() {
        reply += delivery.size();
        old_reply += workloads(before)
            .map(|(name, workload)| delivery::size_of(name, workload))
            .sum::<usize>();
    }
    if reply > MAX_SIZE && reply > old_reply {
        return Err(refusal(format!(
            "after this update the state of the vehicle could have {reply} bytes, with the errors \
             that its workloads may report (now {old_reply}), and more than {MAX_SIZE} are not \
             allowed: Ankaios' server and agent can exchange at most {MAX_MESSAGE} bytes (4 MiB) in \
             one message, beyond it requests for the state break their connection; nothing was \
             done. Delete what is no longer needed, or put large files into the image or a volume"
        )));
    }
    if let Some((agent, size)) = delivery.largest()
        && size > MAX_SIZE
        && delivery.is_changed
    {
        return Err(refusal(format!(
            "after this update the workloads of the agent {agent:?} would have about {size} bytes \
             once their templates are rendered, and more than {MAX_SIZE} are not allowed: an agent \
             that gets more than {MAX_MESSAGE} bytes (4 MiB) cannot connect to its server any \
             more; nothing was done. Use smaller configs, or fewer loops over them"
        )));
    }
    Ok(StateSize {
        reply,
        workloads: new_workloads,
        templated: delivery.templated,
        used_configs: delivery.used_configs,
    })
}

/// The parts of the state that updates can change; of the agents, these are the tags.
const PARTS: [&str; 2] = ["desiredState", "agents"];

/// The [`PARTS`] of the state after an update.
fn state_after(before: &Value, new: &Value, masks: &[String]) -> Value {
    let known = PARTS.iter().filter_map(|&part| Some((part.to_owned(), before.get(part)?.clone())));
    let mut after = Value::Object(known.collect::<Map<_, _>>());
    for mask in masks.iter().filter(|mask| PARTS.iter().any(|part| touches(mask, &[part]))) {
        // Ankaios refuses an update whose mask does not fit.
        let _ = merge(&mut after, new, mask);
    }
    after
}

/// How much larger the states of workloads may become, in bytes.
fn future_states(before: &Value, touched: &Touched<'_>, delivery: &Delivery) -> usize {
    let mut observed: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    let agents = before.get("workloadStates").and_then(Value::as_object).into_iter().flatten();
    for (name, instances) in agents.flat_map(|(_, names)| names.as_object().into_iter().flatten()) {
        let has_run = instances.as_object().into_iter().flatten().any(|(_, state)| {
            let state = state.get("state").and_then(Value::as_str).unwrap_or_default();
            ["Running", "Succeeded", "Failed"].contains(&state)
        });
        let (known, has_ever_run) = observed.entry(name).or_default();
        *known += size(instances);
        *has_ever_run |= has_run;
    }
    let future = delivery.reports.iter().map(|(name, report)| {
        match observed.get(name.as_str()) {
            // Its options are right.
            Some((_, true)) if !touched.workload(name) => 0,
            Some((known, _)) if !touched.workload(name) => report.saturating_sub(*known),
            // The state of the former instance may stay for a while.
            _ => *report,
        }
    });
    future.sum()
}

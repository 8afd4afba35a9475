//! `get workloads`, `get configs` and `get state`.

use std::collections::BTreeMap;

use fleet_contract::operation::Operation;
use serde_json::{Value, json};

use super::super::super::answers::Missing;
use super::super::super::arguments::{AskingArgs, Output};
use super::super::super::call::Call;
use super::super::super::context::Context;
use super::super::super::failure::Failure;
use super::super::super::output;
use crate::Vin;
use crate::rollout::{ExitCode, describe};
use crate::table::Table;

/// What is read of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    Workloads,
    Configs,
    State,
}

impl Items {
    fn masks(self) -> Value {
        match self {
            Self::Workloads => json!(["desiredState.workloads", "workloadStates"]),
            Self::Configs => json!(["desiredState.configs"]),
            Self::State => json!([]),
        }
    }
}

pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    items: Items,
    form: Option<Output>,
    asking: &AskingArgs,
) -> Result<ExitCode, Failure> {
    let (online, offline) = context.online(vins);
    // The form of the state is the one that can be applied again.
    let format = if items == Items::State { "ankaios" } else { "sdk" };
    let payload = json!({"field_masks": items.masks(), "format": format}).to_string();
    let calls: Vec<Call> = online
        .iter()
        .map(|vin| Call::new(vin, Operation::State, payload.clone(), asking.timeout))
        .collect();
    let mut missing = Missing::default();
    let mut states: BTreeMap<Vin, Value> = BTreeMap::new();
    let is_streamed = form == Some(Output::Jsonl) && items == Items::State;
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        let Some(payload) = missing.reply(vin, answer) else { return Ok(()) };
        match serde_json::from_slice::<Value>(&payload) {
            Ok(state) if is_streamed => output::json_line(&json!({"vin": vin, "state": state}))?,
            Ok(state) => {
                states.insert(vin.clone(), state);
            }
            Err(error) => missing.failed(vin, format!("its reply is not JSON: {error}")),
        }
        Ok(())
    });
    ask.await?;
    missing.offline(&offline);
    match items {
        Items::State => print_states(&states, without_table(form))?,
        Items::Workloads => print_rows(workloads(&states), &WORKLOADS, form)?,
        Items::Configs => print_rows(configs(&states), &CONFIGS, form)?,
    }
    Ok(missing.report())
}

const WORKLOADS: [&str; 6] = ["VIN", "WORKLOAD", "AGENT", "RUNTIME", "STATE", "INFO"];
const CONFIGS: [&str; 3] = ["VIN", "CONFIG", "VALUE"];

/// The workloads of all vehicles, one object for each instance.
pub(super) fn workloads(states: &BTreeMap<Vin, Value>) -> Vec<Value> {
    let mut rows = Vec::new();
    for (vin, state) in states {
        let desired = state.pointer("/desired_state/workloads").and_then(Value::as_object);
        let mut names: BTreeMap<&str, &Value> =
            desired.into_iter().flatten().map(|(name, it)| (name.as_str(), it)).collect();
        let wanted = names.clone();
        let agents = state.get("workload_states").and_then(Value::as_object);
        for (agent, workloads) in agents.into_iter().flatten() {
            for (name, instances) in workloads.as_object().into_iter().flatten() {
                for execution in instances.as_object().into_iter().flatten().map(|(_, it)| it) {
                    names.remove(name.as_str());
                    let text = |field: &str| {
                        execution.get(field).and_then(Value::as_str).unwrap_or_default()
                    };
                    let info = text("additional_info");
                    let runtime = wanted.get(name.as_str()).and_then(|it| it.get("runtime"));
                    rows.push(json!({
                        "vin": vin,
                        "workload": name,
                        "agent": agent,
                        "runtime": runtime,
                        "state": describe(text("state"), text("substate"), ""),
                        "info": info,
                    }));
                }
            }
        }
        for (name, workload) in names {
            rows.push(json!({
                "vin": vin,
                "workload": name,
                "agent": workload.get("agent"),
                "runtime": workload.get("runtime"),
                "state": "",
                "info": "",
            }));
        }
    }
    rows
}

fn configs(states: &BTreeMap<Vin, Value>) -> Vec<Value> {
    let mut rows = Vec::new();
    for (vin, state) in states {
        let configs = state.pointer("/desired_state/configs").and_then(Value::as_object);
        for (name, value) in configs.into_iter().flatten() {
            rows.push(json!({"vin": vin, "config": name, "value": value}));
        }
    }
    rows
}

/// The output forms that a kind without tables has.
fn without_table(output: Option<Output>) -> Output {
    match output {
        None | Some(Output::Wide) => Output::Yaml,
        Some(output) => output,
    }
}

fn print_states(states: &BTreeMap<Vin, Value>, form: Output) -> Result<(), Failure> {
    match form {
        Output::Json => output::json(states),
        // They were printed as they came.
        Output::Jsonl => Ok(()),
        Output::Name => states.keys().try_for_each(|vin| output::line(vin.as_str())),
        Output::Yaml | Output::Wide => output::yaml(states),
    }
}

/// Prints objects as a table, or in another form. The names of columns are those of fields.
pub(super) fn print_rows(
    rows: Vec<Value>,
    header: &[&'static str],
    form: Option<Output>,
) -> Result<(), Failure> {
    let cell = |row: &Value, column: &str| match row.get(column.to_lowercase()) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    match form {
        Some(Output::Json) => output::json(&rows),
        Some(Output::Yaml) => output::yaml(&rows),
        Some(Output::Jsonl) => rows.iter().try_for_each(output::json_line),
        Some(Output::Name) => rows.iter().try_for_each(|row| {
            let name = |index: usize| header.get(index).map(|column| cell(row, column));
            let [vin, item] = [name(0), name(1)].map(Option::unwrap_or_default);
            output::line(&format!("{vin}/{item}"))
        }),
        None | Some(Output::Wide) => {
            let mut table = Table::new(header);
            for row in &rows {
                table.row(header.iter().map(|column| cell(row, column)));
            }
            output::table(&table)
        }
    }
}

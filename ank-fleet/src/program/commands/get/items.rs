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
use crate::table::{Cells, Table};

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
    let mut printer = Printer::new(items, form);
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        let Some(payload) = missing.reply(vin, answer) else { return Ok(()) };
        match serde_json::from_slice::<Value>(&payload) {
            Ok(state) => printer.add(vin, state)?,
            Err(error) => missing.failed(vin, format!("its reply is not JSON: {error}")),
        }
        Ok(())
    });
    ask.await?;
    missing.offline(&offline);
    printer.finish()?;
    Ok(missing.report())
}

/// Prints what is asked for of each state, at once where the form allows it. Of the states of
/// thousands of vehicles, only what will be printed is kept.
struct Printer {
    items: Items,
    form: Option<Output>,
    /// What waits for the others: the widths of columns depend on all, and JSON is one value.
    waiting: Waiting,
}

enum Waiting {
    Nothing,
    /// The cells of a table.
    Cells(&'static [&'static str], BTreeMap<Vin, Vec<Cells>>),
    States(BTreeMap<Vin, Value>),
    Rows(BTreeMap<Vin, Vec<Value>>),
}

impl Printer {
    fn new(items: Items, form: Option<Output>) -> Self {
        let cells = |columns| Waiting::Cells(columns, BTreeMap::new());
        let waiting = match (items, form) {
            (Items::State, Some(Output::Json)) => Waiting::States(BTreeMap::new()),
            (_, Some(Output::Json)) => Waiting::Rows(BTreeMap::new()),
            (Items::Workloads, Some(Output::Wide)) => cells(&WIDE_WORKLOADS),
            (Items::Workloads, None) => cells(&WORKLOADS),
            (Items::Configs, None | Some(Output::Wide)) => cells(&CONFIGS),
            _ => Waiting::Nothing,
        };
        Self { items, form, waiting }
    }

    fn add(&mut self, vin: &Vin, state: Value) -> Result<(), Failure> {
        let rows = match self.items {
            Items::State => return self.add_state(vin, state),
            Items::Workloads => workloads(vin, &state),
            Items::Configs => configs(vin, &state),
        };
        let mut values = rows.into_iter().map(|row| row.value);
        match &mut self.waiting {
            Waiting::Cells(columns, all) => {
                let cells = |row| Cells::new(columns.iter().map(|column| cell(&row, column)));
                all.insert(vin.clone(), values.map(cells).collect());
                Ok(())
            }
            Waiting::Rows(all) => {
                all.insert(vin.clone(), values.collect());
                Ok(())
            }
            Waiting::Nothing | Waiting::States(_) => match self.form {
                Some(Output::Name) => values.try_for_each(|row| output::line(&name(&row))),
                // Items of lists, which are one list together.
                Some(Output::Yaml) => values.try_for_each(|row| output::yaml(&[row])),
                _ => values.try_for_each(|row| output::json_line(&row)),
            },
        }
    }

    fn add_state(&mut self, vin: &Vin, state: Value) -> Result<(), Failure> {
        match (&mut self.waiting, self.form) {
            (Waiting::States(all), _) => {
                all.insert(vin.clone(), state);
                Ok(())
            }
            (_, Some(Output::Jsonl)) => output::json_line(&json!({"vin": vin, "state": state})),
            (_, Some(Output::Name)) => output::line(vin.as_str()),
            // Entries of maps, which are one map together.
            _ => output::yaml(&BTreeMap::from([(vin, state)])),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self.waiting {
            Waiting::Nothing => Ok(()),
            Waiting::States(all) => output::json(&all),
            Waiting::Rows(all) => output::json(&all.into_values().flatten().collect::<Vec<_>>()),
            Waiting::Cells(columns, all) => {
                let mut table = Table::new(columns);
                all.into_values().flatten().for_each(|cells| table.push(cells));
                output::table(&table)
            }
        }
    }
}

const WORKLOADS: [&str; 6] = ["VIN", "WORKLOAD", "AGENT", "RUNTIME", "STATE", "INFO"];
const WIDE_WORKLOADS: [&str; 7] = ["VIN", "WORKLOAD", "AGENT", "RUNTIME", "STATE", "ID", "INFO"];
const CONFIGS: [&str; 3] = ["VIN", "CONFIG", "VALUE"];

/// An item of a state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ItemRow {
    /// Where it is in the state, as events name it.
    pub(super) field: String,
    /// What is printed.
    pub(super) value: Value,
}

/// The workloads of a vehicle, one row for each instance.
pub(super) fn workloads(vin: &Vin, state: &Value) -> Vec<ItemRow> {
    let mut rows = Vec::new();
    let wanted: BTreeMap<&String, &Value> =
        objects(state.pointer("/desired_state/workloads")).collect();
    let mut names = wanted.clone();
    for (agent, workloads) in objects(state.get("workload_states")) {
        for (name, instances) in objects(Some(workloads)) {
            for (id, execution) in objects(Some(instances)) {
                names.remove(name);
                let text =
                    |field: &str| execution.get(field).and_then(Value::as_str).unwrap_or_default();
                let (state, info) = (text("state"), text("additional_info"));
                // Events have only what has changed.
                let state = match state {
                    "" => String::new(),
                    state => describe(state, text("substate"), ""),
                };
                let agent_part = if agent.is_empty() { "" } else { "." };
                rows.push(ItemRow {
                    field: format!("workloadStates{agent_part}{agent}.{name}.{id}"),
                    value: json!({
                        "vin": vin,
                        "workload": name,
                        "agent": agent,
                        "runtime": wanted.get(name).and_then(|it| it.get("runtime")),
                        "state": state,
                        "id": id,
                        "info": info,
                    }),
                });
            }
        }
    }
    for (name, workload) in names {
        rows.push(ItemRow {
            field: format!("desiredState.workloads.{name}"),
            value: json!({
                "vin": vin,
                "workload": name,
                "agent": workload.get("agent"),
                "runtime": workload.get("runtime"),
                "state": "",
                "id": "",
                "info": "",
            }),
        });
    }
    rows
}

/// The configs of a vehicle.
pub(super) fn configs(vin: &Vin, state: &Value) -> Vec<ItemRow> {
    objects(state.pointer("/desired_state/configs"))
        .map(|(name, value)| ItemRow {
            field: format!("desiredState.configs.{name}"),
            value: json!({"vin": vin, "config": name, "value": value}),
        })
        .collect()
}

fn objects(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// A cell of a row. The names of columns are those of fields.
pub(super) fn cell(row: &Value, column: &str) -> String {
    match row.get(column.to_lowercase()) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The name of a row: its vehicle, and the workload, config or subscription.
pub(super) fn name(row: &Value) -> String {
    let cell = |column| cell(row, column);
    match (row.get("workload"), row.get("config")) {
        (Some(_), _) => format!("{}/{}", cell("vin"), cell("workload")),
        (None, Some(_)) => format!("{}/{}", cell("vin"), cell("config")),
        (None, None) => format!("{}/{}/{}", cell("vin"), cell("kind"), cell("id")),
    }
}

/// Prints objects as a table, or in another form.
pub(super) fn print_rows(
    rows: Vec<Value>,
    header: &[&'static str],
    form: Option<Output>,
) -> Result<(), Failure> {
    match form {
        Some(Output::Json) => output::json(&rows),
        Some(Output::Yaml) => output::yaml(&rows),
        Some(Output::Jsonl) => rows.iter().try_for_each(output::json_line),
        Some(Output::Name) => rows.iter().try_for_each(|row| output::line(&name(row))),
        None | Some(Output::Wide) => {
            let mut table = Table::new(header);
            for row in &rows {
                table.row(header.iter().map(|column| cell(row, column)));
            }
            output::table(&table)
        }
    }
}

//! `get events`, and `get workloads|configs|state -w`: follow what changes.

use fleet_contract::topics::StreamKind;
use mqtt_session::{Qos, Subscription};
use serde_json::{Value, json};

use super::super::super::arguments::{AskingArgs, Output};
use super::super::super::context::Context;
use super::super::super::failure::Failure;
use super::super::super::follow::{FollowedStream, Goes, follow};
use super::super::super::following::{LIFETIME, Why};
use super::super::super::output;
use super::super::super::session::subscription;
use super::items::{self, ItemRow, Items};
use super::printed::PrintedRows;
use crate::Vin;
use crate::rollout::ExitCode;
use crate::selection::Selection;

/// What is printed of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The events of the states of workloads.
    Events,
    /// What changes of the items.
    Items(Items),
}

impl Shown {
    /// The parts of the state that are followed.
    fn masks(self) -> Value {
        match self {
            Self::Events | Self::Items(Items::Workloads) => json!(["workloadStates"]),
            Self::Items(Items::Configs) => json!(["desiredState.configs"]),
            // Without the load of the agents, which changes all the time.
            Self::Items(Items::State) => json!(["desiredState", "workloadStates"]),
        }
    }

    fn rows(self, vin: &Vin, state: &Value) -> Vec<ItemRow> {
        match self {
            Self::Events | Self::Items(Items::Workloads) => items::workloads(vin, state),
            Self::Items(Items::Configs) => items::configs(vin, state),
            Self::Items(Items::State) => Vec::new(),
        }
    }
}

/// The subscription that it needs besides statuses and replies.
pub(super) fn filter(id: &str) -> Subscription {
    subscription(&format!("vehicle/+/events/{id}"), Qos::AtLeastOnce, false)
}

/// Prints the state, and what changes.
pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    selection: &Selection,
    shown: Shown,
    form: Option<Output>,
    asking: &AskingArgs,
) -> Result<ExitCode, Failure> {
    let ttl = humantime::format_duration(LIFETIME).to_string();
    let request = json!({"id": context.session.id(), "field_masks": shown.masks(), "ttl": ttl});
    let mut events = PrintedEvents {
        shown,
        form,
        request: request.to_string(),
        printed: PrintedRows::default(),
    };
    follow(context, &mut events, vins, Some(selection), asking).await
}

/// The events of all vehicles.
struct PrintedEvents {
    shown: Shown,
    form: Option<Output>,
    request: String,
    printed: PrintedRows,
}

impl FollowedStream for PrintedEvents {
    const KIND: StreamKind = StreamKind::Events;

    fn request(&self, _vin: &Vin, _why: Why) -> String {
        self.request.clone()
    }

    fn reply(&mut self, vin: &Vin, why: Why, payload: &[u8]) -> Result<(), Failure> {
        let Ok(reply) = serde_json::from_slice::<Value>(payload) else { return Ok(()) };
        // All of it was printed.
        if why == Why::Renewal && self.shown == Shown::Items(Items::State) {
            return Ok(());
        }
        self.print(vin, &reply, true)
    }

    fn message(&mut self, vin: &Vin, payload: &[u8]) -> Result<Goes, Failure> {
        if let Ok(event) = serde_json::from_slice::<Value>(payload) {
            let is_all = event.get("resynced").and_then(Value::as_bool) == Some(true);
            self.print(vin, &event, is_all)?;
        }
        Ok(Goes::On)
    }
}

impl PrintedEvents {
    /// Prints an event, or a reply. `is_all`: it has the whole state.
    fn print(&mut self, vin: &Vin, event: &Value, is_all: bool) -> Result<(), Failure> {
        let form = match self.form {
            None | Some(Output::Wide) => None,
            Some(form) => Some(form),
        };
        let state = event.get("complete_state").unwrap_or(event);
        let removed = event.get("removed_fields").and_then(Value::as_array);
        let removed = removed.into_iter().flatten().filter_map(Value::as_str);
        let removed: Vec<String> = removed.map(str::to_owned).collect();
        match (self.shown, form) {
            (Shown::Events, Some(form @ (Output::Json | Output::Jsonl | Output::Yaml))) => {
                return output::item(form, &json!({"vin": vin, "event": event}));
            }
            (Shown::Items(Items::State), Some(Output::Name)) => {
                return output::line(vin.as_str());
            }
            (Shown::Items(Items::State), form) => {
                let mut item = json!({"vin": vin, "state": state});
                if let Some(fields) = item.as_object_mut().filter(|_| !removed.is_empty()) {
                    fields.insert("removed_fields".to_owned(), json!(removed));
                }
                return output::item(form.unwrap_or(Output::Yaml), &item);
            }
            (Shown::Events | Shown::Items(Items::Workloads | Items::Configs), _) => {}
        }
        removed.iter().for_each(|field| self.printed.removed(vin, field));
        let (rows, gone) = self.printed.changed(vin, self.shown.rows(vin, state), is_all);
        rows.iter().try_for_each(|row| match form {
            Some(Output::Name) => output::line(&items::name(row)),
            Some(form) => output::item(form, row),
            None => output::line(&self.text(row)),
        })?;
        removed.iter().chain(&gone).try_for_each(|field| match form {
            Some(Output::Name) => Ok(()),
            Some(form) => output::item(form, &json!({"vin": vin, "removed": field})),
            None => output::line(&format!("{vin}   {field} removed")),
        })
    }

    /// A row as a line.
    fn text(&self, row: &Value) -> String {
        let columns = match self.shown {
            Shown::Items(Items::Configs) => &["vin", "config", "value"][..],
            _ => &["vin", "workload", "agent", "state", "info"],
        };
        let cells = columns.iter().map(|column| items::cell(row, column));
        let cells = cells.map(|cell| cell.lines().next().unwrap_or_default().to_owned());
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    }
}

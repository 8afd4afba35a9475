//! `get subscriptions`: the retained records of subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::super::super::arguments::Output;
use super::super::super::context::Context;
use super::super::super::failure::Failure;
use super::super::super::output;
use super::super::super::retained::Arrival;
use super::super::super::session::SessionEvent;
use super::items::{cell, name, print_rows};
use crate::Vin;
use crate::presence::vehicle_of;
use crate::rollout::ExitCode;
use crate::selection::Selection;

/// Maximum size of a record, in bytes. Connectors refuse requests for larger ones.
const MAX_RECORD: usize = 64 * 1024;

/// Maximum number of subscriptions of a vehicle that are shown. Connectors allow no more.
const MAX_OF_VEHICLE: usize = 256;

/// A subscription: its vehicle, kind and id.
type Key = (Vin, String, String);

const HEADER: [&str; 4] = ["VIN", "KIND", "ID", "EXPIRES"];

/// Shows subscriptions. With `watch`, also changes of all vehicles that it selects.
pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    form: Option<Output>,
    watch: Option<&Selection>,
) -> Result<ExitCode, Failure> {
    let mut rows = BTreeMap::new();
    let selected: BTreeSet<&Vin> = vins.iter().collect();
    for message in context.session.early.take() {
        add(&mut rows, |vin| selected.contains(vin), &message.topic, &message.payload);
    }
    let mut arrival = Arrival::new(Instant::now());
    loop {
        tokio::select! {
            event = context.session.next() => if let SessionEvent::Message(message) = event
                && add(&mut rows, |vin| selected.contains(vin), &message.topic, &message.payload)
                    != RecordChange::None
            {
                arrival.message(Instant::now());
            },
            () = sleep_until(arrival.until()) => break,
            () = context.interrupt.wait() => return Err(Failure::Interrupted),
        }
    }
    let shown: Vec<Value> = rows.values().cloned().collect();
    let Some(selection) = watch else {
        print_rows(shown, &HEADER, form)?;
        return Ok(ExitCode::Success);
    };
    shown.iter().try_for_each(|row| print_change(row, form))?;
    loop {
        let message = tokio::select! {
            event = context.session.next() => match event {
                SessionEvent::Message(message) => message,
                _ => continue,
            },
            () = context.interrupt.wait() => return Err(Failure::Interrupted),
        };
        let is_selected = |vin: &Vin| context.is_selected(selection, vin);
        match add(&mut rows, is_selected, &message.topic, &message.payload) {
            RecordChange::Changed(row) => print_change(&row, form)?,
            RecordChange::Ended(mut row) => {
                if let Some(fields) = row.as_object_mut() {
                    fields.retain(|name, _| ["vin", "kind", "id"].contains(&name.as_str()));
                    fields.insert("ended".to_owned(), json!(true));
                }
                print_change(&row, form)?;
            }
            RecordChange::Known | RecordChange::None => {}
        }
    }
}

/// Prints a subscription, or its end.
fn print_change(row: &Value, form: Option<Output>) -> Result<(), Failure> {
    match form {
        None | Some(Output::Wide) => {
            let cells = ["vin", "kind", "id", "expires"].map(|column| cell(row, column));
            let end = if row.get("ended").is_some() { "ended" } else { "" };
            let line = format!("{}{end}", cells.join("   "));
            output::line(line.trim_end())
        }
        Some(Output::Name) => output::line(&name(row)),
        Some(form) => output::item(form, row),
    }
}

/// What a message says of the subscriptions.
#[derive(Debug, PartialEq)]
enum RecordChange {
    /// It is no record.
    None,
    /// A record that is known, or of a vehicle that is not selected.
    Known,
    /// A subscription that is new or was renewed.
    Changed(Value),
    /// A subscription that has ended.
    Ended(Value),
}

/// Adds a record, or removes it if it is empty: the subscription has ended.
fn add(
    rows: &mut BTreeMap<Key, Value>,
    mut is_selected: impl FnMut(&Vin) -> bool,
    topic: &str,
    payload: &[u8],
) -> RecordChange {
    let Some((vin, path)) = vehicle_of(topic) else { return RecordChange::None };
    let parts: Vec<&str> = path.split('/').collect();
    let [kind @ ("events" | "logs"), id, "subscription"] = parts.as_slice() else {
        return RecordChange::None;
    };
    let key = (vin.clone(), (*kind).to_owned(), (*id).to_owned());
    if payload.is_empty() {
        return rows.remove(&key).map_or(RecordChange::Known, RecordChange::Ended);
    }
    let of_vehicle = rows.range((vin.clone(), String::new(), String::new())..);
    let count = of_vehicle.take_while(|((other, ..), _)| *other == vin).count();
    let is_too_many = count >= MAX_OF_VEHICLE && !rows.contains_key(&key);
    if payload.len() > MAX_RECORD || is_too_many || !is_selected(&vin) {
        return RecordChange::Known;
    }
    let Ok(record) = serde_json::from_slice::<Value>(payload) else { return RecordChange::Known };
    let expires = record.get("expires_at").or_else(|| record.get("expires")).cloned();
    let row = json!({"vin": vin, "kind": kind, "id": id, "expires": expires, "record": record});
    if rows.insert(key, row.clone()).as_ref() == Some(&row) {
        return RecordChange::Known;
    }
    RecordChange::Changed(row)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_a_vehicle_are_bounded() {
        let mut rows = BTreeMap::new();
        let mut add = |topic: String, payload: &[u8]| {
            add(&mut rows, |_| true, &topic, payload);
            rows.len()
        };
        let large = format!("{:?}", "x".repeat(MAX_RECORD));
        assert_eq!(add("vehicle/A1/events/x/subscription".to_owned(), large.as_bytes()), 0);
        for number in 0..2 * MAX_OF_VEHICLE {
            add(format!("vehicle/A1/events/{number}/subscription"), b"{}");
        }
        let records = add("vehicle/A1/events/1/subscription".to_owned(), b"{\"ttl\": 1}");
        assert_eq!(records, MAX_OF_VEHICLE);
        assert_eq!(add("vehicle/A2/events/1/subscription".to_owned(), b"{}"), MAX_OF_VEHICLE + 1);
    }

    #[test]
    fn a_subscription_that_ends_meanwhile_is_left_out() {
        let (mut rows, vins) = (BTreeMap::new(), ["A1".parse::<Vin>().unwrap()]);
        let mut add = |topic: &str, payload: &[u8]| {
            let record = match add(&mut rows, |vin| vins.contains(vin), topic, payload) {
                RecordChange::None => "none",
                RecordChange::Known => "known",
                RecordChange::Changed(_) => "changed",
                RecordChange::Ended(_) => "ended",
            };
            (record, rows.len())
        };
        let record = br#"{"expires_at": "2026-01-31T05:00:00Z"}"#;
        let renewed = br#"{"expires_at": "2026-01-31T06:00:00Z"}"#;
        assert_eq!(add("vehicle/A1/events/x/subscription", record), ("changed", 1));
        assert_eq!(add("vehicle/A1/events/x/subscription", record), ("known", 1));
        assert_eq!(add("vehicle/A1/events/x/subscription", renewed), ("changed", 1));
        assert_eq!(add("vehicle/A1/logs/x/subscription", record), ("changed", 2));
        assert_eq!(add("vehicle/A2/logs/x/subscription", record), ("known", 2));
        assert_eq!(add("vehicle/A1/logs/x", record), ("none", 2));
        assert_eq!(add("vehicle/A1/events/x/subscription", b""), ("ended", 1));
        assert_eq!(add("vehicle/A1/events/x/subscription", b""), ("known", 1));
    }
}

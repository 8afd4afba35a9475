//! `get subscriptions`: the retained records of subscriptions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::super::super::arguments::Output;
use super::super::super::context::Context;
use super::super::super::failure::Failure;
use super::super::super::session::SessionEvent;
use super::items::print_rows;
use crate::Vin;
use crate::presence::vehicle_of;
use crate::rollout::ExitCode;

/// After so long without another record, all of them have come.
const QUIET: Duration = Duration::from_millis(400);

const HEADER: [&str; 4] = ["VIN", "KIND", "ID", "EXPIRES"];

pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    form: Option<Output>,
) -> Result<ExitCode, Failure> {
    let mut rows = Vec::new();
    let records = std::mem::take(&mut context.session.early);
    let mut quiet_at = Instant::now() + QUIET;
    for message in records {
        add(&mut rows, vins, &message.topic, &message.payload);
    }
    loop {
        tokio::select! {
            event = context.session.next() => if let SessionEvent::Message(message) = event
                && add(&mut rows, vins, &message.topic, &message.payload)
            {
                quiet_at = Instant::now() + QUIET;
            },
            () = sleep_until(quiet_at) => break,
            () = context.interrupt.wait() => return Err(Failure::Interrupted),
        }
    }
    rows.sort_by_key(ToString::to_string);
    print_rows(rows, &HEADER, form)?;
    Ok(ExitCode::Success)
}

/// Adds a record. Returns whether the message is one.
fn add(rows: &mut Vec<Value>, vins: &[Vin], topic: &str, payload: &[u8]) -> bool {
    let Some((vin, path)) = vehicle_of(topic) else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    let [kind @ ("events" | "logs"), id, "subscription"] = parts.as_slice() else { return false };
    if vins.contains(&vin)
        && let Ok(record) = serde_json::from_slice::<Value>(payload)
    {
        let expires = record.get("expires_at").or_else(|| record.get("expires")).cloned();
        rows.push(
            json!({"vin": vin, "kind": kind, "id": id, "expires": expires, "record": record}),
        );
    }
    true
}

//! `get subscriptions`: the retained records of subscriptions.

use std::collections::BTreeMap;
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

/// A subscription: its vehicle, kind and id.
type Key = (Vin, String, String);

const HEADER: [&str; 4] = ["VIN", "KIND", "ID", "EXPIRES"];

pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    form: Option<Output>,
) -> Result<ExitCode, Failure> {
    let mut rows = BTreeMap::new();
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
    print_rows(rows.into_values().collect(), &HEADER, form)?;
    Ok(ExitCode::Success)
}

/// Adds a record, or removes it if it is empty: the subscription has ended. Returns whether the
/// message is one.
fn add(rows: &mut BTreeMap<Key, Value>, vins: &[Vin], topic: &str, payload: &[u8]) -> bool {
    let Some((vin, path)) = vehicle_of(topic) else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    let [kind @ ("events" | "logs"), id, "subscription"] = parts.as_slice() else { return false };
    let key = (vin.clone(), (*kind).to_owned(), (*id).to_owned());
    if payload.is_empty() {
        rows.remove(&key);
    } else if vins.contains(&vin)
        && let Ok(record) = serde_json::from_slice::<Value>(payload)
    {
        let expires = record.get("expires_at").or_else(|| record.get("expires")).cloned();
        let row = json!({"vin": vin, "kind": kind, "id": id, "expires": expires, "record": record});
        rows.insert(key, row);
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_ends_meanwhile_is_left_out() {
        let (mut rows, vins) = (BTreeMap::new(), ["A1".parse::<Vin>().unwrap()]);
        let mut add = |topic: &str, payload: &[u8]| {
            let is_record = add(&mut rows, &vins, topic, payload);
            (is_record, rows.len())
        };
        let record = br#"{"expires_at": "2026-01-31T05:00:00Z"}"#;
        assert_eq!(add("vehicle/A1/events/x/subscription", record), (true, 1));
        assert_eq!(add("vehicle/A1/logs/x/subscription", record), (true, 2));
        assert_eq!(add("vehicle/A2/logs/x/subscription", record), (true, 2));
        assert_eq!(add("vehicle/A1/logs/x", record), (false, 2));
        assert_eq!(add("vehicle/A1/events/x/subscription", b""), (true, 1));
    }
}

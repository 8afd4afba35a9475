//! The last log lines of workloads that have failed.

use std::collections::BTreeMap;

use fleet_contract::operation::Operation;
use serde_json::{Value, json};

use super::super::call::Call;
use crate::Vin;
use crate::rollout::{Event, READ_TIMEOUT};
use crate::text::{MAX_MESSAGE, shortened};

/// How many lines are kept of each workload.
const LINES: usize = 10;

/// Logs that are being read.
#[derive(Debug, Default)]
pub(super) struct Logs {
    lines: BTreeMap<Vin, Vec<String>>,
}

impl Logs {
    /// The request for the last lines of a workload. Their topic ends with `id`.
    pub(super) fn call(&mut self, vin: &Vin, workload: &str, id: &str) -> Call {
        self.lines.insert(vin.clone(), Vec::new());
        let payload = json!({"id": id, "workloads": [workload], "tail": LINES, "ttl": "1m"});
        Call::new(vin, Operation::LogsSubscribe, payload.to_string(), READ_TIMEOUT)
    }

    /// Handles a message on the topic of the logs of a vehicle. Returns the lines at their end.
    pub(super) fn message(&mut self, vin: &Vin, payload: &[u8]) -> Option<Event> {
        let lines = self.lines.get_mut(vin)?;
        let message: Value = serde_json::from_slice(payload).ok()?;
        let entries = message.get("entries").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let text = entry.get("message").and_then(Value::as_str).unwrap_or_default();
            lines.push(shortened(text, MAX_MESSAGE).into_owned());
            if lines.len() > LINES {
                lines.remove(0);
            }
        }
        message.get("ended")?;
        let lines = self.lines.remove(vin)?;
        Some(Event::Log { vin: vin.clone(), lines })
    }

    /// The log of a vehicle cannot be read.
    pub(super) fn failed(&mut self, vin: &Vin) {
        self.lines.remove(vin);
    }

    /// Whether logs are being read.
    pub(super) fn is_reading(&self) -> bool {
        !self.lines.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_until_the_end() {
        let (mut logs, vin) = (Logs::default(), "A1".parse::<Vin>().unwrap());
        assert_eq!(logs.message(&vin, br#"{"ended": true}"#), None);
        logs.call(&vin, "nginx", "x");
        let entries: Vec<Value> =
            (0..15).map(|n| json!({"message": format!("{n} {}", "x".repeat(1000))})).collect();
        let message = json!({"entries": entries}).to_string();
        assert_eq!(logs.message(&vin, message.as_bytes()), None);
        assert!(logs.is_reading());
        let Some(Event::Log { lines, .. }) = logs.message(&vin, br#"{"ended": true}"#) else {
            unreachable!("it has ended");
        };
        assert_eq!((lines.len(), lines.first().unwrap().get(..3)), (10, Some("5 x")));
        assert!(lines.iter().all(|line| line.len() < 600));
        assert!(!logs.is_reading());
    }
}

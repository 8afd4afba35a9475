//! `logs`: the logs of workloads of several vehicles.

use std::collections::BTreeSet;

use fleet_contract::topics::StreamKind;
use mqtt_session::Qos;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::arguments::{ConnectionArgs, LogsArgs};
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::follow::{FollowedStream, Goes, follow};
use super::super::following::{LIFETIME, Why};
use super::super::interrupt::Interrupt;
use super::super::session::subscription;
use super::super::{output, progress};
use crate::Vin;
use crate::report::thousands;
use crate::rollout::ExitCode;

/// Runs the command.
///
/// # Errors
/// There is no connection, or the selection is empty.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: LogsArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let selection = args.selection.clone().read(interrupt).await?;
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::MissingOption));
    }
    let filter =
        |id: &str| vec![subscription(&format!("vehicle/+/logs/{id}"), Qos::AtLeastOnce, false)];
    let mut context = Context::open(connection, interrupt, filter).await?;
    let vins = context.select(&selection)?;
    let id = context.session.id().to_owned();
    let (online, offline) = context.online(&vins);
    let total = online.len();
    let (mut vins, left_out) = chosen(online, &id, args.sample, args.max_vehicles);
    if let Some(left_out) = left_out {
        progress::note(&format!("of {} vehicles, {left_out}", thousands(total)));
    }
    vins.extend(offline);
    let mut logs = PrintedLogs { id, args: &args, printed: BTreeSet::new() };
    let result = follow(&mut context, &mut logs, &vins, None, &args.asking).await;
    context.close().await;
    result
}

/// The vehicles whose logs are shown, and what is said of those that are left out.
fn chosen(
    mut vins: Vec<Vin>,
    seed: &str,
    sample: Option<usize>,
    max: usize,
) -> (Vec<Vin>, Option<String>) {
    let shown = sample.unwrap_or(max).min(max);
    let left_out = vins.len().saturating_sub(shown);
    if sample.is_some() {
        vins.sort_by_cached_key(|vin| {
            <[u8; 32]>::from(Sha256::new().chain_update(seed).chain_update(vin.as_str()).finalize())
        });
    }
    vins.truncate(shown);
    vins.sort();
    let limit = match sample {
        Some(sample) if sample <= max => format!("--sample {sample}"),
        _ => format!("--max-vehicles {max}"),
    };
    let note = || format!("{} left out by {limit}", thousands(left_out));
    (vins, (left_out > 0).then(note))
}

/// The logs of all vehicles.
struct PrintedLogs<'a> {
    id: String,
    args: &'a LogsArgs,
    /// Vehicles of which lines were printed.
    printed: BTreeSet<Vin>,
}

impl FollowedStream for PrintedLogs<'_> {
    const KIND: StreamKind = StreamKind::Logs;

    /// No line is printed twice: once there were lines, only later ones are requested.
    fn request(&self, vin: &Vin, why: Why) -> String {
        let Self { id, args: LogsArgs { workloads, follow, until, .. }, .. } = self;
        let ttl = humantime::format_duration(LIFETIME).to_string();
        let mut request = json!({"id": id, "workloads": workloads, "follow": follow, "ttl": ttl});
        let (lines, since) = if why == Why::Renewal || self.printed.contains(vin) {
            (Some(0), None)
        } else {
            (self.args.lines, self.args.since.clone())
        };
        let optional = [
            ("tail", lines.map(Value::from)),
            ("since", since.map(Value::from)),
            ("until", until.clone().map(Value::from)),
        ];
        if let Some(fields) = request.as_object_mut() {
            let given = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
            fields.extend(given.map(|(name, value)| (name.to_owned(), value)));
        }
        request.to_string()
    }

    fn reply(&mut self, vin: &Vin, why: Why, _payload: &[u8]) -> Result<(), Failure> {
        if why == Why::Lost && self.printed.contains(vin) {
            progress::note(&format!("{vin}: subscribed again; lines may be missing"));
        }
        Ok(())
    }

    fn message(&mut self, vin: &Vin, payload: &[u8]) -> Result<Goes, Failure> {
        let Ok(message) = serde_json::from_slice::<Value>(payload) else { return Ok(Goes::On) };
        let entries = message.get("entries").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
            let prefix = format!("{vin} {}", text("workload_name"));
            output::prefixed_line(&prefix, text("message"))?;
            self.printed.insert(vin.clone());
        }
        if let Some(dropped) = message.get("dropped").and_then(Value::as_u64) {
            progress::note(&format!("{vin}: {dropped} lines are missing: the uplink is too slow"));
        }
        Ok(if message.get("ended").is_some() { Goes::ToAnEnd } else { Goes::On })
    }

    fn connected(&self) {
        progress::note("connected again; lines may be missing");
    }

    fn is_finite(&self) -> bool {
        !self.args.follow
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::super::arguments::{Command, CommandLine};
    use super::*;

    fn vins(count: usize) -> Vec<Vin> {
        (0..count).map(|number| format!("A{number:03}").parse().unwrap()).collect()
    }

    #[test]
    fn a_cap_leaves_vehicles_out_and_a_sample_is_random() {
        assert_eq!(chosen(vins(10), "x", None, 50), (vins(10), None));
        for (sample, max, shown, note) in [
            (None, 50, 50, Some("10 left out by --max-vehicles 50")),
            (Some(5), 50, 5, Some("55 left out by --sample 5")),
            // A sample does not lift the cap.
            (Some(55), 50, 50, Some("10 left out by --max-vehicles 50")),
            (Some(55), 100, 55, Some("5 left out by --sample 55")),
            (Some(80), 100, 60, None),
        ] {
            let (chosen, left_out) = chosen(vins(60), "x", sample, max);
            assert_eq!((chosen.len(), left_out.as_deref()), (shown, note));
        }
        let (one, _) = chosen(vins(60), "x", Some(5), 50);
        let (other, _) = chosen(vins(60), "y", Some(5), 50);
        assert_eq!((one.len(), other.len()), (5, 5));
        assert_ne!(one, other);
    }

    #[test]
    fn only_the_first_request_asks_for_lines_that_were_written() {
        let args = ["ank-fleet", "logs", "nginx", "--all", "-f", "-n", "20", "--since"];
        let args = args.into_iter().chain(["2026-01-31T05:00:00Z"]).map(Into::into);
        let command = CommandLine::read(&args.collect::<Vec<_>>()).unwrap().command;
        let Command::Logs(args) = command else { unreachable!("it is logs") };
        let (mut logs, vins) =
            (PrintedLogs { id: "s".to_owned(), args: &args, printed: BTreeSet::new() }, vins(2));
        let asked = |logs: &PrintedLogs<'_>, vin: &Vin, why| {
            let request: Value = serde_json::from_str(&logs.request(vin, why)).unwrap();
            assert_eq!((&request["id"], &request["ttl"]), (&json!("s"), &json!("1h")));
            (request["tail"].as_u64(), request["since"].is_string())
        };
        logs.printed.insert(vins[1].clone());
        for (why, without_lines, with_lines) in [
            (Why::First, (Some(20), true), (Some(0), false)),
            (Why::Renewal, (Some(0), false), (Some(0), false)),
            (Why::Reconnected, (Some(20), true), (Some(0), false)),
            (Why::Lost, (Some(20), true), (Some(0), false)),
        ] {
            assert_eq!(asked(&logs, &vins[0], why), without_lines, "{why:?}");
            assert_eq!(asked(&logs, &vins[1], why), with_lines, "{why:?}");
        }
    }
}

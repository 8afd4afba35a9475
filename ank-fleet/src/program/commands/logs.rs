//! `logs`: the logs of workloads of several vehicles.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};

use fleet_contract::operation::Operation;
use mqtt_session::Qos;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::answers::Missing;
use super::super::arguments::{ConnectionArgs, LogsArgs};
use super::super::call::Call;
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::session::{SessionEvent, subscription};
use super::super::{output, progress};
use crate::Vin;
use crate::presence::vehicle_of;
use crate::report::thousands;
use crate::rollout::ExitCode;

/// The lifetime of the subscriptions, in case the command cannot end them.
const LIFETIME: &str = "1h";

/// The colours of the prefixes of lines.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Runs the command.
///
/// # Errors
/// There is no connection, or the selection is empty.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: LogsArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let selection = args.selection.clone().read()?;
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::Missing));
    }
    let filter =
        |id: &str| vec![subscription(&format!("vehicle/+/logs/{id}"), Qos::AtLeastOnce, false)];
    let mut context = Context::open(connection, interrupt, filter).await?;
    let vins = context.select(&selection)?;
    let (online, offline) = context.online(&vins);
    let id = context.session.id().to_owned();
    let (vins, left_out) = chosen(online, &id, args.sample, args.max_vehicles);
    if left_out > 0 {
        progress::note(&format!(
            "{} vehicles are left out; --max-vehicles or --sample say how many are shown",
            thousands(left_out)
        ));
    }
    let mut request = json!({
        "id": id, "workloads": args.workloads, "follow": args.follow, "ttl": LIFETIME,
    });
    for (name, value) in [
        ("tail", args.lines.map(Value::from)),
        ("since", args.since.clone().map(Value::from)),
        ("until", args.until.clone().map(Value::from)),
    ] {
        if let (Some(value), Some(fields)) = (value, request.as_object_mut()) {
            fields.insert(name.to_owned(), value);
        }
    }
    let mut missing = Missing::default();
    let mut open: BTreeSet<Vin> = BTreeSet::new();
    let followed = follow(&mut context, &vins, &request, &mut missing, &mut open, &args);
    let result = followed.await;
    let end = json!({"id": id}).to_string();
    for vin in &open {
        let unsubscribe = Operation::LogsUnsubscribe;
        context.session.call(Call::new(vin, unsubscribe, end.clone(), args.asking.timeout));
    }
    context.close().await;
    missing.offline(&offline);
    let code = missing.report();
    result.map(|()| code)
}

/// The vehicles whose logs are shown, and how many are left out.
fn chosen(mut vins: Vec<Vin>, seed: &str, sample: Option<usize>, max: usize) -> (Vec<Vin>, usize) {
    let count = vins.len();
    if let Some(sample) = sample {
        vins.sort_by_cached_key(|vin| {
            <[u8; 32]>::from(Sha256::new().chain_update(seed).chain_update(vin.as_str()).finalize())
        });
        vins.truncate(sample);
        vins.sort();
        return (vins, 0);
    }
    vins.truncate(max);
    let left_out = count - vins.len();
    (vins, left_out)
}

/// Prints lines until all logs have ended. `open` are the vehicles whose subscriptions have not.
async fn follow(
    context: &mut Context,
    vins: &[Vin],
    request: &Value,
    missing: &mut Missing,
    open: &mut BTreeSet<Vin>,
    args: &LogsArgs,
) -> Result<(), Failure> {
    let mut asked = std::collections::BTreeMap::new();
    let call = |vin: &Vin| {
        Call::new(vin, Operation::LogsSubscribe, request.to_string(), args.asking.timeout)
    };
    for vin in vins {
        asked.insert(context.session.call(call(vin)), vin.clone());
        open.insert(vin.clone());
    }
    while !open.is_empty() {
        tokio::select! {
            event = context.session.next() => match event {
                SessionEvent::Answered(token, answer) => {
                    if let Some(vin) = asked.remove(&token)
                        && missing.reply(&vin, answer).is_none()
                    {
                        open.remove(&vin);
                    }
                }
                SessionEvent::Message(message) => {
                    let Some((vin, path)) = vehicle_of(&message.topic) else { continue };
                    if !path.starts_with("logs/") {
                        continue;
                    }
                    if print(&vin, &message.payload)? {
                        open.remove(&vin);
                    }
                }
                // Lines may have been missed.
                SessionEvent::Connected => {
                    progress::note("connected again; lines may be missing");
                    for vin in open.iter() {
                        asked.insert(context.session.call(call(vin)), vin.clone());
                    }
                }
                _ => {}
            },
            () = context.interrupt.wait() => return Err(Failure::Interrupted),
        }
    }
    Ok(())
}

/// Prints the lines of a message. Returns whether the log has ended.
fn print(vin: &Vin, payload: &[u8]) -> Result<bool, Failure> {
    let Ok(message) = serde_json::from_slice::<Value>(payload) else { return Ok(false) };
    let entries = message.get("entries").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let prefix = coloured(&format!("{vin} {}", text("workload_name")));
        output::line(&format!("{prefix} | {}", without_control(text("message"))))?;
    }
    if let Some(dropped) = message.get("dropped").and_then(Value::as_u64) {
        progress::note(&format!("{vin}: {dropped} lines are missing: the uplink is too slow"));
    }
    Ok(message.get("ended").is_some())
}

/// A prefix, in a colour of its own on a terminal.
fn coloured(prefix: &str) -> String {
    if !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return prefix.to_owned();
    }
    let sum: usize = prefix.bytes().map(usize::from).sum();
    let colour = COLOURS.get(sum % COLOURS.len()).copied().unwrap_or_default();
    format!("\u{1b}[{colour}m{prefix}\u{1b}[0m")
}

/// What workloads print must not control the terminal.
fn without_control(line: &str) -> String {
    line.chars().map(|one| if one.is_control() && one != '\t' { ' ' } else { one }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn vins(count: usize) -> Vec<Vin> {
        (0..count).map(|number| format!("A{number:03}").parse().unwrap()).collect()
    }

    #[test]
    fn a_cap_leaves_vehicles_out_and_a_sample_is_random() {
        assert_eq!(chosen(vins(60), "x", None, 50).1, 10);
        assert_eq!(chosen(vins(10), "x", None, 50), (vins(10), 0));
        let (one, _) = chosen(vins(60), "x", Some(5), 50);
        let (other, _) = chosen(vins(60), "y", Some(5), 50);
        assert_eq!((one.len(), other.len()), (5, 5));
        assert_ne!(one, other);
    }

    #[test]
    fn lines_cannot_control_the_terminal() {
        assert_eq!(without_control("a\u{1b}[31mb\tc\r"), "a [31mb\tc ");
    }
}

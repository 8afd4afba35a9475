//! `get events` and `get workloads -w`: follow what changes.

use std::collections::{BTreeMap, BTreeSet};

use fleet_contract::operation::Operation;
use serde_json::{Value, json};

use super::super::super::answers::Missing;
use super::super::super::arguments::{AskingArgs, Output};
use super::super::super::call::{Answer, Call};
use super::super::super::context::Context;
use super::super::super::failure::Failure;
use super::super::super::output;
use super::super::super::session::SessionEvent;
use super::items;
use crate::Vin;
use crate::presence::vehicle_of;
use crate::rollout::ExitCode;
use crate::selection::Selection;

/// The lifetime of the subscriptions, in case the command cannot end them.
const LIFETIME: &str = "1h";

/// Follows all changes of the states of workloads; a line for each.
pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    selection: &Selection,
    form: Option<Output>,
    asking: &AskingArgs,
) -> Result<ExitCode, Failure> {
    follow(context, vins, selection, asking, |vin, event| match form {
        Some(Output::Jsonl | Output::Json) => {
            output::json_line(&json!({"vin": vin, "event": event}))
        }
        _ => print_changes(vin, event),
    })
    .await
}

/// Prints the workloads, and those that change.
pub(super) async fn workloads(
    context: &mut Context,
    vins: &[Vin],
    selection: &Selection,
    form: Option<Output>,
    asking: &AskingArgs,
) -> Result<ExitCode, Failure> {
    follow(context, vins, selection, asking, |vin, event| match form {
        Some(Output::Jsonl | Output::Json) => {
            let states = BTreeMap::from([(vin.clone(), state_of(event).clone())]);
            items::workloads(&states).iter().try_for_each(output::json_line)
        }
        _ => print_changes(vin, event),
    })
    .await
}

/// Subscribes, and hands over the state at first and each event. Vehicles that come online later are
/// added.
async fn follow(
    context: &mut Context,
    vins: &[Vin],
    selection: &Selection,
    asking: &AskingArgs,
    mut on_event: impl FnMut(&Vin, &Value) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let (online, offline) = context.online(vins);
    let id = context.session.id().to_owned();
    let request = json!({"id": id, "field_masks": ["workloadStates"], "ttl": LIFETIME}).to_string();
    let calls: Vec<Call> = online
        .iter()
        .map(|vin| Call::new(vin, Operation::EventsSubscribe, request.clone(), asking.timeout))
        .collect();
    let mut missing = Missing::default();
    let mut followed = BTreeSet::new();
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        if let Some(payload) = missing.reply(vin, answer)
            && let Ok(state) = serde_json::from_slice::<Value>(&payload)
        {
            followed.insert(vin.clone());
            on_event(vin, &state)?;
        }
        Ok(())
    });
    ask.await?;
    missing.offline(&offline);
    missing.report();
    if followed.is_empty() && !online.is_empty() {
        return Ok(ExitCode::Left);
    }
    // Vehicles to subscribe to, and the requests for that.
    let mut waiting: BTreeSet<Vin> = BTreeSet::new();
    let mut asked: BTreeMap<u64, Vin> = BTreeMap::new();
    let result = loop {
        while asked.len() < asking.parallel()
            && let Some(vin) = waiting.pop_first()
        {
            let (subscribe, request) = (Operation::EventsSubscribe, request.clone());
            asked.insert(
                context.session.call(Call::new(&vin, subscribe, request, asking.timeout)),
                vin,
            );
        }
        let (vin, event) = tokio::select! {
            event = context.session.next() => match event {
                SessionEvent::Message(message) => match vehicle_of(&message.topic) {
                    Some((vin, path)) if path.strip_prefix("events/") == Some(&id) => {
                        (vin, message.payload)
                    }
                    _ => continue,
                },
                SessionEvent::Answered(token, answer) => match (asked.remove(&token), answer) {
                    (Some(vin), Answer::Reply(state)) => {
                        followed.insert(vin.clone());
                        (vin, state)
                    }
                    _ => continue,
                },
                // Events may have been missed: subscribing again gives the state.
                SessionEvent::Connected => {
                    waiting.extend(followed.iter().cloned());
                    continue;
                }
                // A connector that starts again resumes the subscription by itself.
                SessionEvent::Presence(vin, true) => {
                    if !followed.contains(&vin) && context.is_selected(selection, &vin) {
                        waiting.insert(vin);
                    }
                    continue;
                }
                _ => continue,
            },
            () = context.interrupt.wait() => break Failure::Interrupted,
        };
        if let Ok(event) = serde_json::from_slice(&event)
            && let Err(failure) = on_event(&vin, &event)
        {
            break failure;
        }
    };
    let end = json!({"id": id}).to_string();
    for vin in &followed {
        context.session.call(Call::new(
            vin,
            Operation::EventsUnsubscribe,
            end.clone(),
            asking.timeout,
        ));
    }
    Err(result)
}

fn state_of(event: &Value) -> &Value {
    event.get("complete_state").unwrap_or(event)
}

fn print_changes(vin: &Vin, event: &Value) -> Result<(), Failure> {
    let states = BTreeMap::from([(vin.clone(), state_of(event).clone())]);
    for row in items::workloads(&states) {
        let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
        let info = text("info").lines().next().unwrap_or_default();
        let line = format!(
            "{vin}   {}   {}   {}   {info}",
            text("workload"),
            text("agent"),
            text("state")
        );
        output::line(line.trim_end())?;
    }
    let removed = event.get("removed_fields").and_then(Value::as_array);
    for field in removed.into_iter().flatten().filter_map(Value::as_str) {
        output::line(&format!("{vin}   {field} removed"))?;
    }
    Ok(())
}

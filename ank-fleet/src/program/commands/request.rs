//! `request`: any operation of the contract, raw.

use bytes::Bytes;
use fleet_contract::operation::Operation;
use serde_json::{Value, json};

use super::super::answers::Missing;
use super::super::arguments::{ConnectionArgs, Output, RequestArgs};
use super::super::call::{Answer, Call};
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::input::read_text;
use super::super::interrupt::Interrupt;
use super::super::output;
use crate::rollout::ExitCode;
use crate::text::escaped_json;

/// Runs the command.
///
/// # Errors
/// There is no connection, or the selection is empty.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: RequestArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let RequestArgs { operation, payload, selection, output: form, property, asking } = args;
    let operation = find(&operation)?;
    let payload: Bytes = match payload.strip_prefix('@') {
        Some(path) => read_text(path, interrupt).await?.into(),
        None => payload.into(),
    };
    let selection = selection.read(interrupt).await?;
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::MissingOption));
    }
    let mut context = Context::open(connection, interrupt, |_| Vec::new()).await?;
    let vins = context.select(&selection)?;
    let (online, offline) = context.online(&vins);
    let calls: Vec<Call> = online
        .iter()
        .map(|vin| Call {
            user_properties: property.clone(),
            ..Call::new(vin, operation, payload.clone(), asking.timeout)
        })
        .collect();
    let mut missing = Missing::default();
    let is_alone = vins.len() == 1;
    let mut list = output::JsonList::default();
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        let error = match &answer {
            Answer::Error(error) => Some(error.clone()),
            _ => None,
        };
        let reply = missing.reply(vin, answer);
        let reply = reply.map(|payload| parse(&payload));
        match (form, reply, error) {
            (Some(Output::Json), Some(reply), _) => list.item(&json!({"vin": vin, "reply": reply})),
            (Some(Output::Json), None, Some(error)) => {
                list.item(&json!({"vin": vin, "error": error}))
            }
            (Some(Output::Jsonl), Some(reply), _) => {
                output::json_line(&json!({"vin": vin, "reply": reply}))
            }
            (Some(Output::Jsonl), None, Some(error)) => {
                output::json_line(&json!({"vin": vin, "error": error}))
            }
            (Some(Output::Name), Some(_), _) => output::line(vin.as_str()),
            (Some(Output::Yaml), Some(reply), _) => output::yaml(&json!({vin.as_str(): reply})),
            (_, Some(reply), _) if is_alone => output::json(&reply),
            (_, Some(reply), _) => {
                output::line(&format!("{vin}   {}", escaped_json(&reply.to_string())))
            }
            (_, None, _) => Ok(()),
        }
    });
    ask.await?;
    if form == Some(Output::Json) {
        list.end()?;
    }
    missing.offline(&offline);
    context.close().await;
    Ok(missing.report())
}

/// The operation with this name.
fn find(name: &str) -> Result<Operation, Failure> {
    let found = Operation::ALL.into_iter().find(|operation| operation.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        let meant = ankaios_model::hints::nearest(name, names.iter().copied());
        let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        Failure::usage(format!(
            "{name:?} is not an operation{meant} Operations: {}",
            names.join(", ")
        ))
    })
}

fn parse(payload: &[u8]) -> Value {
    serde_json::from_slice(payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(payload).into_owned()))
}

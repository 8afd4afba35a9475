//! `history`: the revisions of vehicles.

use fleet_contract::operation::Operation;
use fleet_contract::revision::{HistoryReply, RevisionSummary};
use serde_json::json;

use super::super::answers::Missing;
use super::super::arguments::{ConnectionArgs, Output, VinsArgs};
use super::super::call::Call;
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::output;
use crate::rollout::ExitCode;
use crate::table::Table;

/// Runs the command.
///
/// # Errors
/// There is no connection, or the selection is empty.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: VinsArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let VinsArgs { vins, selection, output: form, asking } = args;
    let selection = selection.with_vins(vins).read(interrupt).await?;
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::Missing));
    }
    let mut context = Context::open(connection, interrupt, |_| Vec::new()).await?;
    let vins = context.select(&selection)?;
    let (online, offline) = context.online(&vins);
    let calls: Vec<Call> = online
        .iter()
        .map(|vin| Call::new(vin, Operation::ManifestHistory, "", asking.timeout))
        .collect();
    let mut missing = Missing::default();
    let mut found = Vec::new();
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        if let Some(payload) = missing.reply(vin, answer) {
            match serde_json::from_slice::<HistoryReply>(&payload) {
                Ok(history) => found.push((vin.clone(), history)),
                Err(error) => missing.failed(vin, format!("its reply cannot be read: {error}")),
            }
        }
        Ok(())
    });
    ask.await?;
    context.close().await;
    missing.offline(&offline);
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    match form {
        Some(Output::Json) => {
            let all: serde_json::Map<_, _> =
                found.iter().map(|(vin, history)| (vin.to_string(), json!(history))).collect();
            output::json(&all)?;
        }
        Some(Output::Yaml) => {
            let all: std::collections::BTreeMap<_, _> =
                found.iter().map(|(vin, history)| (vin.as_str(), history)).collect();
            output::yaml(&all)?;
        }
        Some(Output::Jsonl) => {
            for (vin, history) in &found {
                output::json_line(&json!({"vin": vin, "history": history}))?;
            }
        }
        Some(Output::Name) => {
            for (vin, history) in &found {
                output::line(&format!("{vin}/{}", history.current))?;
            }
        }
        None | Some(Output::Wide) => {
            let mut table = Table::new(&[
                "VIN",
                "REVISION",
                "STATUS",
                "RELEASE",
                "AT",
                "OPERATION",
                "REQUEST ID",
                "CHANGED",
            ]);
            for (vin, history) in &found {
                for revision in &history.revisions {
                    let current =
                        if revision.revision == history.current { " (current)" } else { "" };
                    table.row([
                        vin.to_string(),
                        format!("{}{current}", revision.revision),
                        revision.status.name().to_owned(),
                        revision.release.clone().unwrap_or_default(),
                        revision.at.clone(),
                        revision.operation.clone(),
                        revision.request_id.clone(),
                        changed(revision),
                    ]);
                }
            }
            output::table(&table)?;
        }
    }
    Ok(missing.report())
}

/// The items that a revision has changed: `nginx,config:c,-old`.
fn changed(revision: &RevisionSummary) -> String {
    let changed = &revision.changed;
    let configs = changed.configs.iter().map(|name| format!("config:{name}"));
    let deleted = changed.deleted.iter().map(|name| format!("-{name}"));
    changed.workloads.iter().cloned().chain(configs).chain(deleted).collect::<Vec<_>>().join(",")
}

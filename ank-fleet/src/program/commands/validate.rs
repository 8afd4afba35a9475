//! `validate`: checks manifests here, and by the vehicles.

use std::path::Path;

use ankaios_model::manifest::Manifest;
use bytes::Bytes;
use fleet_contract::operation::Operation;
use fleet_contract::replies::ValidateReply;

use super::super::answers::Missing;
use super::super::arguments::{ConnectionArgs, FilesArgs, split};
use super::super::call::Call;
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::{output, payload, progress};
use crate::report::thousands;
use crate::rollout::{Change, ExitCode};

/// Runs the command.
///
/// # Errors
/// The manifest is wrong, or there is no connection.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: FilesArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let FilesArgs { files, selection, asking } = args;
    let (files, vins) = split(files, |name| Path::new(name).exists());
    let selection = selection.with_vins(vins).read(interrupt).await?;
    let payload = payload::read(&files, Change::Apply, interrupt).await?;
    let manifest = Manifest::parse(&payload.manifest).map_err(Failure::usage)?;
    for warning in manifest.warnings(&payload.manifest) {
        let (message, at) = (&warning.message, warning.position);
        progress::note(&format!("warning: {message} (line {}, column {})", at.line, at.column));
    }
    let names = |count: usize, noun: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{} {noun}{plural}", thousands(count))
    };
    let workloads = names(manifest.workload_names().count(), "workload");
    let configs = names(manifest.config_names().count(), "config");
    output::line(&format!("valid: {workloads}, {configs}"))?;
    if selection.is_missing() {
        return Ok(ExitCode::Success);
    }
    let mut context = Context::open(connection, interrupt, |_| Vec::new()).await?;
    let vins = context.select(&selection)?;
    let (online, offline) = context.online(&vins);
    // Shared by all requests.
    let text = Bytes::from(payload.text);
    let calls: Vec<Call> = online
        .iter()
        .map(|vin| Call::new(vin, Operation::ManifestValidate, text.clone(), asking.timeout))
        .collect();
    let mut missing = Missing::default();
    let mut accepted = 0;
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        if let Some(payload) = missing.reply(vin, answer) {
            match serde_json::from_slice::<ValidateReply>(&payload) {
                Ok(reply) if reply.valid => accepted += 1,
                Ok(_) => missing.failed(vin, "not valid".to_owned()),
                Err(error) => missing.failed(vin, format!("its reply cannot be read: {error}")),
            }
        }
        Ok(())
    });
    ask.await?;
    missing.offline(&offline);
    let (accepted, all) = (thousands(accepted), thousands(vins.len()));
    output::line(&format!("accepted by {accepted} of {all} vehicles"))?;
    context.close().await;
    Ok(missing.report())
}

//! `manifest/validate`: checks a manifest as `manifest/apply` does and sends nothing to Ankaios.

use ankaios_model::manifest::{LineColumn, Manifest, Warning};
use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::replies::{ManifestWarning, ValidateReply};

use super::call::{OperationCall, PendingOutcome, ready, run_blocking, to_json};
use super::context::OperationContext;
use super::manifest;
use crate::guard::{Guard, RequiredState};
use crate::revisions::check_masks;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    context.origin(&call)?;
    let manifest = manifest::parse(call.payload.clone()).await?;
    let reply = ValidateReply {
        valid: true,
        workloads: manifest.workload_names().map(str::to_owned).collect(),
        configs: manifest.config_names().map(str::to_owned).collect(),
        update_mask: manifest.update_mask(),
        warnings: Vec::new(),
    };
    // The warnings come first: a copy of the manifest for them would take memory. If the guard
    // refuses the manifest, they are not sent.
    let (manifest, warnings) = warnings(manifest, call.payload).await?;
    check(&context.guard, call.force, manifest).await?;
    Ok(ready(to_json(&ValidateReply { warnings, ..reply })))
}

/// What Ankaios accepts in the manifest, but probably does not do what is meant.
async fn warnings(
    manifest: Manifest,
    payload: Bytes,
) -> Result<(Manifest, Vec<ManifestWarning>), ErrorReply> {
    let find = move || {
        let warnings = manifest.warnings(&payload);
        (manifest, warnings)
    };
    let (manifest, warnings) = run_blocking(find).await?;
    let write = |Warning { message, position: LineColumn { line, column } }| ManifestWarning {
        message,
        line,
        column,
    };
    Ok((manifest, warnings.into_iter().map(write).collect()))
}

/// Checks the update as `manifest/apply` does, in the same order. The state of the vehicle is not
/// read for it; the last known state is used.
async fn check(guard: &Guard, force: bool, manifest: Manifest) -> Result<(), ErrorReply> {
    let update = manifest.into_apply_request();
    check_masks(&update)?;
    let state = match (guard.required_state(&update, force)?, guard.last_known_state()) {
        (RequiredState::Nothing, _) => None,
        (_, Ok(state)) => Some(state),
        // A manifest can be validated without a link to Ankaios. Whether a protected workload
        // uses one of its configs is checked when it is applied.
        (RequiredState::LastKnown, Err(_)) => return Ok(()),
        (RequiredState::Fresh | RequiredState::Whole, Err(reason)) => {
            let message = format!("the manifest cannot be checked against the policy: {reason}");
            return Err(ErrorReply::new(ErrorCode::Unavailable, message));
        }
    };
    let guard = guard.clone();
    Ok(run_blocking(move || guard.check(&update, force, state.as_deref())).await??)
}

//! `manifest/validate`: checks a manifest as `manifest/apply` does and sends nothing to Ankaios.

use ankaios_model::manifest::Manifest;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::replies::ValidateReply;

use super::call::{Answer, Call, ready, run_blocking, to_json};
use super::context::Context;
use super::manifest;
use crate::guard::{Guard, Need};

pub(super) async fn start(context: &Context, call: Call) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(call.payload).await?;
    check(&context.guard, call.force, manifest.clone()).await?;
    Ok(ready(to_json(&ValidateReply {
        valid: true,
        workloads: manifest.workload_names().map(str::to_owned).collect(),
        configs: manifest.config_names().map(str::to_owned).collect(),
        update_mask: manifest.update_mask(),
    })))
}

/// Asks the guard, as far as the vehicle is known.
async fn check(guard: &Guard, force: bool, manifest: Manifest) -> Result<(), ErrorReply> {
    let update = manifest.into_apply_request();
    let state = match (guard.need(&update, force)?, guard.known()) {
        (Need::Nothing, _) => None,
        (Need::Known | Need::Fresh, Ok(state)) => Some(state),
        // Whether a protected workload uses one of its configs is checked when it is applied. A
        // manifest can be validated without Ankaios.
        (Need::Known, Err(_)) => return Ok(()),
        (Need::Fresh, Err(reason)) => {
            let message = format!("whether the policy lets it pass is not known: {reason}");
            return Err(ErrorReply::new(ErrorCode::Unavailable, message));
        }
    };
    let guard = guard.clone();
    Ok(run_blocking(move || guard.check(&update, force, state.as_deref())).await??)
}

//! `state/update`: changes parts of the state in Ankaios' own format.

use std::collections::BTreeSet;

use ankaios_model::proto::ank_base::UpdateStateRequest;
use ankaios_model::update_mask::touches;
use fleet_contract::error::ErrorReply;
use fleet_contract::requests::StateUpdateRequest;

use super::call::{OperationCall, PendingOutcome, run_blocking};
use super::context::OperationContext;
use super::update::{self, RequestedUpdate};

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let origin = context.origin(&call)?;
    let OperationCall { force, payload, signed, .. } = call;
    let update = run_blocking(move || StateUpdateRequest::parse(&payload)).await??;
    let workloads = workloads(&update);
    let request = RequestedUpdate { origin, force, signed, is_published: true, workloads, update };
    update::start(context, request).await
}

/// The workloads that an update adds or changes.
fn workloads(update: &UpdateStateRequest) -> BTreeSet<String> {
    let desired = update.new_state.as_ref().and_then(|state| state.desired_state.as_ref());
    let workloads = desired.and_then(|state| state.workloads.as_ref());
    let names = workloads.into_iter().flat_map(|map| map.workloads.keys());
    let is_named = |name: &&String| {
        let path = ["desiredState", "workloads", name.as_str()];
        update.update_mask.iter().any(|mask| touches(mask, &path))
    };
    names.filter(is_named).cloned().collect()
}

//! `trust/update`: replaces the trust file.

use fleet_contract::error::ErrorReply;
use fleet_contract::replies::TrustReply;

use super::call::{OperationCall, PendingOutcome, ready, to_json};
use super::context::OperationContext;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let updating = context.trust()?.update(call.payload, call.request_id).await?;
    // Later requests are verified with the new file: its keys may have signed them.
    let version = updating.await?;
    let warning = context.replica.as_deref().map(|replica| {
        let warning = format!(
            "only the replica {replica:?} has it: replicas share no store; mount version {version} on \
             the hosts of all replicas, or send this bundle again each time another one has become \
             active"
        );
        tracing::warn!("trust/update: {warning}");
        warning
    });
    Ok(ready(to_json(&TrustReply { version, warning })))
}

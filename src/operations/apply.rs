//! `manifest/apply`: adds or changes the items of a manifest.

use fleet_contract::error::ErrorReply;

use super::call::{OperationCall, PendingOutcome};
use super::context::OperationContext;
use super::update::RequestedUpdate;
use super::{manifest, update};

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let origin = context.origin(&call)?;
    let manifest = manifest::parse(call.payload).await?;
    let request = RequestedUpdate {
        origin,
        force: call.force,
        signed: call.signed,
        is_published: true,
        workloads: manifest.workload_names().map(str::to_owned).collect(),
        update: manifest.into_apply_request(),
    };
    update::start(context, request).await
}

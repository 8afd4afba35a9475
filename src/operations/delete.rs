//! `manifest/delete`: deletes the items of a manifest.

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
    let update = manifest::parse(call.payload).await?.into_delete_request();
    let request = RequestedUpdate {
        origin,
        force: call.force,
        signed: call.signed,
        is_published: false,
        workloads: [].into(),
        update,
    };
    update::start(context, request).await
}

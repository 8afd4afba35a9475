//! `manifest/delete`: deletes the items of a manifest.

use fleet_contract::error::ErrorReply;

use super::call::{OperationCall, PendingOutcome};
use super::context::OperationContext;
use super::{manifest, update};

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let update = manifest::parse(call.payload).await?.into_delete_request();
    update::start(context, None, call.force, update).await
}

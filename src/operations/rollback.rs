//! `manifest/rollback`: goes back to an earlier revision.

use fleet_contract::error::ErrorReply;
use fleet_contract::requests::RollbackRequest;

use super::call::{OperationCall, PendingOutcome};
use super::context::OperationContext;
use super::update;
use crate::revisions::RollbackTarget;
use crate::trust::Scope;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let RollbackRequest { revision, if_current, rollout } = RollbackRequest::parse(&call.payload)?;
    let origin = context.origin(&call)?;
    let target = RollbackTarget { revision, if_current, rollout };
    let revisions = context.revisions()?;
    let admission = context.admission(call.signed.as_ref(), Scope::Everything).await?;
    let pending = revisions.rollback(origin, target, call.force, admission).await?;
    Ok(update::reply_with_revision(context, pending))
}

//! `manifest/apply`: adds or changes the items of a manifest.

use fleet_contract::error::ErrorReply;

use super::call::{OperationCall, PendingOutcome};
use super::context::OperationContext;
use super::{manifest, update};
use crate::streams::AppliedManifest;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let OperationCall { request_id, force, payload, .. } = call;
    let manifest = manifest::parse(payload).await?;
    let workloads = manifest.workload_names().map(str::to_owned).collect();
    let applied = AppliedManifest { request_id, workloads };
    update::start(context, Some(applied), force, manifest.into_apply_request()).await
}

//! `manifest/apply`: adds or changes the items of a manifest.

use fleet_contract::error::ErrorReply;

use super::call::{Answer, Call};
use super::context::Context;
use super::{manifest, update};
use crate::streams::Applied;

pub(super) async fn start(context: &Context, call: Call) -> Result<Answer, ErrorReply> {
    let Call { request_id, force, payload, .. } = call;
    let manifest = manifest::parse(payload).await?;
    let workloads = manifest.workload_names().map(str::to_owned).collect();
    let applied = Applied { request_id, workloads };
    update::start(context, Some(applied), force, manifest.into_apply_request()).await
}

//! `manifest/apply`: adds or changes the items of a manifest.

use bytes::Bytes;

use super::{Answer, Context, manifest, update};
use crate::error::ErrorReply;
use crate::streams::Applied;

pub(super) async fn start(
    context: &Context,
    request_id: &str,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(payload).await?;
    let workloads = manifest.workload_names().map(str::to_owned).collect();
    let applied = Applied { request_id: request_id.to_owned(), workloads };
    update::start(context, Some(applied), force, manifest.into_apply_request()).await
}

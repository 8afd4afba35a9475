//! `manifest/apply`: adds or changes the items of a manifest.

use bytes::Bytes;

use super::{Answer, Context, manifest, update};
use crate::error::ErrorReply;

pub(super) async fn start(
    context: &Context,
    request_id: &str,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let update = manifest::parse(payload).await?.into_apply_request();
    update::start(context, Some(request_id.to_owned()), force, update).await
}

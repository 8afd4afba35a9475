//! `manifest/delete`: removes the items of a manifest.

use bytes::Bytes;

use super::{Answer, Context, manifest, update};
use crate::error::ErrorReply;

pub(super) async fn start(
    context: &Context,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let update = manifest::parse(payload).await?.into_delete_request();
    update::start(context, None, force, update).await
}

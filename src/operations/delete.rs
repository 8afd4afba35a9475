//! `manifest/delete`: removes the items of a manifest.

use bytes::Bytes;

use super::{Answer, manifest, to_json};
use crate::ankaios::Client;
use crate::error::ErrorReply;
use crate::json;

pub(super) async fn start(ankaios: &Client, payload: Bytes) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(payload).await?;
    let call = ankaios.update(manifest.into_delete_request()).await?;
    Ok(Box::pin(async move { to_json(&json::update_state_success(&call.answer().await?)) }))
}

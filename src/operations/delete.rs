//! `manifest/delete`: removes the items of a manifest.

use bytes::Bytes;

use super::{Answer, Context, manifest, to_json, update};
use crate::error::ErrorReply;
use crate::json;
use crate::streams::Rollout;

pub(super) async fn start(
    context: &Context,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(payload).await?;
    let updating = update::send(context, manifest.into_delete_request(), force).await?;
    let rollouts = context.rollouts.clone();
    Ok(Box::pin(async move {
        let success = updating.answer().await?;
        let mut reply = to_json(&json::update_state_success(&success))?;
        if let Some(rollouts) = rollouts {
            reply.then(async move { rollouts.follow(Rollout::new(None, &success)).await });
        }
        Ok(reply)
    }))
}

//! `manifest/apply`: adds or changes the items of a manifest.

use bytes::Bytes;

use super::{Answer, Context, manifest, to_json, update};
use crate::error::ErrorReply;
use crate::json;
use crate::streams::Rollout;

pub(super) async fn start(
    context: &Context,
    request_id: &str,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(payload).await?;
    let updating = update::send(context, manifest.into_apply_request(), force).await?;
    let rollouts = context.rollouts.clone();
    let request_id = request_id.to_owned();
    Ok(Box::pin(async move {
        let success = updating.answer().await?;
        let mut reply = to_json(&json::update_state_success(&success))?;
        if let Some(rollouts) = rollouts {
            let rollout = Rollout::new(Some(request_id), &success);
            reply.then(async move { rollouts.follow(rollout).await });
        }
        Ok(reply)
    }))
}

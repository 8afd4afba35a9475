//! `manifest/validate`: checks a manifest as `manifest/apply` does and sends nothing
//! to Ankaios.

use bytes::Bytes;
use serde::Serialize;

use super::{Answer, apart, known, manifest, to_json};
use crate::error::{ErrorCode, ErrorReply};
use crate::guard::{Guard, Need};
use crate::manifest::Manifest;

#[derive(Serialize)]
struct Validity<'a> {
    valid: bool,
    workloads: Vec<&'a str>,
    configs: Vec<&'a str>,
    update_mask: Vec<String>,
}

pub(super) async fn start(
    guard: &Guard,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(payload).await?;
    check(guard, force, manifest.clone()).await?;
    Ok(known(to_json(&Validity {
        valid: true,
        workloads: manifest.workload_names().collect(),
        configs: manifest.config_names().collect(),
        update_mask: manifest.update_mask(),
    })))
}

/// What the guard would say of it, as far as the vehicle is known.
async fn check(guard: &Guard, force: bool, manifest: Manifest) -> Result<(), ErrorReply> {
    let update = manifest.into_apply_request();
    let state = match (guard.need(&update, force)?, guard.known()) {
        (Need::Nothing, _) => None,
        (Need::Known | Need::Fresh, Ok(state)) => Some(state),
        // Whether a config of it is used by a protected workload shows when it is
        // applied. Without Ankaios a manifest can be checked all the same.
        (Need::Known, Err(_)) => return Ok(()),
        (Need::Fresh, Err(reason)) => {
            let message = format!("whether the policy lets it pass is not known: {reason}");
            return Err(ErrorReply::new(ErrorCode::Unavailable, message));
        }
    };
    let guard = guard.clone();
    Ok(apart(move || guard.check(&update, force, state.as_deref())).await??)
}

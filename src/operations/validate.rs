//! `manifest/validate`: checks a manifest and sends nothing to Ankaios.

use bytes::Bytes;
use serde::Serialize;

use super::{Answer, known, manifest, to_json};
use crate::error::ErrorReply;

#[derive(Serialize)]
struct Validity<'a> {
    valid: bool,
    workloads: Vec<&'a str>,
    configs: Vec<&'a str>,
    update_mask: Vec<String>,
}

pub(super) async fn start(payload: Bytes) -> Result<Answer, ErrorReply> {
    let manifest = manifest::parse(payload).await?;
    Ok(known(to_json(&Validity {
        valid: true,
        workloads: manifest.workload_names().collect(),
        configs: manifest.config_names().collect(),
        update_mask: manifest.update_mask(),
    })))
}

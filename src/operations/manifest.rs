//! Reads the manifest of a request.

use ankaios_model::manifest::Manifest;
use bytes::Bytes;
use fleet_contract::error::ErrorReply;

use super::call::run_blocking;
use crate::errors::manifest_refused;

/// Reads a manifest on the blocking pool, because YAML can be slow to parse.
pub(super) async fn parse(payload: Bytes) -> Result<Manifest, ErrorReply> {
    run_blocking(move || Manifest::parse(&payload)).await?.map_err(manifest_refused)
}

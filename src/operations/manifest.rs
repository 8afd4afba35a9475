//! What the operations on manifests have in common.

use bytes::Bytes;

use super::apart;
use crate::error::{ErrorCode, ErrorReply};
use crate::manifest::{Manifest, ManifestError, Position};

/// Reads a manifest, off the async threads: YAML can be slow to read.
pub(super) async fn parse(payload: Bytes) -> Result<Manifest, ErrorReply> {
    Ok(apart(move || Manifest::parse(&payload)).await??)
}

impl From<ManifestError> for ErrorReply {
    fn from(error: ManifestError) -> Self {
        let code = match error {
            ManifestError::NotUtf8 { .. } => ErrorCode::InvalidPayload,
            ManifestError::Invalid { .. } => ErrorCode::InvalidManifest,
        };
        let reply = Self::new(code, error.to_string());
        match error.position() {
            Some(Position { line, column }) => reply.with("line", line).with("column", column),
            None => reply,
        }
    }
}

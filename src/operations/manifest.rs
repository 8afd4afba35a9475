//! Reads the manifest of a request.

use ankaios_model::manifest::{LineColumn, Manifest, field_position, read_yaml};
use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::call::run_blocking;
use crate::errors::manifest_refused;

/// Reads a manifest on the blocking pool, because YAML can be slow to parse.
pub(super) async fn parse(payload: Bytes) -> Result<Manifest, ErrorReply> {
    run_blocking(move || read(&payload)).await?
}

fn read(payload: &[u8]) -> Result<Manifest, ErrorReply> {
    let parsed = Manifest::parse(payload).map_err(manifest_refused);
    match misunderstanding(payload, parsed.is_ok()) {
        Some((field, message)) => {
            let text = std::str::from_utf8(payload).unwrap_or_default();
            let start = LineColumn { line: 1, column: 1 };
            let LineColumn { line, column } = field_position(text, field).unwrap_or(start);
            let message = format!("{field}: {message}");
            let reply = ErrorReply::new(ErrorCode::InvalidManifest, message);
            Err(reply.with("line", line).with("column", column))
        }
        None => parsed,
    }
}

/// Fields that are no part of a manifest, but that people send with what they have read from
/// `manifest/history`.
#[derive(Deserialize)]
struct OtherFields {
    #[serde(default)]
    deleted: Option<IgnoredAny>,
    #[serde(default)]
    manifest: Option<IgnoredAny>,
}

/// The field, and what to send instead, if the payload has such fields. Other unknown fields of a
/// manifest are ignored.
fn misunderstanding(payload: &[u8], is_manifest: bool) -> Option<(&'static str, &'static str)> {
    let text = std::str::from_utf8(payload).ok()?;
    // Parsing takes long.
    if !["deleted", "manifest"].iter().any(|field| text.contains(field)) {
        return None;
    }
    let fields: OtherFields = serde_json::from_str(text).ok().or_else(|| read_yaml(text).ok())?;
    if fields.manifest.is_some() && !is_manifest {
        return Some((
            "manifest",
            "a manifest has no such field; of a reply to manifest/history, send only the content \
             of its field manifest",
        ));
    }
    // If it were ignored, nothing would be deleted.
    let deleted = "a manifest has no such field, and deletes nothing; send what is to be deleted to \
                   manifest/delete, as a manifest with these workloads and configs, or go back \
                   with manifest/rollback";
    fields.deleted.map(|_| ("deleted", deleted))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(payload: &str) -> Option<String> {
        read(payload.as_bytes()).err().map(|error| error.message)
    }

    #[test]
    fn what_was_read_from_the_history_says_what_to_send() {
        for payload in [
            "apiVersion: v1\nconfigs: {a: b}\ndeleted: [desiredState.configs.c]\n",
            "apiVersion: v1\nconfigs: {a: b}\ndeleted: []\n",
            "deleted:\n  workloads: [a]\n",
            r#"{"apiVersion": "v1", "configs": {"a": "\ud83d\ude97"}, "deleted": ["c"]}"#,
        ] {
            let message = refused(payload).unwrap();
            assert!(message.starts_with("deleted: a manifest has no such field"), "{message}");
        }
        for payload in [
            r#"{"revision": 1, "manifest": {"apiVersion": "v1", "configs": {"a": "b"}}}"#,
            r#"{"revision": 1, "manifest": {"apiVersion": "v1"}, "deleted": []}"#,
            "manifest: {apiVersion: v1}\n",
        ] {
            let message = refused(payload).unwrap();
            assert!(message.ends_with("send only the content of its field manifest"), "{message}");
        }
    }

    #[test]
    fn the_position_is_that_of_the_field() {
        let payload = b"apiVersion: v1\nconfigs: {a: b}\ndeleted: []\n";
        let details = read(payload).unwrap_err().details;
        assert_eq!(details.get("line"), Some(&3.into()));
        assert_eq!(details.get("column"), Some(&1.into()));
    }

    #[test]
    fn the_same_words_elsewhere_are_no_mistake() {
        for payload in [
            "apiVersion: v1\nconfigs: {deleted: [a], manifest: {deleted: b}}\n",
            "# deleted: desiredState.configs.c\napiVersion: v1\nconfigs: {a: manifest}\n",
            "apiVersion: v1\nconfigs: {a: b}\ndeleted: ~\n",
            "apiVersion: v1\nconfigs: {a: b}\nother: 1\nmanifest: 1\n",
        ] {
            assert_eq!(refused(payload), None, "{payload}");
        }
        let message = refused("apiVersion: v1\nworkloads: {manifest: 7}\n").unwrap();
        assert!(message.starts_with("workloads.manifest"), "{message}");
    }
}

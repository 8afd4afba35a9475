//! From the bytes of a manifest to typed fields, whatever the bytes are.

use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

use super::aliases::check_expansion;
use super::error::ManifestError;
use super::scan::{MAX_FLOW_DEPTH, Reason, Refusal, Scan, scan};

/// Reads one YAML document, or JSON.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ManifestError> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| ManifestError::NotUtf8 { offset: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);

    let found = scan(text)?;
    if !found.has_content || text.trim().is_empty() {
        return Err(ManifestError::invalid("the manifest is empty"));
    }
    // JSON is YAML but for one thing: `"\ud83d\ude97"`, as many JSON writers put
    // a character outside of the Basic Multilingual Plane, is an error in YAML.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    read_scanned(text, &found)
}

/// Reads another YAML document, within the bounds of a manifest.
///
/// # Errors
/// See [`ManifestError`]. A text without content is one of them.
pub(crate) fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, ManifestError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let found = scan(text)?;
    if !found.has_content || text.trim().is_empty() {
        return Err(ManifestError::invalid("it is empty"));
    }
    read_scanned(text, &found)
}

fn read_scanned<T: DeserializeOwned>(text: &str, found: &Scan) -> Result<T, ManifestError> {
    if found.has_alias {
        check_expansion(text)?;
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let first = documents.next().ok_or_else(|| ManifestError::invalid("it is empty"))?;
    let value = T::deserialize(first)?;
    match documents.next().map(IgnoredAny::deserialize) {
        None => Ok(value),
        Some(Ok(_)) => Err(ManifestError::invalid(
            "there are several YAML documents, send each as a manifest of its own",
        )),
        Some(Err(error)) => Err(error.into()),
    }
}

impl From<Refusal> for ManifestError {
    fn from(Refusal { reason, line, column }: Refusal) -> Self {
        let message = match reason {
            Reason::TooDeep => {
                format!("brackets are nested more than {MAX_FLOW_DEPTH} deep")
            }
            Reason::Directive => {
                "directives such as %TAG have no place in a manifest; remove the line".into()
            }
            Reason::MergeKey => {
                "merge keys (<<) are not part of Ankaios' format, write the fields out".to_owned()
            }
        };
        Self::at(message, line, column)
    }
}

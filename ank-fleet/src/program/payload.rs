//! What a command sends: manifests of files, or a signed request.

use bytes::Bytes;
use fleet_trust::{Bundle, Statement, is_bundle};

use super::failure::Failure;
use super::input::read_text;
use super::interrupt::Interrupt;
use crate::changes::WantedChange;
use crate::manifests;
use crate::rollout::Change;

/// A change, as it is sent and as it is understood.
#[derive(Debug)]
pub(crate) struct Payload {
    /// What is sent.
    pub(crate) text: String,
    /// The manifest, which is inside of a signed request.
    pub(crate) manifest: Bytes,
    /// What it changes.
    pub(crate) wanted: WantedChange,
    /// What is signed; `None` if nothing is.
    pub(crate) statement: Option<Statement>,
}

/// Reads the files of `apply` or `apply -d`.
///
/// # Errors
/// A file cannot be read, or is wrong.
pub(crate) async fn read(
    files: &[String],
    operation: Change,
    interrupt: &Interrupt,
) -> Result<Payload, Failure> {
    if files.is_empty() {
        return Err(Failure::usage("no manifest is named"));
    }
    if files.iter().filter(|file| *file == "-").count() > 1 {
        return Err(Failure::usage("standard input (-) can be read only once"));
    }
    let mut texts: Vec<(String, String)> = Vec::new();
    for file in files {
        let name = if file == "-" { "standard input" } else { file };
        texts.push((name.to_owned(), read_text(file, interrupt).await?));
    }
    let signed = texts.iter().find(|(_, text)| is_bundle(text.as_bytes()));
    let text = match (signed, texts.as_slice()) {
        (None, _) => manifests::merge(&texts).map_err(Failure::usage)?,
        (Some(_), [(_, text)]) => text.clone(),
        (Some((name, _)), _) => {
            return Err(Failure::usage(format!(
                "{name} is a signed request, which is sent as it is; name it alone"
            )));
        }
    };
    let name = texts.first().map(|(name, _)| name.as_str()).unwrap_or_default();
    understand(name, text, operation)
}

/// A payload as it is sent, and what it means.
///
/// # Errors
/// The vehicles would refuse it.
pub(crate) fn understand(name: &str, text: String, operation: Change) -> Result<Payload, Failure> {
    let (manifest, statement) = if is_bundle(text.as_bytes()) {
        let untrusted = |reason: String| Failure::Untrusted(format!("{name}: {reason}"));
        let bundle =
            Bundle::parse(text.as_bytes()).map_err(|refusal| untrusted(refusal.to_string()))?;
        let statement = Statement::parse_unverified(&bundle.statement)
            .map_err(|reason| untrusted(format!("the statement {reason}")))?;
        let wanted = match operation {
            Change::Apply => "manifest/apply",
            Change::Delete => "manifest/delete",
            Change::Update => "state/update",
        };
        if statement.operation != wanted {
            return Err(untrusted(format!(
                "it is signed for {}, not {wanted}",
                statement.operation
            )));
        }
        (Bytes::from(bundle.payload), Some(statement))
    } else {
        (Bytes::from(text.clone()), None)
    };
    let wanted = WantedChange::parse(operation, &manifest)
        .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(Payload { text, manifest, wanted, statement })
}

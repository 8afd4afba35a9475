//! Explains why a text is not a manifest: where the mistake is, and what to write instead.
//!
//! ```text
//!  text, error ─► control characters? ─► another format? ─► syntax ─► fields ─► error with
//!                                        (foreign, documents)                   hint, position
//! ```
//!
//! Works on text that was refused, after the checks of the limits. So it never changes what is
//! accepted. The modules are tables of mistakes.

mod documents;
mod fields;
mod hint;
mod syntax;
mod workload;

use hint::Hint;

use serde::de::IgnoredAny;

use super::error::ManifestError;
use super::outline::Outline;
use crate::foreign;
use crate::hints::did_you_mean;
use crate::line_column::LineColumn;

/// Maximum length of each part of a message, in characters.
const MAX_PART: usize = 500;

/// What is expected, for the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// A manifest.
    Manifest,
    /// Another YAML document.
    Document,
}

impl Expected {
    fn what(self) -> &'static str {
        match self {
            Self::Manifest => "a manifest",
            Self::Document => "the expected YAML",
        }
    }
}

/// Adds a hint and a position to an error.
pub(super) fn explain(text: &str, error: ManifestError, expected: Expected) -> ManifestError {
    let outline = Outline::of(text);
    let is_broken = outline.as_ref().is_some_and(|outline| outline.is_broken);
    // The part before a syntax error may be refused for what is missing in it.
    let syntax_error = is_broken.then(|| serde_yaml::from_str::<IgnoredAny>(text).err()).flatten();
    let error = syntax_error.map_or(error, Into::into);
    let ManifestError::Invalid { message, position } = error else { return error };
    if message.starts_with("control characters")
        && let Some(foreign) = foreign::not_text(text.as_bytes())
    {
        let position = LineColumn { line: 1, column: 1 };
        let message = foreign.sentence(expected.what());
        return ManifestError::NotUtf8 { message, offset: 0, position };
    }
    let hint = hint(text, &message, position, outline.as_ref(), expected);
    let known = || {
        let outline = outline.as_ref()?;
        let place = outline.resolve(&message);
        Some(place.key.map_or(place.node.at, |key| key.at))
    };
    let hint_at = hint.as_ref().and_then(|hint| hint.at);
    let at = hint_at.or(position).or_else(known).unwrap_or_else(|| start_of(text));
    let LineColumn { line, column } = at;
    let message = match hint {
        None => shorten(&message),
        Some(Hint { text, replaces: true, .. }) => shorten(&text),
        Some(Hint { text, .. }) => format!("{}; {}", shorten(&message), shorten(&text)),
    };
    ManifestError::at(message, line, column)
}

/// Replaces the error of a limit by the format that the text has, if that is known.
pub(super) fn explain_limit(text: &str, error: ManifestError) -> ManifestError {
    // Only the lines before the error are known to be within the limits.
    let line = error.position().map_or(1, |position| position.line);
    let before = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let before = text.get(..before).unwrap_or_default();
    let document = || {
        let outline = Outline::of(before).filter(|it| !documents::is_manifest(&it.root))?;
        documents::hint(before, &outline.root).filter(|hint| hint.replaces)
    };
    match foreign_format(text, Expected::Manifest).or_else(document) {
        None => error,
        Some(Hint { text, at, .. }) => {
            let LineColumn { line, column } = at.unwrap_or(LineColumn { line: 1, column: 1 });
            ManifestError::at(text, line, column)
        }
    }
}

fn hint(
    text: &str,
    message: &str,
    position: Option<LineColumn>,
    outline: Option<&Outline>,
    expected: Expected,
) -> Option<Hint> {
    let is_map = outline.is_some_and(|outline| !outline.root.entries().is_empty());
    let is_manifest = outline.is_some_and(|outline| documents::is_manifest(&outline.root));
    if message.starts_with("control characters") {
        return foreign_format(text, expected).or_else(|| syntax::control_character(text));
    }
    let is_broken = outline.is_none_or(|outline| outline.is_broken);
    if (is_broken || text.trim_start().starts_with('/'))
        && let Some(hint) = syntax::json(text)
    {
        return Some(hint);
    }
    if let Some(hint) = syntax::invisible(text, message) {
        return Some(hint);
    }
    let is_foreign = match expected {
        Expected::Manifest => !is_manifest,
        Expected::Document => !is_map,
    };
    if is_foreign && let Some(hint) = foreign_format(text, expected) {
        return Some(hint);
    }
    if message.ends_with("is empty") {
        return None;
    }
    if expected == Expected::Manifest
        && !is_manifest
        && let Some(hint) = outline.and_then(|outline| documents::hint(text, &outline.root))
    {
        // In a map that is broken, the error counts more than what is missing before it.
        let is_broken = is_map && outline.is_some_and(|outline| outline.is_broken);
        let syntax = || syntax::hint(text, message, position);
        return (is_broken && !hint.replaces).then(syntax).flatten().or(Some(hint));
    }
    let Some(outline) = outline else {
        return syntax::hint(text, message, position);
    };
    if outline.is_broken {
        return syntax::hint(text, message, position);
    }
    if let Some(hint) = syntax::no_break_space(&outline.root) {
        return Some(hint);
    }
    let place = outline.resolve(message);
    if let Some(hint) = did_you_mean(message) {
        return Some(Hint::new(hint.trim_start_matches("; ")));
    }
    let of_manifest = || match expected {
        Expected::Manifest => fields::hint(&place).or_else(|| workload::hint(&place)),
        Expected::Document => None,
    };
    fields::general(&place)
        .or_else(of_manifest)
        .or_else(|| syntax::hint(text, message, position).filter(|_| is_syntax(message)))
}

/// Whether the deserializer refuses a text for its syntax that libyaml accepts up to there.
fn is_syntax(message: &str) -> bool {
    ["anchor", "<document start>", "recursion limit"].iter().any(|part| message.contains(part))
}

fn foreign_format(text: &str, expected: Expected) -> Option<Hint> {
    let foreign = foreign::recognize(text.as_bytes())?;
    Some(Hint::instead(foreign.sentence(expected.what())).at(start_of(text)))
}

/// The position of the first character that is not white space.
fn start_of(text: &str) -> LineColumn {
    let offset = text.len() - text.trim_start().len();
    LineColumn::at(text, if offset == text.len() { 0 } else { offset })
}

/// The beginning of a text that is too long.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_PART) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

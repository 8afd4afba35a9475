//! Recognises files of other formats, which people send by mistake.
//!
//! ```text
//!  bytes that could not be parsed ──► recognize ──► Foreign: what it is, what to do
//! ```
//!
//! The recognition is for error messages: it looks only at bytes that were refused already, so it
//! may be generous. `binary` is the table of formats that their first bytes identify, `text` that
//! of formats that their first lines identify.

mod binary;
mod format;
mod text;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use format::Foreign;

/// Recognises the format of a payload that is not valid; `None` if it is not known.
#[must_use]
pub fn recognize(payload: &[u8]) -> Option<Foreign> {
    binary::recognize(payload)
        .or_else(|| text::recognize(&String::from_utf8_lossy(beginning(payload))))
}

/// Recognises a payload that is no text in UTF-8, though its bytes may be valid UTF-8.
#[must_use]
pub fn not_text(payload: &[u8]) -> Option<Foreign> {
    binary::recognize(payload)
}

/// The command that converts a text to UTF-8 whose byte at `offset` is not UTF-8. Typographic quotes
/// and dashes of Windows are control characters in ISO 8859-1.
#[must_use]
pub fn conversion(payload: &[u8], offset: usize) -> String {
    let encoding = match payload.get(offset) {
        Some(0x80..=0x9f) => "WINDOWS-1252",
        _ => "ISO-8859-1",
    };
    format!("iconv -f {encoding} -t UTF-8 FILE > NEW")
}

/// The part of the payload that the text forms look at.
fn beginning(payload: &[u8]) -> &[u8] {
    const SIZE: usize = 64 * 1024;
    payload.get(..SIZE).unwrap_or(payload)
}

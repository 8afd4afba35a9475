//! Quotes of typography.

/// Quotes of typography, which are ordinary characters in YAML.
pub(super) const TYPOGRAPHIC_QUOTES: [char; 8] = ['“', '”', '„', '‘', '’', '‚', '«', '»'];

/// Whether a text is meant to be in quotes, but has typographic ones.
pub(super) fn has_typographic_quotes(text: &str) -> bool {
    text.starts_with(TYPOGRAPHIC_QUOTES) || text.ends_with(TYPOGRAPHIC_QUOTES)
}

//! Text from outside: of vehicles, brokers and files. It may be of any length, and contain anything.

use std::borrow::Cow;
use std::fmt::Write;

/// Maximum length in bytes of a message of a vehicle that is kept: an error, a reason, a line of a log.
pub(crate) const MAX_MESSAGE: usize = 500;

/// Maximum length in bytes of a name or a version that is kept.
pub(crate) const MAX_NAME: usize = 128;

/// Whether a terminal may do more with a character than show it: control characters, and characters
/// of Unicode that end a line, change the direction of what follows, or are not seen. Not a tab.
fn is_unsafe(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    );
    is_invisible || (c.is_control() && c != '\t')
}

/// Text as one line that cannot control a terminal: unsafe characters become spaces.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(is_unsafe) {
        Cow::Owned(text.replace(is_unsafe, " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// The beginning of a text that is longer than so many bytes, with `…` at its end.
pub(crate) fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// A message of a vehicle as it is kept: short, and one line.
pub(crate) fn message(text: &str) -> String {
    // What is cut off need not be cleaned.
    one_line(&shortened(text, MAX_MESSAGE)).into_owned()
}

/// Escapes the unsafe characters in the strings of JSON. It stays the same JSON.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| is_unsafe(c) && c != '\n';
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            // All of them have at most four digits.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether lines cannot control a terminal.
pub(crate) fn are_safe_lines(text: &str) -> bool {
    !text.contains(|c: char| is_unsafe(c) && c != '\n')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_control_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31mb\tc\r"), "a [31mb\tc ");
        assert_eq!(one_line("a\nb\u{9b}2J\u{2028}c\u{202e}d"), "a b 2J c d");
        assert!(matches!(one_line("ä → 漢\u{1f600}"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcd", 3), "abc…");
        assert_eq!(shortened("aüb", 2), "a…");
        assert_eq!(message(&"x\n".repeat(1 << 20)).len(), MAX_MESSAGE + "…".len());
    }

    #[test]
    fn json_is_escaped_and_stays_the_same() {
        let value = serde_json::json!({"a\u{9b}": ["\u{2028}\u{202e}\n\u{7f}", "ü"]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = escaped_json(&text);
        assert!(escaped.contains("\\u009b") && are_safe_lines(&escaped), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        assert!(matches!(escaped_json("{\n\"ü\": 1}"), Cow::Borrowed(_)));
    }
}

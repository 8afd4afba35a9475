//! Parts of error messages: what a misspelled word probably means, and no long texts.

/// The candidate that a misspelled word probably stands for: the same but for case, `_` and `-`,
/// with few other characters, or with more words.
#[must_use]
pub fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Option<&'a str> {
    const MAX_LENGTH: usize = 64;
    if word.is_empty() || word.len() > MAX_LENGTH {
        return None;
    }
    let word = plain(word);
    let distances = candidates.into_iter().map(|candidate| {
        let plain = plain(candidate);
        let limit = match plain.len() {
            0..=3 => 0,
            4..=6 => 1,
            _ => 2,
        };
        (distance(&word, &plain), limit, candidate)
    });
    let near = distances.clone().filter(|(distance, limit, _)| distance <= limit);
    let near = near.min_by_key(|(distance, ..)| *distance).map(|(.., candidate)| candidate);
    near.or_else(|| {
        let word: String = word.iter().collect();
        let is_part = |candidate: &str| {
            word.len() >= 4 && String::from_iter(plain(candidate)).contains(&word)
        };
        distances.map(|(.., candidate)| candidate).find(|candidate| is_part(candidate))
    })
}

/// `; did you mean X?` for the message of serde about an unknown field or variant, in which serde
/// lists the known ones.
#[must_use]
pub fn did_you_mean(message: &str) -> Option<String> {
    let (_, rest) = message
        .split_once("unknown field `")
        .or_else(|| message.split_once("unknown variant `"))?;
    let (word, known) = rest.split_once("`, expected ")?;
    let known = known.split('`').skip(1).step_by(2);
    nearest(word, known).map(|known| format!("; did you mean {known}?"))
}

/// The message of serde without the text that it quotes: it may be a secret, or a whole file.
#[must_use]
pub fn without_text(message: &str) -> String {
    for kind in ["invalid type: string ", "invalid value: string "] {
        let Some((before, rest)) = message.split_once(kind) else { continue };
        let Some((_, expected)) = rest.rsplit_once(", expected ") else { continue };
        return format!("{before}{}, expected {expected}", kind.trim_end());
    }
    message.to_owned()
}

/// The message of serde about a value of the wrong type, in the terms of JSON instead of Rust.
#[must_use]
pub fn in_json_terms(message: &str) -> String {
    let (text, position) = match message.rfind(" at line ") {
        Some(position) => message.split_at(position),
        None => (message, ""),
    };
    let Some((found, expected)) = text.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let is_rust = ["struct ", "tuple ", "newtype ", "internally "];
    let expected = match expected {
        "a sequence" => "an array",
        "a map" => "an object",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" => "a whole number of at most 2147483647",
        "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "unit" => "null",
        rust if is_rust.iter().any(|kind| rust.starts_with(kind)) => "an object",
        own => own,
    };
    let found = match found.split_once("invalid length ") {
        // Of a list that stands for an object.
        Some((path, _)) => format!("{path}invalid type: array"),
        None => [
            ("invalid type: sequence", "invalid type: array"),
            ("invalid type: map", "invalid type: object"),
            ("invalid type: unit", "invalid type: null"),
            (": integer `", ": number `"),
            (": floating point `", ": number `"),
        ]
        .iter()
        .fold(found.to_owned(), |found, (rust, json)| found.replacen(rust, json, 1)),
    };
    format!("{found}, expected {expected}{position}")
}

/// The offset of the first comment in JSON, which has none.
#[must_use]
pub fn json_comment(text: &str) -> Option<usize> {
    let (mut is_text, mut before) = (false, ' ');
    let mut characters = text.char_indices();
    while let Some((offset, found)) = characters.next() {
        match found {
            '\\' if is_text => {
                characters.next();
            }
            '"' => is_text = !is_text,
            // Not that of an address without quotes.
            '/' if !is_text && before != ':' && !before.is_alphanumeric() => {
                let rest = text.get(offset..).unwrap_or_default();
                if rest.starts_with("//") || rest.starts_with("/*") {
                    return Some(offset);
                }
            }
            _ => {}
        }
        before = found;
    }
    None
}

/// What a character is that looks like nothing, or like an ordinary space, and what to do about it.
#[must_use]
pub fn unusual_character(character: char) -> Option<String> {
    let (name, advice) = match character {
        '\u{ad}' => ("a soft hyphen", INVISIBLE),
        '\u{200b}' => ("a zero-width space", INVISIBLE),
        '\u{200e}' | '\u{200f}' => ("a mark of the direction of writing", INVISIBLE),
        '\u{2060}' => ("a word joiner", INVISIBLE),
        '\u{feff}' => ("a byte order mark", INVISIBLE),
        '\u{a0}' | '\u{202f}' => ("a no-break space", REPLACE),
        '\u{2000}'..='\u{200a}' | '\u{3000}' => ("a space of another kind", REPLACE),
        _ => return None,
    };
    Some(format!("there is {name} (U+{:04X}){advice}", u32::from(character)))
}

const INVISIBLE: &str = ", which is invisible; remove it";
const REPLACE: &str = "; replace it by an ordinary space";

/// The first character of a text that is invisible, with its offset.
#[must_use]
pub fn invisible_character(text: &str) -> Option<(usize, char)> {
    text.char_indices()
        .find(|(_, c)| unusual_character(*c).is_some_and(|it| it.ends_with(INVISIBLE)))
}

/// A message of serde_json without the position at its end, and line and column of that position.
#[must_use]
pub fn split_position(message: &str) -> (&str, Option<(usize, usize)>) {
    let position = || {
        let (text, position) = message.rsplit_once(" at line ")?;
        let (line, column) = position.split_once(" column ")?;
        Some((text, (line.parse().ok()?, column.parse().ok()?)))
    };
    position().map_or((message, None), |(text, position)| (text, Some(position)))
}

/// The text in quotes. Long text is shortened.
#[must_use]
pub fn quoted(text: &str) -> String {
    const MAX: usize = 70;
    match text.char_indices().nth(MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => {
            let beginning = text.get(..end).unwrap_or_default();
            format!("{:?} ({} characters)", format!("{beginning}…"), text.chars().count())
        }
    }
}

/// The text in lower case, without `_`, `-` and spaces.
fn plain(text: &str) -> Vec<char> {
    let chars = text.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    chars.flat_map(char::to_lowercase).collect()
}

/// The number of characters to insert, remove, replace or swap with the next one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&previous, j) + usize::from(x != y);
            let mut best = replaced.min(at(&previous, j + 1) + 1).min(at(&row, j) + 1);
            let is_swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if is_swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_others_are_not() {
        let words = ["workloads", "configs", "agent", "runtime", "runtimeConfig", "id"];
        for (word, expected) in [
            ("workload", Some("workloads")),
            ("Workloads", Some("workloads")),
            ("worklaods", Some("workloads")),
            ("runtime_config", Some("runtimeConfig")),
            ("runtimeconfg", Some("runtimeConfig")),
            ("agents", Some("agent")),
            ("ID", Some("id")),
            ("di", None),
            ("config", Some("configs")),
            ("tame", None),
            ("image", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"workloads".repeat(1000), words), None);
    }

    #[test]
    fn the_words_are_those_of_serde() {
        let message = "unknown field `mask`, expected `field_masks` or `format` at line 1";
        assert_eq!(did_you_mean(message).as_deref(), Some("; did you mean field_masks?"));
        let message = "x: unknown field `fieldmask`, expected `field_masks` or `format`";
        assert_eq!(did_you_mean(message).as_deref(), Some("; did you mean field_masks?"));
        let message = "unknown variant `SDK`, expected `sdk` or `ankaios`";
        assert_eq!(did_you_mean(message).as_deref(), Some("; did you mean sdk?"));
        assert_eq!(did_you_mean("unknown field `a`, there are no fields"), None);
    }

    #[test]
    fn texts_are_left_out() {
        for (message, expected) in [
            (
                "invalid type: string \"a, expected b\", expected a map",
                "invalid type: string, expected a map",
            ),
            (
                "a: invalid type: integer `5`, expected a string at line 1",
                "a: invalid type: integer `5`, expected a string at line 1",
            ),
            ("invalid value: string \"x\", expected u64", "invalid value: string, expected u64"),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
            ("other", "other"),
        ] {
            assert_eq!(without_text(message), expected);
        }
        assert_eq!(split_position("x at line 2 column 3"), ("x", Some((2, 3))));
        assert_eq!(split_position("x at line 2"), ("x at line 2", None));
        assert_eq!(quoted("a\"b"), r#""a\"b""#);
        assert_eq!(quoted(&"é".repeat(100)), format!("\"{}…\" (100 characters)", "é".repeat(70)));
    }
}

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

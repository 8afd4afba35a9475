//! Parses the JSON of requests.

use std::fmt::Display;

use ankaios_model::field_mask_has_empty_part;
use ankaios_model::foreign;
use ankaios_model::hints::split_position;
use ankaios_model::manifest::LineColumn;
use ankaios_model::node_limit::{self, TooManyNodes};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::mistakes;
use crate::error::{ErrorCode, ErrorReply};
use crate::fields;

/// Parses a JSON payload. `expected` describes it in the error.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8], expected: &str) -> Result<T, ErrorReply> {
    let text = text(payload, expected)?;
    fields::from_text(text).map_err(|error| {
        let wrong = wrong_kind(text, &['{']);
        refused(payload, text, wrong.unwrap_or(&error), expected)
    })
}

/// What a valid value is that does not begin with one of these characters.
fn wrong_kind(text: &str, right: &[char]) -> Option<&'static str> {
    if text.starts_with(right) || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    Some(match text.chars().next()? {
        '[' => "it is an array",
        '{' => "it is an object",
        '"' => "it is a string",
        't' | 'f' => "it is true or false",
        'n' => "it is null",
        _ => "it is a number",
    })
}

/// The payload as text with a limited number of nodes, without leading and trailing white space.
pub(super) fn text<'a>(payload: &'a [u8], expected: &str) -> Result<&'a str, ErrorReply> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        let reason = mistakes::not_utf8(payload).unwrap_or_else(|| {
            let conversion = foreign::conversion(payload, error.valid_up_to());
            format!("the payload is not UTF-8: {error}; convert it: {conversion}")
        });
        let before = payload.get(..error.valid_up_to()).unwrap_or_default();
        // Of another format, only the beginning counts.
        let is_foreign = mistakes::not_utf8(payload).is_some();
        let (line, column) =
            if is_foreign { (1, 1) } else { end_of(&String::from_utf8_lossy(before)) };
        invalid(reason, expected).with("line", line).with("column", column)
    })?;
    node_limit::check_json(text).map_err(|error| {
        let TooManyNodes { at: LineColumn { line, column } } = error;
        let reply = ErrorReply::new(
            ErrorCode::InvalidPayload,
            format!("{error} (line {line}, column {column})"),
        );
        reply.with("line", line).with("column", column)
    })?;
    Ok(text.trim())
}

/// Parses an object, or an array of field masks as its short form.
pub(super) fn parse_masks_or<T: DeserializeOwned>(
    payload: &[u8],
    expected: &str,
    from_masks: impl FnOnce(Vec<String>) -> Result<T, String>,
) -> Result<T, ErrorReply> {
    let text = text(payload, expected)?;
    let request = if text.starts_with('[') {
        fields::from_text(text).and_then(from_masks)
    } else {
        fields::from_text(text)
    };
    request.map_err(|error| {
        let wrong = wrong_kind(text, &['[', '{']);
        refused(payload, text, wrong.unwrap_or(&error), expected)
    })
}

/// Maximum number of masks that may select what others select, too. For each of them Ankaios copies
/// what it selects; a thousand copies of a large state keep its server busy for minutes.
const MAX_OVERLAPPING: usize = 100;

/// Checks that no mask has an empty part, because such a mask matches nothing, and that not too many
/// of them overlap.
pub(super) fn check_masks(field: &str, masks: &[String]) -> Result<(), String> {
    if let Some(mask) = masks.iter().find(|mask| field_mask_has_empty_part(mask)) {
        return Err(format!("{field}: the mask {mask:?} has an empty part"));
    }
    let overlapping = overlapping(masks);
    if overlapping > MAX_OVERLAPPING {
        return Err(format!(
            "{field}: {overlapping} masks have a wildcard, or are equal to other masks or below \
             them; at most {MAX_OVERLAPPING} may, because they keep Ankaios' server busy"
        ));
    }
    Ok(())
}

/// The number of masks with a wildcard, and of those that another one covers.
fn overlapping(masks: &[String]) -> usize {
    let (wild, mut plain): (Vec<_>, Vec<_>) = masks
        .iter()
        .map(|mask| mask.split('.').collect::<Vec<_>>())
        .partition(|parts| parts.contains(&"*"));
    // What a mask covers follows it.
    plain.sort_unstable();
    let mut covered = 0;
    let mut outer: Option<Vec<&str>> = None;
    for parts in plain {
        match &outer {
            Some(outer) if parts.starts_with(outer) => covered += 1,
            _ => outer = Some(parts),
        }
    }
    wild.len() + covered
}

/// The error for a payload of the wrong shape.
pub(super) fn invalid(reason: impl Display, expected: &str) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidPayload, format!("{reason}; expected {expected}"))
}

/// The error for a part of the payload that cannot be used, with its position and a hint. An empty
/// part stands for the whole payload. `reason` can begin with the name of a field, and end with a
/// position in the part.
pub(super) fn refused(payload: &[u8], part: &str, reason: &str, expected: &str) -> ErrorReply {
    let whole = std::str::from_utf8(payload).unwrap_or_default();
    let part = if part.is_empty() { whole.trim() } else { part };
    let (reason, position) = split_position(reason);
    let before = before_part(whole, part, reason);
    // A message without a position has line 0 in serde_json, or is one of our own.
    let position = position.filter(|(line, _)| *line > 0);
    let is_whole = part.len() == whole.trim().len();
    let is_foreign = is_whole && !part.is_empty() && foreign::not_text(payload).is_some();
    let (line, column) = match position {
        _ if is_foreign => (1, 1),
        Some((line, column)) => {
            let (lines, columns) = end_of(before);
            (lines + line - 1, if line == 1 { columns + column.max(1) - 1 } else { column.max(1) })
        }
        None => end_of(before_field(whole, reason).unwrap_or(before)),
    };
    let hint = mistakes::hint(part, reason).map(|hint| format!("; {hint}")).unwrap_or_default();
    invalid(format!("{} at line {line} column {column}{hint}", bounded(reason)), expected)
        .with("line", line)
        .with("column", column)
}

/// The text before a part, which is the value of the field that a message begins with, or the
/// whole text.
fn before_part<'a>(text: &'a str, part: &str, message: &str) -> &'a str {
    let name = message.split([':', '.', '[']).next().unwrap_or_default();
    let begin = text.find(&format!("\"{name}\"")).unwrap_or_default();
    let in_field = text.get(begin..).and_then(|rest| rest.find(part)).map(|offset| begin + offset);
    let offset = in_field.or_else(|| text.find(part)).unwrap_or_default();
    text.get(..offset).unwrap_or_default()
}

/// The text before the field that a message begins with, for example with `state: a.b[0]: `. The
/// fields are searched one after the other.
fn before_field<'a>(text: &'a str, message: &str) -> Option<&'a str> {
    let paths = message.split(": ").take_while(|path| !path.contains(' '));
    let names = paths.flat_map(|path| path.split(['.', '[', ']']));
    let names = names.filter(|name| !name.is_empty() && name.parse::<usize>().is_err());
    let mut found = None;
    for name in names {
        let begin = found.map_or(0, |found| found + 1);
        let Some(offset) = text.get(begin..)?.find(&format!("\"{name}\"")) else { break };
        found = Some(begin + offset);
    }
    text.get(..found?)
}

/// Line and column, from 1, of what follows a text.
fn end_of(text: &str) -> (usize, usize) {
    let line = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The beginning of a reason that is too long, so that there is room for what follows.
fn bounded(reason: &str) -> String {
    const MAX: usize = 1000;
    match reason.char_indices().nth(MAX) {
        None => reason.to_owned(),
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_with_too_many_items_is_refused_where_they_are_too_many() {
        let masks = format!("[\n{}\"a\"]", "\"a\",".repeat(250_000));
        for error in [
            parse::<Vec<String>>(masks.as_bytes(), "x").unwrap_err(),
            parse_masks_or::<Vec<String>>(masks.as_bytes(), "x", Ok).unwrap_err(),
        ] {
            assert!(error.message.starts_with("there are more than 40000 keys"), "{error}");
            assert_eq!(error.details.get("line"), Some(&2.into()));
            assert_eq!(error.details.get("column"), Some(&(4 * (40_000 - 1) + 1).into()));
        }
    }

    #[test]
    fn masks_that_select_the_same_again_and_again_are_refused() {
        let many = |mask: &dyn Fn(usize) -> String, count| (0..count).map(mask).collect::<Vec<_>>();
        let check = |masks: &[String]| check_masks("field_masks", masks);
        check(&many(&|n| format!("desiredState.configs.c{n}"), 20_000)).unwrap();
        for mask in [
            &(|_| "desiredState".to_owned()) as &dyn Fn(usize) -> String,
            &|n| if n == 0 { "a".into() } else { format!("a.b{n}") },
            &|n| format!("workloadStates.*.w{n}"),
            &|n| ["*", "a", "a.b"].get(n % 3).copied().unwrap().to_owned(),
        ] {
            check(&many(mask, MAX_OVERLAPPING)).unwrap();
            let message = check(&many(mask, 200)).unwrap_err();
            assert!(message.contains("at most 100"), "{message}");
        }
        // A name that begins like another one is not below it.
        assert_eq!(overlapping(&["a.b", "a.bc", "a.b-c", "a"].map(str::to_owned)), 3);
        assert_eq!(overlapping(&["a.b", "a.bc", "a.b-c"].map(str::to_owned)), 0);
    }
}

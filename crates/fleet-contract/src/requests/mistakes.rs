//! What people send instead of the JSON of a request, and what to write.

use ankaios_model::foreign;
use ankaios_model::hints::{did_you_mean, invisible_character, json_comment, unusual_character};
use ankaios_model::manifest::nearest_field;

/// What a payload is that is not UTF-8, if that is known.
pub(super) fn not_utf8(payload: &[u8]) -> Option<String> {
    foreign::recognize(payload).map(|foreign| foreign.sentence("JSON"))
}

/// What to write instead of a text that was refused for this reason.
pub(super) fn hint(text: &str, reason: &str) -> Option<String> {
    if let Some(hint) = invisible(text, reason) {
        return Some(hint);
    }
    if let Some(hint) = did_you_mean(reason) {
        return Some(hint.trim_start_matches("; ").to_owned());
    }
    if let Some((path, "")) = reason.split_once(": there is no such field") {
        let name = path.rsplit(['.', ' ']).next().unwrap_or(path);
        return nearest_field(name).map(|field| format!("did you mean {field}?"));
    }
    if let Some(hint) = wrong_type(reason) {
        return Some(hint.to_owned());
    }
    if serde_json::from_str::<&Raw>(text).is_ok() {
        // Of a value that has another type than a known text.
        let is_word = reason.ends_with(": expected value");
        return is_word.then(|| "write one of the known words in double quotes".to_owned());
    }
    let is_cut_off = text.starts_with(['{', '[']) && reason.contains("EOF while parsing");
    if is_cut_off && let Some(hint) = syntax_hint(reason) {
        return Some(hint.to_owned());
    }
    let known = MISTAKES.iter().find(|(is, _)| is(text)).map(|(_, hint)| *hint);
    let foreign = || foreign::recognize(text.as_bytes()).map(|it| it.sentence("JSON"));
    let bare_words = || {
        let is_elsewhere = ["EOF", "trailing"].iter().any(|part| reason.contains(part));
        (has_bare_words(text) && !is_elsewhere).then_some(QUOTES)
    };
    let syntax = || syntax_hint(reason);
    known
        .map(str::to_owned)
        .or_else(foreign)
        .or_else(|| bare_words().or_else(syntax).map(str::to_owned))
}

/// What the message of the parser means.
fn syntax_hint(reason: &str) -> Option<&'static str> {
    SYNTAX.iter().find(|(part, _)| reason.contains(part)).map(|(_, hint)| *hint)
}

/// A character that is not seen: outside of texts, or in what the reason quotes.
fn invisible(text: &str, reason: &str) -> Option<String> {
    let outside = || text.split('"').step_by(2).find_map(invisible_character);
    let in_reason = || {
        let is_quoted = |found: char| reason.contains(&found.escape_debug().to_string());
        let is_in = |found: char| reason.contains(found) || is_quoted(found);
        invisible_character(text).filter(|(_, found)| is_in(*found))
    };
    let is_mark = |found: &(usize, char)| *found == (0, '\u{feff}') && text.starts_with('\u{feff}');
    let (_, found) = outside().or_else(in_reason).filter(|found| !is_mark(found))?;
    unusual_character(found)
}

type Raw = serde_json::value::RawValue;

const QUOTES: &str = "texts and keys are in double quotes; a shell removes them unless the payload \
                      is in single quotes: -m '{\"key\": \"text\"}'";

const COMMENT: &str = "there are no comments in JSON; remove them";

const TRAILING_COMMA: &str = "remove the comma before the closing bracket";

/// How a mistake is recognised.
type Condition = fn(&str) -> bool;

/// Mistakes that the text shows; the first that matches counts.
const MISTAKES: &[(Condition, &str)] = &[
    (|text| text.is_empty(), "the payload is empty"),
    (
        |text| text.starts_with('\u{feff}'),
        "the payload begins with a byte order mark (U+FEFF); save it as UTF-8 without it",
    ),
    (
        |text| text.trim_end_matches('\0').len() < text.len() && !has_nul_inside(text),
        "the payload ends with a NUL byte; send the text without it",
    ),
    (|text| json_comment(text).is_some(), COMMENT),
    (
        |text| text.starts_with("apiVersion:") || text.starts_with("workloads:"),
        "this is a manifest; send it to manifest/apply/req",
    ),
    (|text| text.contains(['“', '”', '„', '‘', '’']), "there are typographic quotes; write \""),
    (|text| text.contains('\u{a0}'), "there is a no-break space; replace it by an ordinary one"),
    (|text| has_single_quotes(text), QUOTES),
    (|text| is_yaml(text), "this is YAML; write it as JSON: {\"key\": \"text\"}"),
    (
        |text| ["True", "False", "None"].iter().any(|word| has_word(text, word)),
        "this is Python; write true, false or null, or use json.dumps",
    ),
    (|text| has_trailing_comma(text), TRAILING_COMMA),
    (|text| has_comment(text), COMMENT),
];

/// Mistakes that the message of the parser shows.
const SYNTAX: &[(&str, &str)] = &[
    ("trailing comma", TRAILING_COMMA),
    ("trailing characters", "send one JSON value, with nothing after it"),
    (
        "EOF while parsing",
        "it ends too early, so it is probably cut off; close each quote and bracket",
    ),
    ("recursion limit", "it is nested too deeply"),
    (
        "control character",
        "write a line break in a text as \\n, and other such characters as \\u001b",
    ),
    ("invalid escape", "in a text, write \\ as \\\\"),
    ("expected `,` or", "a comma between two items, or the closing bracket, is missing"),
    ("expected `:`", "the colon after the key is missing"),
    ("key must be a string", QUOTES),
    ("expected value", QUOTES),
    ("expected ident", "write true, false, null, or a text in double quotes"),
    ("invalid number", "write numbers as 10 or 1.5, and texts in double quotes"),
];

/// The form of a value that has another type.
fn wrong_type(reason: &str) -> Option<&'static str> {
    let (_, types) = reason.split_once("invalid type: ")?;
    let (found, expected) = types.split_once(", expected ")?;
    let found = found.split('`').next().unwrap_or(found).trim_end();
    let is_number = expected.starts_with("a whole number");
    Some(match found {
        "string" if expected == "an array" => "write a list: [\"text\"]",
        "string" if is_number => "write the number without quotes",
        "string" if expected == "a boolean" => "write true or false without quotes",
        "number" | "boolean" if expected == "a string" => "put the value in double quotes",
        "null" if expected != "an object" => "leave the field out, or give it a value",
        _ => return None,
    })
}

fn has_nul_inside(text: &str) -> bool {
    text.trim_end_matches('\0').contains('\0')
}

/// Whether texts are in single quotes.
fn has_single_quotes(text: &str) -> bool {
    let inside = text.trim_start_matches(['{', '[', ' ', '\n']);
    inside.starts_with('\'')
}

/// Whether the text begins with `key: value` or `- item`.
fn is_yaml(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim_start().starts_with('#')).unwrap_or_default();
    let key = first.split_once(':').filter(|(_, value)| value.is_empty() || value.starts_with(' '));
    let is_key =
        |key: &str| is_word(key) && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    first.starts_with("- ") || first == "---" || key.is_some_and(|(key, _)| is_key(key))
}

/// Whether a text begins with a letter.
fn is_word(text: &str) -> bool {
    text.starts_with(char::is_alphabetic)
}

/// Whether a comma before a closing bracket stands outside of double quotes.
fn has_trailing_comma(text: &str) -> bool {
    text.split('"').step_by(2).any(|part| {
        let dense: String = part.split_whitespace().collect();
        dense.contains(",}") || dense.contains(",]")
    })
}

/// Whether a word stands outside of double quotes.
fn has_word(text: &str, word: &str) -> bool {
    let outside = text.split('"').step_by(2);
    let is_word = |part: &str| part.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
    outside.into_iter().any(is_word)
}

/// Whether a comment of YAML stands outside of double quotes.
fn has_comment(text: &str) -> bool {
    let mut outside = text.split('"').step_by(2);
    outside.any(|part| part.contains('#'))
}

/// Whether words other than those of JSON stand outside of double quotes.
fn has_bare_words(text: &str) -> bool {
    let mut outside = text.split('"').step_by(2);
    let is_bare = |word: &str| is_word(word) && !["true", "false", "null"].contains(&word);
    outside.any(|part| part.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(is_bare))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::requests::{
        ConfirmRequest, EventsRequest, HistoryRequest, LogsRequest, RollbackRequest, StateRequest,
        StateUpdateRequest, UnsubscribeRequest, WorkloadWaitRequest,
    };

    fn message(payload: &[u8]) -> String {
        let error = LogsRequest::parse(payload).unwrap_err();
        for position in ["line", "column"] {
            assert!(error.details.contains_key(position), "{}", error.message);
        }
        assert!(!error.message.contains("?:"), "{}", error.message);
        assert!(error.message.contains("expected {\"workloads\": "), "{}", error.message);
        error.message
    }

    #[test]
    fn mistakes_have_hints() {
        let utf16: Vec<u8> = "[\"a\"]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let deep = "[".repeat(1000);
        for (payload, part) in [
            (&b""[..], "the payload is empty"),
            (b" \n", "the payload is empty"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"{\"workloads\": [\"a\"]}\0", "NUL byte"),
            (&utf16, "UTF-16"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"{\"workloads\": [\"\xfc\"]}", "ISO-8859-1"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"<html>", "a web page"),
            (b"404: Not Found", "a web server"),
            (b"request.json", "mosquitto_pub -f FILE"),
            (b"apiVersion: v1\nworkloads: {}", "manifest/apply/req"),
            (b"workloads:\n  - a\n", "manifest/apply/req"),
            (b"id: x\nworkloads: [a]\n", "this is YAML"),
            (b"- a\n- b\n", "this is YAML"),
            (b"{'workloads': ['a']}", "double quotes"),
            (b"{workloads: [a]}", "double quotes"),
            (b"{bad", "double quotes"),
            (b"nginx", "double quotes"),
            ("{“workloads”: []}".as_bytes(), "typographic quotes"),
            ("{\"workloads\":\u{a0}[]}".as_bytes(), "no-break space"),
            (b"{\"workloads\": [\"a\"], \"follow\": True}", "Python"),
            (b"{\"workloads\": [\"a\"], // all\n}", "comments"),
            (b"// None of these: \"a\"\n{\"workloads\": [\"a\"]}", "comments"),
            (b"{\"workloads\": [\"a\"] /* True */}", "comments"),
            (b"{\"workloads\": [\"http://a", "probably cut off"),
            (b"{\"workloads\": [\"a\"],", "probably cut off"),
            ("{\u{200b}\"workloads\": [\"a\"]}".as_bytes(), "a zero-width space (U+200B)"),
            ("{\"work\u{200b}loads\": [\"a\"]}".as_bytes(), "a zero-width space (U+200B)"),
            ("{\"workloads\": [\"a\"]}\u{feff}".as_bytes(), "a byte order mark (U+FEFF)"),
            ("\u{feff}\u{feff}{}".as_bytes(), "a byte order mark (U+FEFF)"),
            (b"{\"workloads\": [\"a\",]}", "remove the comma"),
            (b"{\"workloads\": [\"a\"],}", "remove the comma"),
            (b"{\"workloads\": [\"a\"]} {}", "one JSON value"),
            (b"{\"workloads\": [\"a\"]} x", "one JSON value"),
            (b"{\"workloads\": [\"a\"", "close each quote and bracket"),
            (b"{\"workloads\": [\"a\" \"b\"]}", "a comma between"),
            (b"{\"workloads\" [\"a\"]}", "the colon after the key"),
            (b"{\"workloads\": [\"a\nb\"]}", "write a line break"),
            (b"{\"workload\": [\"a\"]}", "did you mean workloads?"),
            (b"{\"workloads\": [\"a\"], \"Follow\": true}", "did you mean follow?"),
            (b"{\"workloads\": \"a\"}", "write a list"),
            (b"{\"workloads\": [\"a\"], \"tail\": \"10\"}", "without quotes"),
            (b"{\"workloads\": [\"a\"], \"follow\": \"yes\"}", "true or false"),
            (b"{\"workloads\": [\"a\"], \"since\": 5}", "in double quotes"),
            (b"{\"workloads\": null}", "give it a value"),
            (deep.as_bytes(), ""),
        ] {
            let message = message(payload);
            assert!(message.contains(part), "{payload:?}: {message}");
            assert!(message.len() < 2000);
        }
        assert!(StateRequest::parse(b"{bad").unwrap_err().message.starts_with("key must be a"));
        let message = StateRequest::parse(br#"{"format": "SDK"}"#).unwrap_err().message;
        assert!(message.contains("did you mean sdk?"), "{message}");
    }

    /// Names of types, and words that only Rust has.
    const RUST: [&str; 8] =
        ["struct", "Fields", "Request", "sequence", " map", "u64", "i32", "elements"];

    #[test]
    fn a_value_of_the_wrong_type_is_refused_in_terms_of_json() {
        let values =
            ["42", "1.5", "\"x\"", "null", "true", "[]", "[1]", "[[]]", "{}", "{\"a\": 1}"];
        for value in values {
            let payload = value.as_bytes();
            for error in [
                StateRequest::parse(payload).err(),
                EventsRequest::parse(payload).err(),
                LogsRequest::parse(payload).err(),
                WorkloadWaitRequest::parse(payload).err(),
                StateUpdateRequest::parse(payload).err(),
                UnsubscribeRequest::parse(payload).err(),
                ConfirmRequest::parse(payload).err(),
                HistoryRequest::parse(payload).err(),
                RollbackRequest::parse(payload).err(),
            ] {
                let Some(error) = error else { continue };
                let reason = error.message.split("; expected").next().unwrap();
                assert!(
                    !RUST.iter().any(|word| reason.contains(word)),
                    "{value}: {}",
                    error.message
                );
                assert!(error.message.contains("; expected "), "{value}: {}", error.message);
            }
            for (field, others) in [
                ("workloads", ""),
                ("follow", ", \"workloads\": [\"a\"]"),
                ("tail", ", \"workloads\": [\"a\"]"),
                ("since", ", \"workloads\": [\"a\"]"),
                ("ttl", ", \"workloads\": [\"a\"]"),
                ("id", ", \"workloads\": [\"a\"]"),
            ] {
                let payload = format!("{{\"{field}\": {value}{others}}}");
                let Err(error) = LogsRequest::parse(payload.as_bytes()) else { continue };
                let reason = error.message.split("; expected").next().unwrap();
                assert!(!RUST.iter().any(|word| reason.contains(word)), "{payload}: {reason}");
            }
        }
        let message = StateRequest::parse(b"42").unwrap_err().message;
        let expected = "it is a number at line 1 column 1; expected an array of field masks such as \
                        [\"workloadStates\"], or {\"field_masks\": ";
        assert!(message.starts_with(expected), "{message}");
        let message = StateRequest::parse(br#"{"format": 3}"#).unwrap_err().message;
        assert!(message.contains("write one of the known words"), "{message}");
        let message = StateRequest::parse(br#"{"field_masks": 3}"#).unwrap_err().message;
        assert!(message.contains("invalid type: number `3`, expected an array"), "{message}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_at_the_beginning() {
        let utf16: Vec<u8> = "[\"a\"]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for payload in [utf16.as_slice(), b"\xff\xfe[\0", b"\x1f\x8b\x08\0", b"a\0\x01\x02\x03\x04"]
        {
            let details = LogsRequest::parse(payload).unwrap_err().details;
            for position in ["line", "column"] {
                assert_eq!(details.get(position), Some(&1.into()), "{payload:?}");
            }
        }
    }

    #[test]
    fn valid_json_with_other_mistakes_is_not_called_broken() {
        let wait = r#"{"workload_name": "a", "state": "#;
        for payload in [
            format!("{wait}\"running\"}}"),
            format!("{wait}\"RUNNING\", \"timeout\": \"x\"}}"),
            format!("{wait}\"RUNNING\", \"agent_name\": \"a.b\"}}"),
        ] {
            let message = WorkloadWaitRequest::parse(payload.as_bytes()).unwrap_err().message;
            assert!(!message.contains("empty") && !message.contains("shell"), "{message}");
        }
        let payload = br#"{"update_mask": [], "state": {}}"#;
        let message = StateUpdateRequest::parse(payload).unwrap_err().message;
        assert!(!message.contains("the payload is empty"), "{message}");
    }

    #[test]
    fn fields_of_a_state_have_hints_and_positions() {
        let error = |workload: &str| {
            let payload = format!(
                "{{\"update_mask\": [\"desiredState.workloads.w\"],\n\"state\": {{\"desiredState\": \
                 {{\"workloads\": {{\"w\":\n{workload}}}}}}}}}"
            );
            let error = StateUpdateRequest::parse(payload.as_bytes()).unwrap_err();
            let number = |key: &str| error.details.get(key).and_then(|value| value.as_u64());
            (error.message.clone(), number("line").unwrap(), number("column").unwrap())
        };
        let (message, line, column) = error("{\"restartpolicy\": \"NEVER\"}");
        let part = "state: desiredState.workloads.w.restartpolicy: there is no such field at line 3 \
                    column 2; did you mean restartPolicy?";
        assert!(message.starts_with(part), "{message}");
        assert_eq!((line, column), (3, 2));
        let (message, line, column) = error("{\"runtime\": \"a\",\n \"agent\": \"a b\"}");
        assert!(message.contains("not a valid agent name"), "{message}");
        assert_eq!((line, column), (4, 15));
        let payload = "{\"update_mask\": [\"x\"],\n\"state\":\n\"x\"}";
        let repeated = StateUpdateRequest::parse(payload.as_bytes()).unwrap_err();
        let line = repeated.details.get("line").and_then(|line| line.as_u64());
        assert_eq!(line, Some(3));
        let (message, line, _) = error("{\"agent\": \"a\",}");
        assert!(message.contains("remove the comma"), "{message}");
        assert_eq!(line, 3);
    }

    #[test]
    fn positions_are_those_in_the_payload() {
        let position = |payload: &str| {
            let details = EventsRequest::parse(payload.as_bytes()).unwrap_err().details;
            let number = |key: &str| details.get(key).and_then(|value| value.as_u64()).unwrap();
            (number("line"), number("column"))
        };
        assert_eq!(position("{bad"), (1, 2));
        assert_eq!(position("\n  {bad"), (2, 4));
        assert_eq!(position("{\n\"id\": \"a b\",\n\"field_masks\": []}"), (2, 11));
        assert_eq!(position("{\n\"id\": \"a\",\n\"field_masks\": []}"), (3, 1));
        assert_eq!(position("\n[]"), (2, 1));
    }

    #[test]
    fn values_are_not_quoted() {
        for payload in ["{\"workloads\": \"SECRET\"}", "\"SECRET\"", "{\"tail\": \"SECRET\"}"] {
            assert!(!message(payload.as_bytes()).contains("SECRET"), "{payload}");
        }
    }
}

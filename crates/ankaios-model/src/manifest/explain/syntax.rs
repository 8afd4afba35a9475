//! Mistakes in the syntax of YAML.

use serde::de::IgnoredAny;

use super::super::outline::{Kind, Node};
use super::super::quotes::TYPOGRAPHIC_QUOTES;
use super::hint::Hint;
use crate::hints::{invisible_character, json_comment, unusual_character};
use crate::line_column::LineColumn;

/// White space that is not white space in YAML, or that is not seen.
fn is_foreign_space(character: char) -> bool {
    unusual_character(character).is_some()
}

/// The first control character that YAML does not allow.
pub(super) fn control_character(text: &str) -> Option<Hint> {
    let is_refused = |c: char| {
        matches!(c, '\0'..'\t' | '\u{b}' | '\u{c}' | '\u{e}'..' ' | '\u{7f}'..='\u{84}'
            | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')
    };
    let (offset, found) = text.char_indices().find(|(_, c)| is_refused(*c))?;
    let name = match found {
        '\0' => "a NUL byte (U+0000)".to_owned(),
        '\u{1b}' => "an escape character (U+001B, as in coloured output)".to_owned(),
        other => format!("the control character U+{:04X}", u32::from(other)),
    };
    let text_of =
        format!("the text contains {name}; remove it, or write it as an escape in double quotes");
    Some(Hint::instead(text_of).at(LineColumn::at(text, offset)))
}

/// A space of typography, in the indentation or after a colon.
pub(super) fn no_break_space(root: &Node) -> Option<Hint> {
    let mut found = None;
    root.visit(&mut |node| {
        let Kind::Scalar { text, plain: true } = &node.kind else { return };
        let after_colon = text.find(':').and_then(|colon| text.get(colon + 1..));
        let is_wrong = text.starts_with(is_foreign_space)
            || text.contains(['\u{a0}', '\u{3000}'])
                && after_colon.is_some_and(|rest| rest.starts_with(is_foreign_space));
        if is_wrong && found.is_none() {
            found = text.chars().find_map(unusual_character).map(|hint| (hint, node.at));
        }
    });
    found.map(|(hint, at)| Hint::new(hint).at(at))
}

/// A character that is not seen, in a key or in what the message quotes.
pub(super) fn invisible(text: &str, message: &str) -> Option<Hint> {
    let in_key = || {
        let mut offset = 0;
        text.split_inclusive('\n').find_map(|line| {
            let begin = offset;
            offset += line.len();
            let key = line.split(':').next().unwrap_or_default();
            invisible_character(key).map(|(at, found)| (begin + at, found))
        })
    };
    let in_message = || {
        let is_quoted = |found: char| message.contains(&found.escape_debug().to_string());
        text.char_indices()
            .find(|(_, found)| unusual_character(*found).is_some() && is_quoted(*found))
    };
    let (offset, found) = in_key().or_else(in_message)?;
    Some(Hint::new(unusual_character(found)?).at(LineColumn::at(text, offset)))
}

/// What is wrong with JSON that is read as YAML, where YAML would say something else.
pub(super) fn json(text: &str) -> Option<Hint> {
    let begin = text.trim_start();
    if !begin.starts_with(['{', '/']) {
        return None;
    }
    if let Some(offset) = json_comment(text) {
        let hint = "there are no comments in JSON; remove them";
        return Some(Hint::instead(hint).at(LineColumn::at(text, offset)));
    }
    let error = serde_json::from_str::<IgnoredAny>(text).err().filter(serde_json::Error::is_eof)?;
    let at = LineColumn { line: error.line(), column: error.column().max(1) };
    let hint = "it ends too early, so it is probably cut off; close each quote and bracket";
    Some(Hint::instead(hint).at(at))
}

/// A template of Helm or Jinja, which was not rendered.
pub(super) fn templates(text: &str) -> Option<Hint> {
    let marks = ["{{-", "-}}", "{{ .Values", "{{ .Release", "{{.Values", "{{ include", "{%"];
    let offset = marks.iter().filter_map(|mark| text.find(mark)).min()?;
    let is_jinja = text.get(offset..).is_some_and(|rest| rest.starts_with("{%"));
    let (what, tool) = match is_jinja {
        true => ("a template (Jinja)", "render it before you send it"),
        false => ("a template of Helm", "render it before you send it: helm template"),
    };
    let message = format!("this is {what}, not a manifest; {tool}");
    Some(Hint::instead(message).at(LineColumn::at(text, offset)))
}

/// Says what is wrong where libyaml stops.
pub(super) fn hint(text: &str, message: &str, position: Option<LineColumn>) -> Option<Hint> {
    let at = position.unwrap_or(LineColumn { line: 1, column: 1 });
    let line = |number: usize| text.split('\n').nth(number.wrapping_sub(1)).unwrap_or_default();
    let this = line(at.line);
    let before = line(at.line.saturating_sub(1));
    let found = this.chars().nth(at.column.saturating_sub(1));
    conflict(text)
        .or_else(|| templates(text))
        .or_else(|| tab(this, at))
        .or_else(|| braces(&[this, before], at))
        .or_else(|| foreign_character(&[this, before], at))
        .or_else(|| open_quote(text, message, at))
        .or_else(|| not_a_field(text, message))
        .or_else(|| by_message(message, [this, before], found))
}

/// The marks of a merge conflict.
fn conflict(text: &str) -> Option<Hint> {
    let mut lines = text.lines().enumerate();
    let marks = ["<<<<<<< ", ">>>>>>> "];
    let (index, _) = lines.find(|(_, line)| marks.iter().any(|mark| line.starts_with(mark)))?;
    let hint = "there is a merge conflict; remove the lines <<<<<<<, ======= and >>>>>>> and one \
                of the two versions";
    Some(Hint::instead(hint).at(LineColumn { line: index + 1, column: 1 }))
}

fn tab(line: &str, at: LineColumn) -> Option<Hint> {
    let indentation = line.len() - line.trim_start().len();
    let column = line.get(..indentation)?.find('\t')? + 1;
    let hint = "there is a tab in the indentation; YAML is indented with spaces only: replace each \
                tab by two spaces (expand -t 2 FILE > NEW)";
    Some(Hint::new(hint).at(LineColumn { column, ..at }))
}

/// A template without quotes.
fn braces(lines: &[&str], at: LineColumn) -> Option<Hint> {
    let (back, line) = lines.iter().enumerate().find(|(_, line)| line.contains("{{"))?;
    let column = line.get(..line.find("{{")?)?.chars().count() + 1;
    let is_block = ["{{#", "{{/", "{{else"].iter().any(|begin| line.contains(begin));
    let hint = if is_block {
        "Ankaios renders templates only in the texts of agent, runtimeConfig and files; blocks \
         such as {{#if}} are possible in runtimeConfig: | only"
    } else {
        "put the whole value in quotes, because braces begin a map: agent: \"{{alias.key}}\""
    };
    Some(Hint::new(hint).at(LineColumn { line: at.line - back.min(at.line - 1), column }))
}

/// A typographic quote or space.
fn foreign_character(lines: &[&str], at: LineColumn) -> Option<Hint> {
    let is_wrong = |c: char| TYPOGRAPHIC_QUOTES.contains(&c) || is_foreign_space(c);
    let find = |line: &str| line.chars().enumerate().find(|(_, c)| is_wrong(*c));
    let (back, (index, found)) =
        lines.iter().enumerate().find_map(|(back, line)| Some((back, find(line)?)))?;
    let line = at.line - back.min(at.line - 1);
    let hint = unusual_character(found)
        .unwrap_or_else(|| "there is a typographic quote; write \" or '".to_owned());
    Some(Hint::new(hint).at(LineColumn { line, column: index + 1 }))
}

/// A quote that is closed by the next one, in another line: where a double quote opens and the
/// line has no second one.
fn open_quote(text: &str, message: &str, at: LineColumn) -> Option<Hint> {
    if !message.contains("did not find expected") {
        return None;
    }
    let is_open = |line: &str| line.matches('"').count() % 2 == 1 && !line.contains("\\\"");
    let mut lines = text.lines().take(at.line).enumerate();
    let (index, line) = lines.find(|(_, line)| is_open(line))?;
    let column = line.get(..line.rfind('"')?)?.chars().count() + 1;
    let hint = "the quote that opens there is not closed";
    (index + 1 < at.line).then(|| Hint::instead(hint).at(LineColumn { line: index + 1, column }))
}

/// A line that is neither a field nor part of a value.
fn not_a_field(text: &str, message: &str) -> Option<Hint> {
    if !message.contains("could not find expected ':'") {
        return None;
    }
    let (_, position) = message.rsplit_once("while scanning a simple key at line ")?;
    let (line, column) = position.split_once(" column ")?;
    let at = LineColumn { line: line.parse().ok()?, column: column.parse().ok()? };
    let line = text.lines().nth(at.line - 1)?.trim();
    let is_shell = ["EOF", "$", "#", ">"].contains(&line) || line.ends_with(['$', '#']);
    let hint = match is_shell {
        true => "this line is from a shell; remove it",
        false => "this line is not a field; write key: value, or remove it",
    };
    Some(Hint::new(hint).at(at))
}

fn by_message(message: &str, [line, before]: [&str; 2], found: Option<char>) -> Option<Hint> {
    let has = |part: &str| message.contains(part);
    let colons = line.matches(": ").count() + usize::from(line.trim_end().ends_with(':'));
    let hint = if has("mapping values are not allowed") {
        if colons >= 2 {
            "a value that contains a colon must be in quotes, or a block: runtimeConfig: | with \
             the text below it"
        } else if !before.contains(':') && !before.trim().is_empty() {
            "the colon after the name in the line before is missing: NAME:"
        } else {
            "the line is indented deeper than the one before; begin the fields of a map in the \
             same column"
        }
    } else if has("cannot start any token") {
        return Some(Hint::new(match found {
            Some(found @ ('@' | '`' | '%')) => {
                format!("a value that begins with {found} must be in quotes")
            }
            _ => "put the value in quotes".to_owned(),
        }));
    } else if has("scanning a quoted scalar") || has("unexpected end of stream") {
        "the quote that opens there is not closed"
    } else if has("unknown escape") {
        "in double quotes, \\ begins an escape: write \\\\, or use single quotes"
    } else if has("unknown anchor") || has("alphabetic or numeric character") {
        "a value that begins with * or & must be in quotes"
    } else if has("expected ',' or") {
        if [line, before].iter().any(|line| line.trim_start().starts_with('/')) {
            "comments in JSON are not possible; in YAML they begin with #"
        } else {
            "a comma between two items, or the closing bracket, is missing"
        }
    } else if has("could not find expected ':'") {
        "a colon and a space are missing in this line or in the one before: key: value"
    } else if has("expected <document start>") {
        "the text is complete before this place; remove the rest, or send it as a separate request"
    } else if has("expected comment or line break") {
        "the text of a block begins in the next line: runtimeConfig: | and the lines below it \
         indented"
    } else if has("did not find expected '-'") {
        "the items of a list begin with - in the same column"
    } else if has("did not find expected key") {
        "begin the fields of a map in the same column, and put a value in quotes if it has quotes \
         at its start or contains a colon"
    } else if has("tag") && found == Some('!') {
        "a value that begins with ! must be in quotes"
    } else if has("recursion limit") {
        "the text is nested too deeply"
    } else {
        return None;
    };
    Some(Hint::new(hint))
}

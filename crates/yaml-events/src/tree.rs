//! The nodes of a YAML text, each with its position, for files that people write.
//!
//! A value that was deserialized has no position, so a mistake in its meaning could not be shown to
//! the person who made it. Anchors, aliases and tags are refused: files of this kind do not need
//! them, and without aliases a small text has no large tree.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Collection, EventData, Mark, YamlEvent, YamlEvents};

/// A position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// Where a text begins.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The position of a byte of a text.
    #[must_use]
    pub fn of_byte(text: &[u8], offset: usize) -> Self {
        let before = String::from_utf8_lossy(text.get(..offset).unwrap_or(text));
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

/// A node and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
}

/// A scalar or a collection.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scalar.
    Scalar {
        /// Its text, without quotes.
        text: String,
        /// Whether it is neither quoted nor a block scalar.
        plain: bool,
    },
    /// The items of a list.
    List(Vec<Node>),
    /// Keys and values of a map, in the order of the text. Keys may be there twice.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Whether it is nothing, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        let nulls = ["", "~", "null", "Null", "NULL"];
        matches!(&self.kind, Kind::Scalar { text, plain: true } if nulls.contains(&text.as_str()))
    }
}

/// What is wrong with a text, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeError {
    /// Where it is.
    pub at: Position,
    /// What it is, and what to write.
    pub reason: String,
}

/// Parses a text with one document whose collections are nested at most `max_depth` deep. `None` if
/// it has no document, or nothing in it.
///
/// # Errors
/// It is not valid YAML, is nested too deeply, has a second document, an anchor, an alias or a tag.
pub fn parse(text: &str, max_depth: usize) -> Result<Option<Node>, TreeError> {
    let mut builder = Builder { max_depth, open: Vec::new(), root: None };
    for event in YamlEvents::new(text) {
        let event = event.map_err(|_| syntax_error(text))?;
        builder.event(&event)?;
    }
    Ok(builder.root.filter(|root| !root.is_null()))
}

/// The iterator does not say what is wrong; the deserializer, with the same libyaml, does.
fn syntax_error(text: &str) -> TreeError {
    let error = serde_yaml::Deserializer::from_str(text)
        .find_map(|document| IgnoredAny::deserialize(document).err());
    let message = error.as_ref().map_or("it ends too early".to_owned(), ToString::to_string);
    // An error in the characters, not in the syntax, has an offset at the end of its text.
    let offset = message.rsplit_once(" at position ").and_then(|(_, it)| it.parse().ok());
    let at = match (offset, error.and_then(|error| error.location())) {
        (None, Some(it)) => Position { line: it.line().max(1), column: it.column().max(1) },
        (offset, _) => Position::of_byte(text.as_bytes(), offset.unwrap_or_default()),
    };
    TreeError { at, reason: format!("it is not valid YAML: {message}") }
}

/// Builds the tree from events.
struct Builder {
    max_depth: usize,
    /// Collections that have begun and not ended, the outermost first, each with the key that
    /// waits for its value.
    open: Vec<(Node, Option<Node>)>,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: &YamlEvent) -> Result<(), TreeError> {
        let Mark { line, column, .. } = event.start();
        let at = Position { line: line + 1, column: column + 1 };
        let refuse = |reason: &str| Err(TreeError { at, reason: reason.to_owned() });
        let kind = match event.data() {
            EventData::DocumentStart if self.root.is_some() => {
                return refuse("a second YAML document begins here; write only one");
            }
            EventData::StreamStart
            | EventData::StreamEnd
            | EventData::DocumentStart
            | EventData::DocumentEnd => return Ok(()),
            EventData::SequenceEnd | EventData::MappingEnd => {
                if let Some((node, _)) = self.open.pop() {
                    self.add(node);
                }
                return Ok(());
            }
            EventData::Alias { .. }
            | EventData::Scalar { anchor: Some(_), .. }
            | EventData::SequenceStart(Collection { anchor: Some(_), .. })
            | EventData::MappingStart(Collection { anchor: Some(_), .. }) => {
                return refuse("anchors and aliases are not supported; write the value");
            }
            EventData::Scalar { tag: Some(_), .. }
            | EventData::SequenceStart(Collection { tag: Some(_), .. })
            | EventData::MappingStart(Collection { tag: Some(_), .. }) => {
                return refuse("tags are not supported; leave the tag out");
            }
            EventData::Scalar { value, plain, .. } => {
                Kind::Scalar { text: String::from_utf8_lossy(value).into_owned(), plain }
            }
            EventData::SequenceStart(_) => Kind::List(Vec::new()),
            EventData::MappingStart(_) => Kind::Map(Vec::new()),
        };
        match kind {
            Kind::Scalar { .. } => self.add(Node { at, kind }),
            _ if self.open.len() >= self.max_depth => {
                return refuse("lists and maps are nested too deeply");
            }
            _ => self.open.push((Node { at, kind }, None)),
        }
        Ok(())
    }

    /// Adds a complete node to the innermost collection.
    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Node { kind: Kind::List(items), .. }, _)) => items.push(node),
            Some((Node { kind: Kind::Map(entries), .. }, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            Some(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn scalar(line: usize, column: usize, text: &str, plain: bool) -> Node {
        let kind = Kind::Scalar { text: text.to_owned(), plain };
        Node { at: Position { line, column }, kind }
    }

    #[test]
    fn each_node_has_its_position() {
        let root = parse("a:\n- 1\n- \"2\"\nb: ~\n", 2).unwrap().unwrap();
        let Kind::Map(entries) = root.kind else { panic!("{root:?}") };
        let list = vec![scalar(2, 3, "1", true), scalar(3, 3, "2", false)];
        let list = Node { at: Position { line: 2, column: 1 }, kind: Kind::List(list) };
        let null = scalar(4, 4, "~", true);
        assert!(null.is_null() && !scalar(1, 1, "~", false).is_null());
        assert_eq!(entries, [(scalar(1, 1, "a", true), list), (scalar(4, 1, "b", true), null)]);
    }

    #[test]
    fn a_text_without_content_has_no_tree() {
        for text in ["", "---\n", "null", "# nothing\n", "~"] {
            assert_eq!(parse(text, 1), Ok(None), "{text}");
        }
    }

    #[test]
    fn mistakes_have_their_position() {
        for (text, line, column, reason) in [
            ("a: {", 2, 1, "it is not valid YAML"),
            ("a: \u{1}", 1, 4, "it is not valid YAML: control characters are not allowed"),
            ("[[[", 1, 3, "nested too deeply"),
            ("a\n---\nb", 2, 1, "a second YAML document"),
            ("a: &x {}\nb: *x\n", 1, 4, "anchors and aliases"),
            ("[*x]", 1, 2, "anchors and aliases"),
            ("a: !!str 1", 1, 4, "tags are not supported"),
        ] {
            let error = parse(text, 2).unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error:?}");
            assert_eq!((error.at.line, error.at.column), (line, column), "{text}: {error:?}");
        }
    }
}

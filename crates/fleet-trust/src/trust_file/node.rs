//! The nodes of a YAML text with their positions.

use serde::Deserialize;
use serde::de::IgnoredAny;
use yaml_events::{Collection, EventData, Mark, YamlEvent, YamlEvents};

use super::mistake::{Mistake, Position};

/// Maximum depth of collections. A trust file has four.
const MAX_DEPTH: usize = 8;

/// A node: a scalar, a list or a map.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A scalar, and whether it has no quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Whether it is nothing, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        let nulls = ["", "~", "null", "Null", "NULL"];
        matches!(&self.kind, Kind::Scalar { text, plain: true } if nulls.contains(&text.as_str()))
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            _ if self.is_null() => "nothing".to_owned(),
            Kind::Scalar { text, plain: true } => format!("{text:?}"),
            Kind::Scalar { text, .. } => format!("{text:?} in quotes"),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }
}

/// Parses a text with one document.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    let mut builder = Builder { open: Vec::new(), root: None };
    for event in YamlEvents::new(text) {
        match event {
            Ok(event) => builder.event(&event)?,
            Err(_) => return Err(syntax_error(text)),
        }
    }
    let first = Position { line: 1, column: 1 };
    builder.root.filter(|root| !root.is_null()).ok_or_else(|| {
        first.mistake("the file is empty; write fleet, version, min_serial, require and roles")
    })
}

/// The iterator gives no reason; the deserializer, with the same libyaml, does.
fn syntax_error(text: &str) -> Mistake {
    let error = serde_yaml::Deserializer::from_str(text)
        .find_map(|document| IgnoredAny::deserialize(document).err());
    let message = error.as_ref().map_or("it ends too early".to_owned(), ToString::to_string);
    // An error in the characters, not in the syntax, has an offset at the end of its text.
    let offset = message.rsplit_once(" at position ").and_then(|(_, it)| it.parse().ok());
    let position = match (offset, error.and_then(|error| error.location())) {
        (None, Some(it)) => Position { line: it.line().max(1), column: it.column().max(1) },
        (offset, _) => Position::of_byte(text.as_bytes(), offset.unwrap_or_default()),
    };
    position.mistake(format!("it is not valid YAML: {message}"))
}

/// Builds the tree from events.
struct Builder {
    /// Collections that have begun and not ended, the outermost first, each with the key that
    /// waits for its value.
    open: Vec<(Node, Option<Node>)>,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: &YamlEvent) -> Result<(), Mistake> {
        let Mark { line, column, .. } = event.start();
        let at = Position { line: line + 1, column: column + 1 };
        let kind = match event.data() {
            EventData::StreamStart | EventData::StreamEnd | EventData::DocumentEnd => return Ok(()),
            EventData::DocumentStart if self.root.is_some() => {
                return Err(at.mistake("a second YAML document begins here; write only one"));
            }
            EventData::DocumentStart => return Ok(()),
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
                return Err(at.mistake("anchors and aliases are not supported; write the value"));
            }
            EventData::Scalar { tag: Some(_), .. }
            | EventData::SequenceStart(Collection { tag: Some(_), .. })
            | EventData::MappingStart(Collection { tag: Some(_), .. }) => {
                return Err(at.mistake("tags are not supported; leave the tag out"));
            }
            EventData::Scalar { value, plain, .. } => {
                Kind::Scalar { text: String::from_utf8_lossy(value).into_owned(), plain }
            }
            EventData::SequenceStart(_) => Kind::List(Vec::new()),
            EventData::MappingStart(_) => Kind::Map(Vec::new()),
        };
        match kind {
            Kind::Scalar { .. } => self.add(Node { at, kind }),
            _ if self.open.len() == MAX_DEPTH => {
                return Err(at.mistake("lists and maps are nested too deeply"));
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

//! Limits for YAML text, checked on libyaml's events before the text is deserialized.
//!
//! The deserializer reads all events of a document before it returns the first value, and
//! libyaml visits all open flow collections (`[`, `{`) at each token: 400 kB of `{a: ` take 40
//! seconds. The deserializer also expands aliases without a limit of size, and takes 200 bytes and
//! more for each node. libyaml yields events while it reads, at most 1 KiB behind what it has read,
//! so this check stops early. A syntax error is not reported here: the deserializer stops at the same
//! place, and has a message for it.

use std::collections::HashMap;

use yaml_events::{Collection, EventData, YamlEvent, YamlEvents};

use super::error::ManifestError;
use crate::line_column::LineColumn;
use crate::node_limit::{MAX_NODES, TooManyNodes};

/// Maximum nesting depth of flow collections.
const MAX_FLOW_DEPTH: usize = 64;

/// Maximum size that aliases may add to the text, in bytes. It is larger than the largest request
/// that Ankaios accepts.
const MAX_ALIAS_SIZE: usize = 2 << 20;

/// Size of a node in addition to its text, in bytes: keys, values and items are objects on the
/// heap.
const NODE_SIZE: usize = 32;

/// The documents of a text.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// The number of documents before the first that is not empty; `None` if there is none.
    pub(super) first: Option<usize>,
    /// Where the second one begins that is not empty.
    pub(super) second: Option<LineColumn>,
    /// The number of documents so far.
    count: usize,
}

/// Checks the limits, and finds the documents that are not empty. A document of white space and
/// comments is empty, as after a `---` at the end.
///
/// # Errors
/// The text exceeds a limit, or contains merge keys or directives other than `%YAML`, which are
/// not supported.
pub(super) fn check(text: &str) -> Result<Documents, ManifestError> {
    check_directives(text, 0)?;
    let mut check = LimitCheck::default();
    for event in YamlEvents::new(text) {
        let Ok(event) = event else {
            // The deserializer finds it, too.
            check.documents.first.get_or_insert_default();
            break;
        };
        check.event(text, &event)?;
    }
    Ok(check.documents)
}

impl Documents {
    /// Counts a document, and looks whether the event is its content.
    fn event(&mut self, event: &YamlEvent) {
        match event.data() {
            EventData::DocumentStart => self.count += 1,
            EventData::Scalar { value: b"", plain: true, anchor: None, tag: None }
            | EventData::StreamStart
            | EventData::StreamEnd
            | EventData::DocumentEnd => {}
            _ => {
                let index = self.count.saturating_sub(1);
                if *self.first.get_or_insert(index) != index && self.second.is_none() {
                    self.second = Some(LineColumn::of_event(event));
                }
            }
        }
    }
}

/// The state of the check between two events.
#[derive(Default)]
struct LimitCheck {
    documents: Documents,
    /// The collections that contain the current event, the outermost first.
    open: Vec<OpenCollection>,
    flow_depth: usize,
    /// Size of all nodes up to the current event, with aliases expanded.
    size: usize,
    /// The number of nodes up to the current event, with aliases expanded.
    count: usize,
    /// The part of `size` that comes from aliases.
    alias_size: usize,
    /// For each anchor the index in `sizes` of its node.
    nodes: HashMap<Vec<u8>, usize>,
    /// The nodes with an anchor.
    sizes: Vec<Extent>,
}

/// How much an alias adds.
#[derive(Clone, Copy, Default)]
struct Extent {
    size: usize,
    count: usize,
}

impl Extent {
    /// While the node is not complete: an alias inside its own node expands without end.
    const ENDLESS: Self = Self { size: usize::MAX, count: usize::MAX };
}

/// A list or map that has begun and not ended.
struct OpenCollection {
    is_flow: bool,
    is_map: bool,
    /// For a map: whether the next node is a key.
    at_key: bool,
    /// Size and number of the nodes before the collection.
    begin: Extent,
    /// Index in `sizes`, if the collection has an anchor.
    node: Option<usize>,
}

impl LimitCheck {
    /// Checks the next event.
    fn event(&mut self, text: &str, event: &YamlEvent) -> Result<(), ManifestError> {
        self.documents.event(event);
        match event.data() {
            EventData::StreamStart | EventData::StreamEnd => {}
            EventData::DocumentStart => self.nodes.clear(),
            EventData::DocumentEnd => check_directives(text, event.end().offset)?,
            EventData::Alias { anchor } => {
                self.start_node();
                let node = self.nodes.get(anchor).and_then(|node| self.sizes.get(*node));
                let Extent { size, count } = node.copied().unwrap_or_default();
                self.size = self.size.saturating_add(size);
                self.alias_size = self.alias_size.saturating_add(size);
                if self.alias_size > MAX_ALIAS_SIZE {
                    return Err(refusal(
                        format!(
                            "the aliases add more than {MAX_ALIAS_SIZE} bytes, use fewer of them"
                        ),
                        event,
                    ));
                }
                self.count(count, event)?;
            }
            EventData::Scalar { anchor, tag, value, plain } => {
                if self.start_node() && plain && value == b"<<" {
                    return Err(refusal(
                        "merge keys (<<) are not part of Ankaios' format, write the fields out",
                        event,
                    ));
                }
                let node = self.register(anchor);
                let begin = self.extent();
                self.grow(tag, value.len());
                self.count(1, event)?;
                self.complete(node, begin);
            }
            EventData::SequenceStart(collection) => self.open(collection, false, event)?,
            EventData::MappingStart(collection) => self.open(collection, true, event)?,
            EventData::SequenceEnd | EventData::MappingEnd => {
                if let Some(OpenCollection { is_flow, begin, node, .. }) = self.open.pop() {
                    self.flow_depth -= usize::from(is_flow);
                    self.complete(node, begin);
                }
            }
        }
        Ok(())
    }

    /// Starts a list or map.
    fn open(
        &mut self,
        Collection { anchor, tag, flow }: Collection<'_>,
        is_map: bool,
        event: &YamlEvent,
    ) -> Result<(), ManifestError> {
        self.start_node();
        self.flow_depth += usize::from(flow);
        if self.flow_depth > MAX_FLOW_DEPTH {
            return Err(refusal(
                format!("brackets are nested more than {MAX_FLOW_DEPTH} deep"),
                event,
            ));
        }
        let node = self.register(anchor);
        let begin = self.extent();
        self.open.push(OpenCollection { is_flow: flow, is_map, at_key: true, begin, node });
        self.grow(tag, 0);
        self.count(1, event)
    }

    /// Starts a node. Returns whether it is the key of a map.
    fn start_node(&mut self) -> bool {
        let Some(map) = self.open.last_mut().filter(|open| open.is_map) else { return false };
        map.at_key = !map.at_key;
        !map.at_key
    }

    /// Registers the anchor of a node that begins.
    fn register(&mut self, anchor: Option<&[u8]>) -> Option<usize> {
        let anchor = anchor?;
        let node = self.sizes.len();
        self.sizes.push(Extent::ENDLESS);
        self.nodes.insert(anchor.to_vec(), node);
        Some(node)
    }

    /// Adds the size of a node.
    fn grow(&mut self, tag: Option<&[u8]>, text: usize) {
        let size = NODE_SIZE + tag.map_or(0, <[u8]>::len) + text;
        self.size = self.size.saturating_add(size);
    }

    /// Adds nodes to their number.
    fn count(&mut self, nodes: usize, event: &YamlEvent) -> Result<(), ManifestError> {
        self.count = self.count.saturating_add(nodes);
        if self.count <= MAX_NODES {
            return Ok(());
        }
        Err(TooManyNodes { at: LineColumn::of_event(event) }.into())
    }

    /// Size and number of the nodes up to the current event.
    fn extent(&self) -> Extent {
        Extent { size: self.size, count: self.count }
    }

    /// Records how much an alias of a node adds that is complete, if the node has an anchor.
    fn complete(&mut self, node: Option<usize>, begin: Extent) {
        let end = self.extent();
        if let Some(extent) = node.and_then(|node| self.sizes.get_mut(node)) {
            let (size, count) = (end.size - begin.size, end.count - begin.count);
            *extent = Extent { size, count };
        }
    }
}

/// An error at the position of an event.
fn refusal(message: impl Into<String>, event: &YamlEvent) -> ManifestError {
    let LineColumn { line, column } = LineColumn::of_event(event);
    ManifestError::at(message, line, column)
}

/// The characters that end a line for libyaml, in addition to `\r\n`.
const LINE_BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Refuses directives other than `%YAML`. `offset` must be outside of documents.
///
/// libyaml compares each `%TAG` with all others, and reads all of them before the next event:
/// 1 MiB of them takes half a minute.
fn check_directives(text: &str, offset: usize) -> Result<(), ManifestError> {
    let mut end = offset;
    for line in text.get(offset..).unwrap_or_default().split_inclusive(LINE_BREAKS) {
        end += line.len();
        // libyaml skips byte order marks at the start of any line.
        let line = line.trim_start_matches('\u{FEFF}');
        if line.starts_with('%') && !line.starts_with("%YAML") {
            let before = text.get(..end - line.len()).unwrap_or_default().replace("\r\n", "\n");
            return Err(ManifestError::at(
                "directives such as %TAG are not supported in a manifest; remove the line",
                before.matches(LINE_BREAKS).count() + 1,
                1,
            ));
        }
        let is_end_marker =
            line.strip_prefix("...").is_some_and(|rest| rest.trim_start().len() < rest.len());
        let rest = line.trim_start();
        if !(rest.is_empty() || rest.starts_with(['#', '%']) || is_end_marker) {
            break;
        }
    }
    Ok(())
}

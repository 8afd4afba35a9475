//! Limits on a YAML text, checked on libyaml's events before the text is read.
//!
//! The reader takes all events of a document before it returns the first value, and
//! libyaml looks at every open flow collection (`[`, `{`) at every token: 400 kB of
//! `{a: ` take it 40 seconds. It also follows aliases whatever their size. The events
//! come while libyaml reads, at most 1 KiB behind, so both end here in time. What is
//! no YAML is left to the reader, which stops at the same place and says why.

use std::collections::HashMap;

use yaml_events::{Collection, Data, Event, Events};

use super::error::ManifestError;

/// Maximum number of flow collections within each other.
const MAX_FLOW_DEPTH: usize = 64;

/// What the aliases of a text may add to it, in bytes. More than Ankaios takes in
/// one request in any case.
const MAX_ADDED: usize = 8 << 20;

/// What a node costs beside its text: keys, values and items are small objects
/// on the heap.
const NODE: usize = 32;

/// Checks the limits. Returns whether there is something other than blanks and
/// comments.
///
/// # Errors
/// Refuses a text that goes beyond them, and what the reader would take for something
/// else: merge keys, and directives other than `%YAML`.
pub(super) fn check(text: &str) -> Result<bool, ManifestError> {
    check_directives(text, 0)?;
    let mut check = Check::default();
    for event in Events::new(text) {
        let Ok(event) = event else { return Ok(true) };
        check.event(text, &event)?;
    }
    Ok(check.has_content)
}

#[derive(Default)]
struct Check {
    has_content: bool,
    /// The collections around the event, the outermost first.
    open: Vec<Open>,
    flow_depth: usize,
    /// The size of all nodes so far, with what aliases stand for.
    size: usize,
    /// What aliases have added to it.
    added: usize,
    /// The nodes that aliases may name.
    nodes: HashMap<Vec<u8>, usize>,
    /// Their sizes; `usize::MAX` for one that is not complete, as an alias within the
    /// node that it names has no end.
    sizes: Vec<usize>,
}

/// A list or map that has begun.
struct Open {
    is_flow: bool,
    is_map: bool,
    /// Of a map: whether its next node is a key.
    at_key: bool,
    /// The size of all before it.
    begin: usize,
    node: Option<usize>,
}

impl Check {
    fn event(&mut self, text: &str, event: &Event) -> Result<(), ManifestError> {
        match event.data() {
            Data::StreamStart | Data::StreamEnd => {}
            Data::DocumentStart => {
                self.has_content = true;
                self.nodes.clear();
            }
            Data::DocumentEnd => check_directives(text, event.end().offset)?,
            Data::Alias { anchor } => {
                self.is_key();
                let node = self.nodes.get(anchor).and_then(|node| self.sizes.get(*node));
                let size = node.copied().unwrap_or_default();
                self.size = self.size.saturating_add(size);
                self.added = self.added.saturating_add(size);
                if self.added > MAX_ADDED {
                    return Err(refusal(
                        format!("the aliases add more than {MAX_ADDED} bytes, use fewer of them"),
                        event,
                    ));
                }
            }
            Data::Scalar { anchor, tag, value, plain } => {
                if self.is_key() && plain && value == b"<<" {
                    return Err(refusal(
                        "merge keys (<<) are not part of Ankaios' format, write the fields out",
                        event,
                    ));
                }
                let node = self.name(anchor);
                let begin = self.size;
                self.grow(tag, value.len());
                self.complete(node, begin);
            }
            Data::SequenceStart(collection) => self.open(collection, false, event)?,
            Data::MappingStart(collection) => self.open(collection, true, event)?,
            Data::SequenceEnd | Data::MappingEnd => {
                if let Some(Open { is_flow, begin, node, .. }) = self.open.pop() {
                    self.flow_depth -= usize::from(is_flow);
                    self.complete(node, begin);
                }
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        Collection { anchor, tag, flow }: Collection<'_>,
        is_map: bool,
        event: &Event,
    ) -> Result<(), ManifestError> {
        self.is_key();
        self.flow_depth += usize::from(flow);
        if self.flow_depth > MAX_FLOW_DEPTH {
            return Err(refusal(
                format!("brackets are nested more than {MAX_FLOW_DEPTH} deep"),
                event,
            ));
        }
        let node = self.name(anchor);
        self.open.push(Open { is_flow: flow, is_map, at_key: true, begin: self.size, node });
        self.grow(tag, 0);
        Ok(())
    }

    /// Whether the node that begins is the key of a map.
    fn is_key(&mut self) -> bool {
        let Some(map) = self.open.last_mut().filter(|open| open.is_map) else { return false };
        map.at_key = !map.at_key;
        !map.at_key
    }

    /// Lets aliases name the node that begins.
    fn name(&mut self, anchor: Option<&[u8]>) -> Option<usize> {
        let anchor = anchor?;
        let node = self.sizes.len();
        self.sizes.push(usize::MAX);
        self.nodes.insert(anchor.to_vec(), node);
        Some(node)
    }

    fn grow(&mut self, tag: Option<&[u8]>, text: usize) {
        let size = NODE + tag.map_or(0, <[u8]>::len) + text;
        self.size = self.size.saturating_add(size);
    }

    /// Notes the size of the node that has begun at `begin`, if aliases may name it.
    fn complete(&mut self, node: Option<usize>, begin: usize) {
        if let Some(size) = node.and_then(|node| self.sizes.get_mut(node)) {
            *size = self.size - begin;
        }
    }
}

fn refusal(message: impl Into<String>, event: &Event) -> ManifestError {
    let start = event.start();
    ManifestError::at(message, start.line + 1, start.column + 1)
}

/// What libyaml takes for the end of a line, beside `\r\n`.
const LINE_BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Refuses a directive that is not `%YAML`, from an offset where no document is open.
///
/// libyaml compares each `%TAG` with all others, and reads them before its next event:
/// 1 MiB of them takes half a minute.
fn check_directives(text: &str, offset: usize) -> Result<(), ManifestError> {
    let mut end = offset;
    for line in text.get(offset..).unwrap_or_default().split_inclusive(LINE_BREAKS) {
        if line.starts_with('%') && !line.starts_with("%YAML") {
            let before = text.get(..end).unwrap_or_default().replace("\r\n", "\n");
            return Err(ManifestError::at(
                "directives such as %TAG have no place in a manifest; remove the line",
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
        end += line.len();
    }
    Ok(())
}

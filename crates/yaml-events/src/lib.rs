//! libyaml's parser events and their positions in the text, as a safe iterator.
//!
//! ```text
//!  text ──► libyaml (libyaml-rs) ──► YamlEvents ──► YamlEvent: EventData, start and end (Mark)
//! ```
//!
//! `yaml_serde` reads all events of a document before it returns the first value. Code that
//! limits the time that libyaml spends on a text therefore has to look at the events itself. This
//! crate uses the libyaml of `yaml_serde` (`libyaml-rs`, a translation of the C code to Rust) with
//! the same settings: it yields the same events, and ends at the same syntax error. It does not
//! resolve aliases, or write YAML. [`tree`] makes a tree of nodes from the events.
//!
//! No published crate can replace it: `libyaml-safer` is another translation, and panics on text
//! as short as `"\`; `libyaml` has no positions.

pub mod tree;

use std::ffi::CStr;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::slice;

use libyaml_rs as sys;

/// A position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Offset in bytes, from 0.
    pub offset: usize,
    /// Line, from 0.
    pub line: usize,
    /// Column in characters, from 0.
    pub column: usize,
}

/// The type and the content of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventData<'a> {
    /// The text begins.
    StreamStart,
    /// The text ends.
    StreamEnd,
    /// A document begins.
    DocumentStart,
    /// A document ends.
    DocumentEnd,
    /// An alias, `*anchor`.
    Alias {
        /// The name of the anchor.
        anchor: &'a [u8],
    },
    /// A scalar.
    Scalar {
        /// The name of its anchor.
        anchor: Option<&'a [u8]>,
        /// Its tag, with the handle resolved.
        tag: Option<&'a [u8]>,
        /// Its text, without quotes and with escapes decoded.
        value: &'a [u8],
        /// Whether it is a plain scalar: neither quoted nor a block scalar.
        plain: bool,
    },
    /// A list begins.
    SequenceStart(Collection<'a>),
    /// A list ends.
    SequenceEnd,
    /// A map begins.
    MappingStart(Collection<'a>),
    /// A map ends.
    MappingEnd,
}

/// The properties of a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection<'a> {
    /// The name of its anchor.
    pub anchor: Option<&'a [u8]>,
    /// Its tag, with the handle resolved.
    pub tag: Option<&'a [u8]>,
    /// Whether it is a flow collection: written in brackets, or a pair `a: b` in a flow list.
    pub flow: bool,
}

/// The text is not valid YAML from this event on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntaxError;

/// Iterates over the events of a text. Ends after the first error.
pub struct YamlEvents<'a> {
    /// On the heap, and used only through this pointer, because libyaml stores pointers to it.
    parser: *mut sys::yaml_parser_t,
    ended: bool,
    /// libyaml also stores a pointer to the text.
    text: PhantomData<&'a str>,
}

#[allow(unsafe_code)]
impl<'a> YamlEvents<'a> {
    /// The events of `text`.
    pub fn new(text: &'a str) -> Self {
        let parser: *mut sys::yaml_parser_t =
            Box::into_raw(Box::new(MaybeUninit::<sys::yaml_parser_t>::uninit())).cast();
        // SAFETY: `parser` is valid for writes, and there is no other pointer to it. The first
        // function initializes all of it, so the other two get an initialized parser. The text is
        // valid for its length, and outlives `Self`, the only user of the parser.
        let initialized = unsafe {
            let initialized = sys::yaml_parser_initialize(parser).ok;
            if initialized {
                sys::yaml_parser_set_encoding(parser, sys::YAML_UTF8_ENCODING);
                sys::yaml_parser_set_input_string(parser, text.as_ptr(), text.len() as u64);
            }
            initialized
        };
        // It fails only without memory, and then the allocator aborts the process.
        assert!(initialized, "libyaml cannot be initialized");
        Self { parser, ended: false, text: PhantomData }
    }
}

#[allow(unsafe_code)]
impl Iterator for YamlEvents<'_> {
    type Item = Result<YamlEvent, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut event = MaybeUninit::uninit();
        // SAFETY: `parser` was initialized by `new`, and is not used by others, because `self` is
        // borrowed mutably.
        if unsafe { sys::yaml_parser_parse(self.parser, event.as_mut_ptr()) }.fail {
            self.ended = true;
            return Some(Err(SyntaxError));
        }
        // SAFETY: libyaml initializes the whole event before it returns success.
        let event = YamlEvent(unsafe { event.assume_init() });
        self.ended = event.0.type_ == sys::YAML_STREAM_END_EVENT;
        Some(Ok(event))
    }
}

impl FusedIterator for YamlEvents<'_> {}

#[allow(unsafe_code)]
impl Drop for YamlEvents<'_> {
    fn drop(&mut self) {
        // SAFETY: `new` initialized `parser` and created it from a box of this type. Events own
        // their content, so none has a pointer into the parser.
        unsafe {
            sys::yaml_parser_delete(self.parser);
            drop(Box::from_raw(self.parser.cast::<MaybeUninit<sys::yaml_parser_t>>()));
        }
    }
}

/// An event. Owns its content, independently of the iterator.
pub struct YamlEvent(sys::yaml_event_t);

#[allow(unsafe_code)]
impl YamlEvent {
    /// Where the event begins. That is at its anchor or tag, if it has one.
    pub fn start(&self) -> Mark {
        mark(self.0.start_mark)
    }

    /// Where the event ends.
    pub fn end(&self) -> Mark {
        mark(self.0.end_mark)
    }

    /// The type and the content of the event.
    pub fn data(&self) -> EventData<'_> {
        let data = &self.0.data;
        // SAFETY: each arm reads the field of the union that libyaml writes for this type of
        // event. Anchors and tags are null or C strings, and the value has the stated length.
        // They are freed together with the event, which the result borrows.
        unsafe {
            match self.0.type_ {
                sys::YAML_STREAM_START_EVENT => EventData::StreamStart,
                sys::YAML_DOCUMENT_START_EVENT => EventData::DocumentStart,
                sys::YAML_DOCUMENT_END_EVENT => EventData::DocumentEnd,
                sys::YAML_ALIAS_EVENT => {
                    EventData::Alias { anchor: bytes(&data.alias.anchor).unwrap_or_default() }
                }
                sys::YAML_SCALAR_EVENT => EventData::Scalar {
                    anchor: bytes(&data.scalar.anchor),
                    tag: bytes(&data.scalar.tag),
                    value: slice::from_raw_parts(data.scalar.value, data.scalar.length as usize),
                    plain: data.scalar.style == sys::YAML_PLAIN_SCALAR_STYLE,
                },
                sys::YAML_SEQUENCE_START_EVENT => EventData::SequenceStart(Collection {
                    anchor: bytes(&data.sequence_start.anchor),
                    tag: bytes(&data.sequence_start.tag),
                    flow: data.sequence_start.style == sys::YAML_FLOW_SEQUENCE_STYLE,
                }),
                sys::YAML_SEQUENCE_END_EVENT => EventData::SequenceEnd,
                sys::YAML_MAPPING_START_EVENT => EventData::MappingStart(Collection {
                    anchor: bytes(&data.mapping_start.anchor),
                    tag: bytes(&data.mapping_start.tag),
                    flow: data.mapping_start.style == sys::YAML_FLOW_MAPPING_STYLE,
                }),
                sys::YAML_MAPPING_END_EVENT => EventData::MappingEnd,
                // `YAML_STREAM_END_EVENT`: there is no other type, and libyaml yields no event
                // without a type.
                _ => EventData::StreamEnd,
            }
        }
    }
}

#[allow(unsafe_code)]
impl Drop for YamlEvent {
    fn drop(&mut self) {
        // SAFETY: the event was initialized by libyaml, and is deleted only here.
        unsafe { sys::yaml_event_delete(&raw mut self.0) }
    }
}

fn mark(mark: sys::yaml_mark_t) -> Mark {
    Mark { offset: mark.index as usize, line: mark.line as usize, column: mark.column as usize }
}

/// The bytes of a C string; `None` if the pointer is null.
///
/// # Safety
/// The pointer must be null, or point to a C string that is valid while the pointer is borrowed.
#[allow(unsafe_code)]
unsafe fn bytes(pointer: &*mut u8) -> Option<&[u8]> {
    // SAFETY: the caller guarantees it.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer.cast_const().cast()) }.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events in a short notation, with line and column of their start.
    fn events(text: &str) -> Vec<String> {
        let short = |event: YamlEvent| {
            let Mark { line, column, .. } = event.start();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let property = |sign, bytes: Option<&[u8]>| {
                bytes.map(|bytes| format!(" {sign}{}", text(bytes))).unwrap_or_default()
            };
            let start = |open: [&str; 2], Collection { anchor, tag, flow }| {
                format!(
                    "{}{}{}",
                    open[usize::from(flow)],
                    property('&', anchor),
                    property('!', tag)
                )
            };
            let data = match event.data() {
                EventData::StreamStart => "stream".to_owned(),
                EventData::StreamEnd => "end".to_owned(),
                EventData::DocumentStart => "---".to_owned(),
                EventData::DocumentEnd => "...".to_owned(),
                EventData::Alias { anchor } => format!("*{}", text(anchor)),
                EventData::Scalar { anchor, tag, value, plain } => format!(
                    "{}{}{}{}",
                    if plain { "=" } else { "'" },
                    text(value),
                    property('&', anchor),
                    property('!', tag)
                ),
                EventData::SequenceStart(collection) => start(["+seq", "["], collection),
                EventData::SequenceEnd => "-seq".to_owned(),
                EventData::MappingStart(collection) => start(["+map", "{"], collection),
                EventData::MappingEnd => "-map".to_owned(),
            };
            format!("{data} {line}:{column}")
        };
        YamlEvents::new(text)
            .map(|event| event.map_or_else(|SyntaxError| "error".to_owned(), short))
            .collect()
    }

    #[test]
    fn events_have_data_and_position() {
        assert_eq!(
            events("a: &x [é, !t {b: \"\\0\"}, c: d]\n*x : |\n  text\n...\n---\n- *y\n"),
            [
                "stream 0:0",
                "--- 0:0",
                "+map 0:0",
                "=a 0:0",
                "[ &x 0:3",
                "=é 0:7",
                "{ !!t 0:10",
                "=b 0:14",
                "'\0 0:17",
                "-map 0:21",
                "{ 0:24",
                "=c 0:24",
                "=d 0:27",
                "-map 0:28",
                "-seq 0:28",
                "*x 1:0",
                "'text\n 1:5",
                "-map 3:0",
                "... 3:0",
                "--- 4:0",
                "+seq 5:0",
                "*y 5:2",
                "-seq 6:0",
                "... 6:0",
                "end 6:0",
            ]
        );
    }

    #[test]
    fn offsets_are_in_bytes() {
        let mut events = YamlEvents::new("é: ü").flatten().skip(3);
        let ends: Vec<_> = events.by_ref().take(2).map(|event| event.end().offset).collect();
        assert_eq!(ends, [2, 6]);
    }

    #[test]
    fn the_iterator_ends_after_an_error() {
        assert_eq!(events("[a\0"), ["error"]);
        assert_eq!(events("@"), ["stream 0:0", "error"]);
        assert_eq!(events("- a\n- @"), ["stream 0:0", "--- 0:0", "+seq 0:0", "=a 0:2", "error"]);
        assert_eq!(events(""), ["stream 0:0", "end 0:0"]);
        let mut events = YamlEvents::new("@");
        assert_eq!(events.by_ref().count(), 2);
        assert!(events.next().is_none());
    }

    /// The iterator may be dropped before its end, and before its events.
    #[test]
    fn events_outlive_the_iterator() {
        let mut events = YamlEvents::new("{a: [b, &c !d e, *c]}");
        let first: Vec<_> = events.by_ref().take(7).flatten().collect();
        drop(events);
        let last = first.last().map(YamlEvent::data);
        let expected =
            EventData::Scalar { anchor: Some(b"c"), tag: Some(b"!d"), value: b"e", plain: true };
        assert_eq!(last, Some(expected));
    }

    /// `libyaml-safer` panics on these.
    #[test]
    fn malformed_short_text_causes_no_panic() {
        for text in ["\"\\", "|\n #", "a: ''|\n 0", "{? ,!!str,!", "[? !<x>,- ,- ,- a\n"] {
            assert!(YamlEvents::new(text).count() > 0, "{text:?}");
        }
    }
}

//! The events of libyaml and where they are in the text, one at a time.
//!
//! `yaml_serde` reads all events of a document before it hands on the first value,
//! so a limit on what libyaml spends time on must look at the events themselves.
//! This is a safe iterator over the libyaml that `yaml_serde` uses (`libyaml-rs`,
//! a translation of the C code to Rust), set up in the same way: it yields the same
//! events, and ends at the same syntax error.
//!
//! No published crate does. `libyaml-safer` is another translation, and panics on
//! texts as short as `"\`; `libyaml` tells no positions.

use std::ffi::CStr;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::slice;

use libyaml_rs as sys;

/// A place in the text, as libyaml counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// In bytes, from 0.
    pub offset: usize,
    /// From 0.
    pub line: usize,
    /// In characters, from 0.
    pub column: usize,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// The text begins.
    StreamStart,
    /// The text ends.
    StreamEnd,
    /// A document begins.
    DocumentStart,
    /// A document ends.
    DocumentEnd,
    /// `*anchor`.
    Alias {
        /// The name.
        anchor: &'a [u8],
    },
    /// Text.
    Scalar {
        /// The name that aliases use.
        anchor: Option<&'a [u8]>,
        /// The tag, with its handle resolved.
        tag: Option<&'a [u8]>,
        /// The text that is meant, without quotes and escapes.
        value: &'a [u8],
        /// Whether it is neither quoted nor a block.
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

/// What stands at the start of a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection<'a> {
    /// The name that aliases use.
    pub anchor: Option<&'a [u8]>,
    /// The tag, with its handle resolved.
    pub tag: Option<&'a [u8]>,
    /// Whether it is written with brackets, or is a pair `a: b` in a list that is.
    pub flow: bool,
}

/// The text is no YAML to libyaml from some place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntaxError;

/// The events of a text. Ends after the first error.
pub struct Events<'a> {
    /// On the heap and only used through this pointer: libyaml keeps a pointer to it.
    parser: *mut sys::yaml_parser_t,
    ended: bool,
    /// libyaml keeps a pointer to the text as well.
    text: PhantomData<&'a str>,
}

#[allow(unsafe_code)]
impl<'a> Events<'a> {
    /// The events of `text`.
    pub fn new(text: &'a str) -> Self {
        let parser: *mut sys::yaml_parser_t =
            Box::into_raw(Box::new(MaybeUninit::<sys::yaml_parser_t>::uninit())).cast();
        // SAFETY: `parser` is valid for writes, and nobody else has it. Initializing
        // writes all of it; the other two functions get what is initialized. The text
        // is valid for its length and outlives `Self`, which is the only way to make
        // libyaml read it.
        let initialized = unsafe {
            let initialized = sys::yaml_parser_initialize(parser).ok;
            if initialized {
                sys::yaml_parser_set_encoding(parser, sys::YAML_UTF8_ENCODING);
                sys::yaml_parser_set_input_string(parser, text.as_ptr(), text.len() as u64);
            }
            initialized
        };
        // It has no other way to fail than to run out of memory, which ends the process.
        assert!(initialized, "libyaml does not initialize");
        Self { parser, ended: false, text: PhantomData }
    }
}

#[allow(unsafe_code)]
impl Iterator for Events<'_> {
    type Item = Result<Event, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut event = MaybeUninit::uninit();
        // SAFETY: `parser` is initialized, see `new`, and not in use elsewhere, as
        // `self` is borrowed for writing.
        if unsafe { sys::yaml_parser_parse(self.parser, event.as_mut_ptr()) }.fail {
            self.ended = true;
            return Some(Err(SyntaxError));
        }
        // SAFETY: libyaml writes all of an event before it reports success.
        let event = Event(unsafe { event.assume_init() });
        self.ended = event.0.type_ == sys::YAML_STREAM_END_EVENT;
        Some(Ok(event))
    }
}

impl FusedIterator for Events<'_> {}

#[allow(unsafe_code)]
impl Drop for Events<'_> {
    fn drop(&mut self) {
        // SAFETY: `parser` is initialized and comes from a box of this type, see `new`.
        // Events own what they point to, so none is left with a pointer into it.
        unsafe {
            sys::yaml_parser_delete(self.parser);
            drop(Box::from_raw(self.parser.cast::<MaybeUninit<sys::yaml_parser_t>>()));
        }
    }
}

/// An event. Owns its texts.
pub struct Event(sys::yaml_event_t);

#[allow(unsafe_code)]
impl Event {
    /// Where it begins: where its anchor or tag does, if it has one.
    pub fn start(&self) -> Mark {
        mark(self.0.start_mark)
    }

    /// Where it ends.
    pub fn end(&self) -> Mark {
        mark(self.0.end_mark)
    }

    /// What it says.
    pub fn data(&self) -> Data<'_> {
        let data = &self.0.data;
        // SAFETY: each arm reads the field of the union that libyaml writes for the
        // type. Anchors and tags are null or C strings, the value has the length that
        // it states; they are freed with the event only, which the result borrows.
        unsafe {
            match self.0.type_ {
                sys::YAML_STREAM_START_EVENT => Data::StreamStart,
                sys::YAML_DOCUMENT_START_EVENT => Data::DocumentStart,
                sys::YAML_DOCUMENT_END_EVENT => Data::DocumentEnd,
                sys::YAML_ALIAS_EVENT => {
                    Data::Alias { anchor: bytes(&data.alias.anchor).unwrap_or_default() }
                }
                sys::YAML_SCALAR_EVENT => Data::Scalar {
                    anchor: bytes(&data.scalar.anchor),
                    tag: bytes(&data.scalar.tag),
                    value: slice::from_raw_parts(data.scalar.value, data.scalar.length as usize),
                    plain: data.scalar.style == sys::YAML_PLAIN_SCALAR_STYLE,
                },
                sys::YAML_SEQUENCE_START_EVENT => Data::SequenceStart(Collection {
                    anchor: bytes(&data.sequence_start.anchor),
                    tag: bytes(&data.sequence_start.tag),
                    flow: data.sequence_start.style == sys::YAML_FLOW_SEQUENCE_STYLE,
                }),
                sys::YAML_SEQUENCE_END_EVENT => Data::SequenceEnd,
                sys::YAML_MAPPING_START_EVENT => Data::MappingStart(Collection {
                    anchor: bytes(&data.mapping_start.anchor),
                    tag: bytes(&data.mapping_start.tag),
                    flow: data.mapping_start.style == sys::YAML_FLOW_MAPPING_STYLE,
                }),
                sys::YAML_MAPPING_END_EVENT => Data::MappingEnd,
                // There is no other type; an iterator never yields one without a type.
                _ => Data::StreamEnd,
            }
        }
    }
}

#[allow(unsafe_code)]
impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event was written by libyaml, and is deleted nowhere else.
        unsafe { sys::yaml_event_delete(&raw mut self.0) }
    }
}

fn mark(mark: sys::yaml_mark_t) -> Mark {
    Mark { offset: mark.index as usize, line: mark.line as usize, column: mark.column as usize }
}

/// The bytes of a C string, which live as long as what points to them.
///
/// # Safety
/// The pointer must be null, or that of a C string that is valid while it is borrowed.
#[allow(unsafe_code)]
unsafe fn bytes(pointer: &*mut u8) -> Option<&[u8]> {
    // SAFETY: see above.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer.cast_const().cast()) }.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events in short, with line and column of their start.
    fn events(text: &str) -> Vec<String> {
        let short = |event: Event| {
            let Mark { line, column, .. } = event.start();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let name = |sign, bytes: Option<&[u8]>| {
                bytes.map(|bytes| format!(" {sign}{}", text(bytes))).unwrap_or_default()
            };
            let start = |open: [&str; 2], Collection { anchor, tag, flow }| {
                format!("{}{}{}", open[usize::from(flow)], name('&', anchor), name('!', tag))
            };
            let data = match event.data() {
                Data::StreamStart => "stream".to_owned(),
                Data::StreamEnd => "end".to_owned(),
                Data::DocumentStart => "---".to_owned(),
                Data::DocumentEnd => "...".to_owned(),
                Data::Alias { anchor } => format!("*{}", text(anchor)),
                Data::Scalar { anchor, tag, value, plain } => format!(
                    "{}{}{}{}",
                    if plain { "=" } else { "'" },
                    text(value),
                    name('&', anchor),
                    name('!', tag)
                ),
                Data::SequenceStart(collection) => start(["+seq", "["], collection),
                Data::SequenceEnd => "-seq".to_owned(),
                Data::MappingStart(collection) => start(["+map", "{"], collection),
                Data::MappingEnd => "-map".to_owned(),
            };
            format!("{data} {line}:{column}")
        };
        Events::new(text)
            .map(|event| event.map_or_else(|SyntaxError| "error".to_owned(), short))
            .collect()
    }

    #[test]
    fn all_events_have_their_data_and_place() {
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
        let mut events = Events::new("é: ü").flatten().skip(3);
        let ends: Vec<_> = events.by_ref().take(2).map(|event| event.end().offset).collect();
        assert_eq!(ends, [2, 6]);
    }

    #[test]
    fn errors_end_the_events() {
        assert_eq!(events("[a\0"), ["error"]);
        assert_eq!(events("@"), ["stream 0:0", "error"]);
        assert_eq!(events("- a\n- @"), ["stream 0:0", "--- 0:0", "+seq 0:0", "=a 0:2", "error"]);
        assert_eq!(events(""), ["stream 0:0", "end 0:0"]);
        let mut events = Events::new("@");
        assert_eq!(events.by_ref().count(), 2);
        assert!(events.next().is_none());
    }

    /// Events are free of the parser, and both of what is not read.
    #[test]
    fn events_outlive_the_parser() {
        let mut events = Events::new("{a: [b, &c !d e, *c]}");
        let kept: Vec<_> = events.by_ref().take(7).flatten().collect();
        drop(events);
        let last = kept.last().map(Event::data);
        let expected =
            Data::Scalar { anchor: Some(b"c"), tag: Some(b"!d"), value: b"e", plain: true };
        assert_eq!(last, Some(expected));
    }

    /// `libyaml-safer` panics on these.
    #[test]
    fn short_texts_are_no_trouble() {
        for text in ["\"\\", "|\n #", "a: ''|\n 0", "{? ,!!str,!", "[? !<x>,- ,- ,- a\n"] {
            assert!(Events::new(text).count() > 0, "{text:?}");
        }
    }
}

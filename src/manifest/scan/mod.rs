//! A look at the tokens of a YAML text before the real parser gets it.
//!
//! The parser's time grows with the square of the depth of flow collections
//! (`[`, `{`): 400 kB of them take it 40 seconds. So they are counted first, and
//! the count has to be exact: brackets in quotes, comments, plain text and block
//! scalars do not count, however many there are, and none may hide. The scanner
//! below therefore follows the rules of libyaml's own scanner (which is what the
//! parser uses) as to where tokens begin and end, and leaves the rest to it:
//! where libyaml would stop with an error, the scan ends, and the parser reports it.

mod cursor;
mod scalars;

use cursor::Cursor;

/// The deepest nesting of flow collections that is let through.
pub(super) const MAX_FLOW_DEPTH: usize = 64;

/// What a scan has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// There is something other than blanks and comments.
    pub(super) has_content: bool,
    /// There is an alias (`*name`), so the text may stand for more than it holds.
    pub(super) has_alias: bool,
}

/// Why a text is refused, with its line and column, both from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// More than [`MAX_FLOW_DEPTH`] flow collections in each other.
    TooDeep,
    /// A merge key (`<<`), which the parser would take for an unknown field.
    MergeKey,
    /// A directive that is not `%YAML`. Of `%TAG`, libyaml compares each with all
    /// others: 1 MiB of them takes half a minute.
    Directive,
}

/// Scans `text`.
pub(super) fn scan(text: &str) -> Result<Scan, Refusal> {
    let mut scanner = Scanner::new(text.as_bytes());
    while scanner.token()? == Step::Continue {}
    Ok(scanner.found)
}

#[derive(PartialEq, Eq)]
enum Step {
    Continue,
    /// The end of the text, or a place where libyaml stops with an error.
    Stop,
}

/// The start of a possible key without `?`. It is one if `:` follows on the same
/// line within 1024 bytes.
#[derive(Clone, Copy)]
struct SimpleKey {
    position: usize,
    line: usize,
    column: isize,
}

const MAX_SIMPLE_KEY: usize = 1024;

struct Scanner<'a> {
    cursor: Cursor<'a>,
    flow_depth: usize,
    /// The column of the innermost block collection, and of those around it.
    indent: isize,
    outer_indents: Vec<isize>,
    /// Only followed outside of flow collections, where it decides about indentation.
    simple_key: Option<SimpleKey>,
    simple_key_allowed: bool,
    /// Where the last token is the plain scalar `<<`.
    merge_key: Option<(usize, isize)>,
    found: Scan,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            cursor: Cursor::new(text),
            flow_depth: 0,
            indent: -1,
            outer_indents: Vec::new(),
            simple_key: None,
            simple_key_allowed: true,
            merge_key: None,
            found: Scan::default(),
        }
    }

    /// Over the next token.
    fn token(&mut self) -> Result<Step, Refusal> {
        self.skip_to_token();
        if self.flow_depth == 0 {
            self.forget_stale_key();
            self.unroll_indent(self.cursor.column);
        }
        let byte = self.cursor.peek(0);
        if byte == 0 {
            return Ok(Step::Stop);
        }
        self.found.has_content = true;
        let merge_key = self.merge_key.take();
        let in_flow = self.flow_depth > 0;
        let step = match byte {
            b'%' if self.cursor.column == 0 => self.directive()?,
            _ if self.cursor.is_document_marker() => self.document_marker(),
            b'[' | b'{' => self.flow_start()?,
            b']' | b'}' => self.flow_end(),
            b',' => self.separator(),
            b'-' if self.cursor.is_space(1) => self.block_indicator(),
            b'?' if in_flow || self.cursor.is_space(1) => self.block_indicator(),
            b':' if in_flow || self.cursor.is_space(1) => {
                if let Some((line, column)) = merge_key {
                    return Err(Self::refusal(Reason::MergeKey, line, column));
                }
                self.value()
            }
            b'*' | b'&' => self.anchor_or_alias(),
            b'!' => self.tag(),
            b'|' | b'>' if !in_flow => self.block_scalar(),
            b'\'' | b'"' => self.quoted_scalar(byte),
            // libyaml lets no other token start here.
            b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => Step::Stop,
            _ => self.plain_scalar(),
        };
        Ok(step)
    }

    fn refusal(reason: Reason, line: usize, column: isize) -> Refusal {
        Refusal { reason, line: line + 1, column: column.unsigned_abs() + 1 }
    }

    /// Over blanks, comments and line breaks.
    fn skip_to_token(&mut self) {
        loop {
            if self.cursor.column == 0 && self.cursor.rest().starts_with("\u{FEFF}".as_bytes()) {
                self.cursor.skip();
            }
            // libyaml takes no tab where a key may start; it is an error there.
            let takes_tabs = self.flow_depth > 0 || !self.simple_key_allowed;
            self.cursor.skip_while(|byte| byte == b' ' || byte == b'\t' && takes_tabs);
            if self.cursor.peek(0) == b'#' {
                self.cursor.skip_to_line_end();
            }
            if self.cursor.line_break(0) == 0 {
                return;
            }
            self.cursor.skip_line_break();
            if self.flow_depth == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    fn directive(&mut self) -> Result<Step, Refusal> {
        let is_version = b"%YAML".iter().enumerate().all(|(i, byte)| self.cursor.peek(i) == *byte);
        if !is_version {
            return Err(Self::refusal(Reason::Directive, self.cursor.line, self.cursor.column));
        }
        self.leave_blocks();
        self.cursor.skip_to_line_end();
        if self.cursor.line_break(0) > 0 {
            self.cursor.skip_line_break();
        }
        Ok(Step::Continue)
    }

    fn document_marker(&mut self) -> Step {
        self.leave_blocks();
        for _ in 0..3 {
            self.cursor.skip();
        }
        Step::Continue
    }

    fn flow_start(&mut self) -> Result<Step, Refusal> {
        self.save_simple_key();
        self.flow_depth += 1;
        if self.flow_depth > MAX_FLOW_DEPTH {
            return Err(Self::refusal(Reason::TooDeep, self.cursor.line, self.cursor.column));
        }
        self.cursor.skip();
        Ok(Step::Continue)
    }

    fn flow_end(&mut self) -> Step {
        if self.flow_depth == 0 {
            self.simple_key = None;
        }
        self.flow_depth = self.flow_depth.saturating_sub(1);
        self.simple_key_allowed = false;
        self.cursor.skip();
        Step::Continue
    }

    fn separator(&mut self) -> Step {
        if self.flow_depth == 0 {
            self.simple_key = None;
        }
        self.simple_key_allowed = true;
        self.cursor.skip();
        Step::Continue
    }

    /// `-` of a list or `?` of a key.
    fn block_indicator(&mut self) -> Step {
        if self.flow_depth == 0 {
            if !self.simple_key_allowed {
                return Step::Stop;
            }
            self.roll_indent(self.cursor.column);
            self.simple_key = None;
        }
        self.cursor.skip();
        Step::Continue
    }

    /// `:` between key and value.
    fn value(&mut self) -> Step {
        if self.flow_depth == 0 {
            match self.simple_key.take() {
                Some(key) => {
                    self.roll_indent(key.column);
                    self.simple_key_allowed = false;
                }
                None if self.simple_key_allowed => self.roll_indent(self.cursor.column),
                None => return Step::Stop,
            }
        }
        self.cursor.skip();
        Step::Continue
    }

    fn anchor_or_alias(&mut self) -> Step {
        self.found.has_alias |= self.cursor.peek(0) == b'*';
        self.start_scalar();
        self.cursor.skip();
        self.cursor.skip_while(is_word);
        Step::Continue
    }

    fn tag(&mut self) -> Step {
        self.start_scalar();
        self.cursor.skip();
        let is_verbatim = self.cursor.peek(0) == b'<';
        if is_verbatim {
            self.cursor.skip();
        }
        self.cursor.skip_while(|byte| {
            is_word(byte)
                || b";/?:@&=+$.%!~*'()".contains(&byte)
                || is_verbatim && b",[]".contains(&byte)
        });
        if is_verbatim && self.cursor.peek(0) == b'>' {
            self.cursor.skip();
        }
        let ends_well =
            self.cursor.is_space(0) || self.flow_depth > 0 && self.cursor.peek(0) == b',';
        if ends_well { Step::Continue } else { Step::Stop }
    }

    /// Before an anchor, a tag or a scalar.
    fn start_scalar(&mut self) {
        self.save_simple_key();
        self.simple_key_allowed = false;
    }

    fn save_simple_key(&mut self) {
        if self.flow_depth == 0 && self.simple_key_allowed {
            self.simple_key = Some(SimpleKey {
                position: self.cursor.position,
                line: self.cursor.line,
                column: self.cursor.column,
            });
        }
    }

    fn forget_stale_key(&mut self) {
        self.simple_key = self.simple_key.filter(|key| {
            key.line == self.cursor.line && self.cursor.position <= key.position + MAX_SIMPLE_KEY
        });
    }

    /// Opens a block collection at this column, unless one is open there already.
    fn roll_indent(&mut self, column: isize) {
        if self.indent < column {
            self.outer_indents.push(self.indent);
            self.indent = column;
        }
    }

    /// Closes the block collections that lie deeper than this column.
    fn unroll_indent(&mut self, column: isize) {
        while self.indent > column {
            self.indent = self.outer_indents.pop().unwrap_or(-1);
        }
    }

    fn leave_blocks(&mut self) {
        if self.flow_depth == 0 {
            self.unroll_indent(-1);
            self.simple_key = None;
        }
        self.simple_key_allowed = false;
    }
}

/// A character of an anchor.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

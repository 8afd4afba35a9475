//! A place in the text, and what stands there in the terms of libyaml.

pub(super) struct Cursor<'a> {
    text: &'a [u8],
    /// In bytes.
    pub(super) position: usize,
    /// From 0.
    pub(super) line: usize,
    /// In characters from 0; signed, to be compared with indentations, of which
    /// the outermost is -1.
    pub(super) column: isize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, position: 0, line: 0, column: 0 }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// The byte this many bytes ahead; 0, as in libyaml, behind the end.
    pub(super) fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.position + ahead).copied().unwrap_or(0)
    }

    /// The length of the line break this many bytes ahead, 0 if there is none.
    pub(super) fn line_break(&self, ahead: usize) -> usize {
        match self.text.get(self.position + ahead..).unwrap_or_default() {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            // Next line, line separator and paragraph separator.
            [0xC2, 0x85, ..] => 2,
            [0xE2, 0x80, 0xA8 | 0xA9, ..] => 3,
            _ => 0,
        }
    }

    pub(super) fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.peek(ahead), b' ' | b'\t')
    }

    pub(super) fn is_break_or_end(&self) -> bool {
        self.peek(0) == 0 || self.line_break(0) > 0
    }

    /// Blank, line break or end.
    pub(super) fn is_space(&self, ahead: usize) -> bool {
        self.is_blank(ahead) || self.peek(ahead) == 0 || self.line_break(ahead) > 0
    }

    /// Over one character that is no line break.
    pub(super) fn skip(&mut self) {
        let width = match self.peek(0) {
            0x00..0x80 => 1,
            0x80..0xE0 => 2,
            0xE0..0xF0 => 3,
            0xF0.. => 4,
        };
        self.position += width;
        self.column += 1;
    }

    pub(super) fn skip_line_break(&mut self) {
        self.position += self.line_break(0);
        self.line += 1;
        self.column = 0;
    }

    pub(super) fn skip_to_line_end(&mut self) {
        while !self.is_break_or_end() {
            self.skip();
        }
    }

    pub(super) fn skip_while(&mut self, is_wanted: impl Fn(u8) -> bool) {
        while is_wanted(self.peek(0)) {
            self.skip();
        }
    }

    /// `---` or `...` at the start of a line.
    pub(super) fn is_document_marker(&self) -> bool {
        self.column == 0
            && (self.rest().starts_with(b"---") || self.rest().starts_with(b"..."))
            && self.is_space(3)
    }

    /// What was passed since `start`.
    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.get(start..end).unwrap_or_default()
    }
}

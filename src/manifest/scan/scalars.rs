//! Scalars: where quoted, plain and block text ends.

use super::{Scanner, Step};

impl Scanner<'_> {
    pub(super) fn quoted_scalar(&mut self, quote: u8) -> Step {
        self.start_scalar();
        self.cursor.skip();
        loop {
            if self.cursor.is_document_marker() || self.cursor.peek(0) == 0 {
                return Step::Stop;
            }
            if self.cursor.line_break(0) > 0 {
                self.cursor.skip_line_break();
            } else if self.cursor.peek(0) == quote {
                self.cursor.skip();
                // A doubled single quote stands for one.
                if quote == b'"' || self.cursor.peek(0) != quote {
                    return Step::Continue;
                }
                self.cursor.skip();
            } else if quote == b'"' && self.cursor.peek(0) == b'\\' {
                self.cursor.skip();
                if self.cursor.line_break(0) > 0 {
                    self.cursor.skip_line_break();
                } else if self.cursor.peek(0) != 0 {
                    self.cursor.skip();
                }
            } else {
                self.cursor.skip();
            }
        }
    }

    pub(super) fn plain_scalar(&mut self) -> Step {
        self.start_scalar();
        let (start, line, column) = (self.cursor.position, self.cursor.line, self.cursor.column);
        let mut end = start;
        let mut on_new_line = false;
        while !self.cursor.is_document_marker() && self.cursor.peek(0) != b'#' {
            while !self.cursor.is_space(0) && !self.ends_plain_text() {
                self.cursor.skip();
                end = self.cursor.position;
                on_new_line = false;
            }
            if end == start || !self.cursor.is_blank(0) && self.cursor.line_break(0) == 0 {
                break;
            }
            while self.cursor.is_blank(0) || self.cursor.line_break(0) > 0 {
                if self.cursor.is_blank(0) {
                    self.cursor.skip();
                } else {
                    self.cursor.skip_line_break();
                    on_new_line = true;
                }
            }
            if self.flow_depth == 0 && self.cursor.column <= self.indent {
                break;
            }
        }
        if on_new_line {
            self.simple_key_allowed = true;
        }
        if self.cursor.slice(start, end) == b"<<" {
            self.merge_key = Some((line, column));
        }
        if end == start { Step::Stop } else { Step::Continue }
    }

    /// A character that ends a plain scalar without a blank in front of it.
    fn ends_plain_text(&self) -> bool {
        match self.cursor.peek(0) {
            b':' => {
                self.cursor.is_space(1)
                    || self.flow_depth > 0 && b",?[]{}".contains(&self.cursor.peek(1))
            }
            b',' | b'[' | b']' | b'{' | b'}' => self.flow_depth > 0,
            _ => false,
        }
    }

    pub(super) fn block_scalar(&mut self) -> Step {
        self.simple_key = None;
        self.simple_key_allowed = true;
        self.cursor.skip();
        let mut increment = 0;
        for _ in 0..2 {
            match self.cursor.peek(0) {
                b'+' | b'-' => self.cursor.skip(),
                digit @ b'1'..=b'9' => {
                    increment = isize::from(digit - b'0');
                    self.cursor.skip();
                }
                _ => {}
            }
        }
        self.cursor.skip_while(|byte| matches!(byte, b' ' | b'\t'));
        if self.cursor.peek(0) == b'#' {
            self.cursor.skip_to_line_end();
        }
        if !self.cursor.is_break_or_end() {
            return Step::Stop;
        }
        if self.cursor.line_break(0) > 0 {
            self.cursor.skip_line_break();
        }
        let mut indent = if increment > 0 { self.indent.max(0) + increment } else { 0 };
        self.block_scalar_breaks(&mut indent);
        while self.cursor.column == indent && self.cursor.peek(0) != 0 {
            self.cursor.skip_to_line_end();
            if self.cursor.line_break(0) > 0 {
                self.cursor.skip_line_break();
            }
            self.block_scalar_breaks(&mut indent);
        }
        Step::Continue
    }

    /// Over the empty lines of a block scalar and the indentation of the line
    /// behind them. Finds out the scalar's indentation if it is still 0.
    fn block_scalar_breaks(&mut self, indent: &mut isize) {
        let mut max_column = 0;
        loop {
            while (*indent == 0 || self.cursor.column < *indent) && self.cursor.peek(0) == b' ' {
                self.cursor.skip();
            }
            max_column = max_column.max(self.cursor.column);
            if self.cursor.line_break(0) == 0 {
                break;
            }
            self.cursor.skip_line_break();
        }
        if *indent == 0 {
            *indent = max_column.max(self.indent + 1).max(1);
        }
    }
}

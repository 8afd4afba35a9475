//! Parses label selectors.
//!
//! ```text
//! selector     = requirement ("," requirement)*
//! requirement  = ["!"] key
//!              | key ("=" | "==" | "!=") value
//!              | key ("in" | "notin") "(" value ("," value)* ")"
//! ```

use std::collections::BTreeSet;

use fleet_contract::{check_label_key, check_label_value};

use super::requirement::{Requirement, SelectorError};

/// A token, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 7] = ["==", "!=", "=", "!", ",", "(", ")"];

struct Parser<'a> {
    text: &'a str,
    /// Offset of the next token, in bytes.
    offset: usize,
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { text, offset: 0 };
    let mut requirements = Vec::new();
    loop {
        requirements.push(parser.requirement()?);
        match parser.next() {
            (_, Token::End) => return Ok(requirements),
            (_, Token::Symbol(",")) => {}
            found => {
                return Err(parser.expected(found, "=, ==, !=, in, notin, a comma or the end"));
            }
        }
    }
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let found = match self.next() {
            (_, Token::Symbol("!")) => {
                let next = self.next();
                return self.key(next, "a label key").map(Requirement::Absent);
            }
            found => found,
        };
        let key = self.key(found, "a label key or !")?;
        let values = |values: [String; 1]| BTreeSet::from(values);
        Ok(match self.peek() {
            Token::Symbol("=" | "==") => {
                self.next();
                Requirement::In(key, values([self.value()?]))
            }
            Token::Symbol("!=") => {
                self.next();
                Requirement::NotIn(key, values([self.value()?]))
            }
            Token::Word("in") => {
                self.next();
                Requirement::In(key, self.list()?)
            }
            Token::Word("notin") => {
                self.next();
                Requirement::NotIn(key, self.list()?)
            }
            _ => Requirement::Exists(key),
        })
    }

    fn key(&self, found: (usize, Token), expected: &str) -> Result<String, SelectorError> {
        let (offset, Token::Word(key)) = found else { return Err(self.expected(found, expected)) };
        check_label_key(key).map_err(|reason| self.error(offset, reason))?;
        Ok(key.to_owned())
    }

    /// A value. It may be empty.
    fn value(&mut self) -> Result<String, SelectorError> {
        let Token::Word(_) = self.peek() else { return Ok(String::new()) };
        let (offset, token) = self.next();
        let value = if let Token::Word(value) = token { value } else { "" };
        check_label_value(value).map_err(|reason| self.error(offset, reason))?;
        Ok(value.to_owned())
    }

    /// A list of values in parentheses.
    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.next() {
            (_, Token::Symbol("(")) => {}
            found => return Err(self.expected(found, "( and a list of values")),
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            match self.next() {
                (_, Token::Symbol(")")) => return Ok(values),
                (_, Token::Symbol(",")) => {}
                found => return Err(self.expected(found, "a comma or )")),
            }
        }
    }

    fn peek(&self) -> Token<'a> {
        Parser { text: self.text, offset: self.offset }.next().1
    }

    /// The next token, and its offset.
    fn next(&mut self) -> (usize, Token<'a>) {
        let rest = self.text.get(self.offset..).unwrap_or_default();
        let token = rest.trim_start();
        let start = self.offset + (rest.len() - token.len());
        if token.is_empty() {
            self.offset = start;
            return (start, Token::End);
        }
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| token.starts_with(symbol)) {
            self.offset = start + symbol.len();
            return (start, Token::Symbol(symbol));
        }
        let is_end = |c: char| c.is_whitespace() || "=!,()".contains(c);
        let length = token.find(is_end).unwrap_or(token.len());
        self.offset = start + length;
        (start, Token::Word(token.get(..length).unwrap_or_default()))
    }

    fn expected(&self, (offset, found): (usize, Token), expected: &str) -> SelectorError {
        let found = match found {
            Token::Word(word) => format!("{word:?}"),
            Token::Symbol(symbol) => format!("{symbol:?}"),
            Token::End => "the end".to_owned(),
        };
        self.error(offset, format!("expected {expected}, found {found}"))
    }

    fn error(&self, offset: usize, reason: String) -> SelectorError {
        let before = self.text.get(..offset).unwrap_or_default();
        SelectorError { column: before.chars().count() + 1, reason }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_column_and_what_is_expected() {
        for (text, column, reason) in [
            ("", 1, "expected a label key or !, found the end"),
            ("a,", 3, "expected a label key or !, found the end"),
            ("a b", 3, "expected =, ==, !=, in, notin, a comma or the end, found \"b\""),
            ("a=b c", 5, "expected =, ==, !=, in, notin, a comma or the end, found \"c\""),
            ("a in b", 6, "expected ( and a list of values, found \"b\""),
            ("a in (b", 8, "expected a comma or ), found the end"),
            ("a notin (b c)", 12, "expected a comma or ), found \"c\""),
            ("!", 2, "expected a label key, found the end"),
            ("!!a", 2, "expected a label key, found \"!\""),
            ("ä=1", 1, "is not a valid label key"),
            ("a=1,b=ö", 7, "is not a valid label value"),
            ("a>1", 1, "is not a valid label key"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z!=(), ü]{0,30}") {
            let _ = parse(&text);
        }
    }
}

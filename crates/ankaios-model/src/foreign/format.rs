//! A format that was recognised.

/// A format that was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The format, with an article: `a gzip file`.
    pub what: &'static str,
    /// What to do instead.
    pub advice: &'static str,
}

impl Foreign {
    /// A sentence that says what was sent instead of `expected`, for example `a manifest`.
    #[must_use]
    pub fn sentence(&self, expected: &str) -> String {
        let Self { what, advice } = self;
        format!("this is {what}, not {expected}; {advice}")
    }
}

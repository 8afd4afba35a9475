//! The blocks of a PEM file (RFC 7468).

use rustls::pki_types::pem::{self, PemObject, SectionKind};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// A block, from its BEGIN line up to the next one or the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// The line where it begins, counted from 1.
    pub(super) line: usize,
    /// What stands after BEGIN, such as `CERTIFICATE`.
    pub(super) label: &'a str,
    text: &'a str,
}

/// A mistake in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// All blocks of a file. Text around them is ignored.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let (mut line, mut counted) = (1, 0);
    text.match_indices(BEGIN).map(move |(begin, _)| {
        line += text.get(counted..begin).map_or(0, |before| before.matches('\n').count());
        counted = begin;
        let rest = text.get(begin..).unwrap_or_default();
        let after = rest.get(BEGIN.len()..).unwrap_or_default();
        let length = after.find(BEGIN).map_or(rest.len(), |next| next + BEGIN.len());
        let first = after.lines().next().unwrap_or_default();
        let label = first.split("-----").next().unwrap_or_default().trim();
        Block { line, label, text: rest.get(..length).unwrap_or_default() }
    })
}

impl Block<'_> {
    /// Whether it is encrypted as OpenSSL did it before version 1.0 (RFC 1421).
    pub(super) fn is_encrypted(&self) -> bool {
        self.text
            .lines()
            .take(4)
            .any(|line| line.contains("Proc-Type:") && line.contains("ENCRYPTED"))
    }

    /// What the block contains. `file` is the name of the file in a shell.
    ///
    /// # Errors
    /// A mistake in its lines, which does not show what they contain.
    pub(super) fn decode(&self, file: &str) -> Result<(SectionKind, Vec<u8>), Mistake> {
        if let Some(mistake) = self.layout_mistake(file) {
            return Err(mistake);
        }
        <(SectionKind, Vec<u8>)>::from_pem_slice(self.text.as_bytes())
            .map_err(|error| Mistake { line: self.line, reason: explain(&error) })
    }

    /// A mistake in how the lines are laid out, which the parser would report as something else.
    fn layout_mistake(&self, file: &str) -> Option<Mistake> {
        let mistake = |line, reason: String| Some(Mistake { line, reason });
        let first = self.text.lines().next().unwrap_or_default();
        if self.text.contains("\\n") {
            let reason = format!(
                "its lines are separated by \\n as in JSON or an environment variable, not by line \
                 ends; write it with line ends: `sed 's/\\\\n/\\n/g' {file} > new.pem`"
            );
            return mistake(self.line, reason);
        }
        if !first.trim_end().ends_with("-----") || first.contains(END) {
            let reason = format!(
                "its line ends are missing: BEGIN, base64 and END must be on lines of their own; \
                 copy the file again, or separate them: `sed 's/-----BEGIN [^-]*-----/&\\n/g; \
                 s/-----END /\\n&/g; s/-----END [^-]*-----/&\\n/g' {file} | sed '/-----/!s/ \
                 /\\n/g' > new.pem`"
            );
            return mistake(self.line, reason);
        }
        let end = format!("{END}{}-----", self.label);
        let found = self.text.lines().enumerate().find(|(_, line)| line.contains(END));
        match found {
            None => mistake(
                self.line,
                format!("its END line is missing: {end:?}; the file is cut off, copy it again"),
            ),
            Some((index, line)) if !line.contains(&end) => mistake(
                self.line + index,
                format!(
                    "the END line must be {end:?}, as its BEGIN line says; copy the file again"
                ),
            ),
            Some((index, line)) if !line.starts_with(END) => mistake(
                self.line + index,
                format!(
                    "its lines are indented, or have other text in front; each must begin in the \
                     first column: `sed 's/^[>|[:space:]]*//' {file} > new.pem`"
                ),
            ),
            Some((end, _)) => {
                let wrong = self.text.lines().take(end).skip(1).position(|line| {
                    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/= \t\r".contains(c);
                    !line.chars().all(is_base64)
                })?;
                let reason = "this line is not base64; the file is damaged, copy it again";
                mistake(self.line + 1 + wrong, reason.into())
            }
        }
    }
}

/// What an error of the PEM reader means. The text of the error is not shown: it may contain a
/// part of a key.
pub(super) fn explain(error: &pem::Error) -> String {
    use pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => {
            "its END line is missing; the file is cut off, copy it again"
        }
        Error::IllegalSectionStart { .. } => {
            "its BEGIN line must end in five hyphens; copy the file again"
        }
        Error::Base64Decode(_) => {
            "the text between BEGIN and END is not base64, or is cut off; copy the file again"
        }
        Error::Io(_) => "the file cannot be read; look at the file system",
        Error::NoItemsFound => {
            "it contains nothing that is known by the name in its BEGIN line; name another file"
        }
        Error::SectionTooLarge => {
            "it is too large for a certificate or a key; look at the path of the file"
        }
        other => return format!("it is not a valid PEM block: {other}"),
    }
    .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn blocks_know_their_lines_and_labels() {
        let text = "x\n-----BEGIN A B-----\na\n-----END A B-----\n\n-----BEGIN C-----\nb\n";
        let found: Vec<_> = blocks(text)
            .map(|Block { line, label, text }| (line, label, text.lines().count()))
            .collect();
        assert_eq!(found, [(2, "A B", 4), (6, "C", 2)]);
        assert_eq!(blocks("-----BEGIN ").next().unwrap().label, "");
    }

    #[test]
    fn whatever_is_cut_off_is_a_mistake_with_a_line() {
        let whole = "\n-----BEGIN CERTIFICATE-----\naGFs\nbG8=\n-----END CERTIFICATE-----\n";
        assert_eq!(blocks(whole).next().unwrap().decode("f").unwrap().1, b"hallo");
        for length in 12..whole.len() - 6 {
            let block = blocks(&whole[..length]).next().unwrap();
            let mistake = block.decode("f").unwrap_err();
            assert!((2..=5).contains(&mistake.line), "{length}: {mistake:?}");
        }
    }

    #[test]
    fn the_line_of_a_mistake_is_named() {
        for (text, line, expected) in [
            ("-----BEGIN CERTIFICATE-----\naGFs\n?\n-----END CERTIFICATE-----", 3, "not base64"),
            ("-----BEGIN CERTIFICATE-----\na\n-----END CERTIFICATE-----", 1, "is not base64"),
            ("-----BEGIN CERTIFICATE-----\naGFs\n-----END X-----", 3, "must be \"-----END CERT"),
            ("-----BEGIN CERTIFICATE-----\naGFs\n", 1, "END line is missing"),
            ("  -----BEGIN CERTIFICATE-----\n  aGFs\n  -----END CERTIFICATE-----", 3, "indented"),
            ("> -----BEGIN CERTIFICATE-----\n> aGFs\n> -----END CERTIFICATE-----", 3, "in front"),
            ("-----BEGIN CERTIFICATE-----\\naGFs\\n-----END CERTIFICATE-----", 1, "separated by"),
            ("-----BEGIN CERTIFICATE----- aGFs -----END CERTIFICATE-----", 1, "line ends are"),
            ("-----BEGIN CERTIFICATE\naGFs\n-----END CERTIFICATE-----", 1, "line ends are missing"),
        ] {
            let mistake = blocks(text).next().unwrap().decode("f").unwrap_err();
            assert!(mistake.line == line && mistake.reason.contains(expected), "{mistake:?}");
        }
    }
}

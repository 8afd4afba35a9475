//! A bounded list of warnings.

use crate::hints::quoted;
use crate::line_column::LineColumn;
use crate::schema::is_name;

/// Maximum number of warnings.
const MAX: usize = 20;

/// Something that Ankaios accepts, but that probably does not do what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is, and what to write instead. Begins with the path of the field.
    pub message: String,
    /// Where it is.
    pub position: LineColumn,
}

/// A key in a message: in quotes if it is not a name.
pub(super) fn shown(key: &str) -> String {
    if is_name(key) { key.to_owned() } else { quoted(key) }
}

/// The warnings up to the maximum number, and the number of the others.
#[derive(Default)]
pub(super) struct Warnings {
    warnings: Vec<Warning>,
    others: usize,
}

impl Warnings {
    pub(super) fn add(&mut self, message: String, position: LineColumn) {
        if self.warnings.len() < MAX {
            self.warnings.push(Warning { message, position });
        } else {
            self.others += 1;
        }
    }

    /// The warnings. The last one says how many others there are.
    pub(super) fn finish(mut self) -> Vec<Warning> {
        if let (1.., Some(last)) = (self.others, self.warnings.last_mut()) {
            last.message.push_str(&format!(" (and {} more warnings)", self.others));
        }
        self.warnings
    }
}

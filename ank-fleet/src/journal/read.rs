//! The format of the files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::files;
use crate::rollout::{Line, Plan};

pub(super) const PLAN: &str = "plan.json";
pub(super) const TRANSITIONS: &str = "transitions.jsonl";

/// The version of the format of the files.
const FORMAT: u32 = 1;

/// Maximum size of a plan in bytes: a million vehicles, and a large payload.
const MAX_PLAN: u64 = 128 * 1024 * 1024;

/// Maximum size of the transitions in bytes: that of a journal that was damaged is not known.
const MAX_TRANSITIONS: u64 = 1024 * 1024 * 1024;

/// A roll-out as its journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The plan.
    pub plan: Plan,
    /// All transitions.
    pub lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct PlanFile<P> {
    format: u32,
    plan: P,
}

pub(super) fn write_plan(plan: &Plan) -> Vec<u8> {
    let file = PlanFile { format: FORMAT, plan };
    let mut text = serde_json::to_vec_pretty(&file).expect("texts and numbers become JSON");
    text.push(b'\n');
    text
}

pub(super) fn write_lines(lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).expect("texts and numbers become JSON");
        text.push(b'\n');
    }
    text
}

/// Reads a journal, and the length of its whole lines.
pub(super) fn read(folder: &Path) -> Result<(Recorded, u64), JournalError> {
    let path = folder.join(PLAN);
    let text = files::read(&path, MAX_PLAN)?;
    let damaged = |error: serde_json::Error| damaged(&path, 0, &error);
    let Format { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format != u64::from(FORMAT) {
        return Err(JournalError::OtherFormat { path, found: format, expected: FORMAT });
    }
    let PlanFile { plan, .. } = serde_json::from_slice(&text).map_err(damaged)?;
    let (lines, length) = read_lines(&folder.join(TRANSITIONS))?;
    Ok((Recorded { plan, lines }, length))
}

/// A line without its end was cut off while it was written: nothing that it announces was done.
fn read_lines(path: &Path) -> Result<(Vec<Line>, u64), JournalError> {
    let text = files::read(path, MAX_TRANSITIONS)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut lines = Vec::new();
    let mut length = 0;
    let mut rest = text.get(..whole).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        match serde_json::from_slice(line) {
            Ok(line) => lines.push(line),
            // After a power cut, the end of a file may be zeros or the beginning of a line.
            Err(_) if after.is_empty() && whole == text.len() && !is_text(line) => break,
            Err(error) => return Err(damaged(path, lines.len(), &error)),
        }
        length += line.len();
        rest = after;
    }
    Ok((lines, length as u64))
}

/// Whether a line has no zeros, which file systems leave where data was not written.
fn is_text(line: &[u8]) -> bool {
    !line.contains(&0)
}

fn damaged(path: &Path, lines_before: usize, error: &serde_json::Error) -> JournalError {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
    let (line, column) = (lines_before + error.line().max(1), error.column().max(1));
    JournalError::Damaged { path: path.to_owned(), line, column, reason }
}

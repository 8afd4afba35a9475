//! The messages of a log subscription.

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::LogEntry;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Maximum size of a message of entries, in bytes of JSON.
pub(super) const MAX_MESSAGE: usize = 128 * 1024;

/// The size of the JSON around the entries of a message.
const FRAME: usize = r#"{"entries":[]}"#.len();

/// Room for the note at the end of a line that was cut.
const CUT_NOTE: usize = 64;

/// The message with lines of instances.
#[derive(Serialize)]
pub(super) struct Entries {
    entries: Vec<Box<RawValue>>,
}

/// One entry of [`Entries`].
#[derive(Serialize)]
struct EntryMessage {
    #[serde(flatten)]
    instance: InstanceName,
    message: String,
}

/// The message that the log of an instance has ended for now.
#[derive(Serialize)]
pub(super) struct Stopped {
    pub(super) stopped: InstanceName,
}

/// The message that lines were dropped, with their number.
#[derive(Serialize)]
pub(super) struct Dropped {
    pub(super) dropped: u64,
}

/// Converts entries that Ankaios has sent together to messages, as few as the size limits allow:
/// [`MAX_MESSAGE`] and that of the broker, `max`. A single line beyond the limit is cut.
pub(super) fn batches(entries: Vec<LogEntry>, max: usize) -> Vec<Entries> {
    let max = max.min(MAX_MESSAGE);
    let mut batches: Vec<Entries> = Vec::new();
    let mut size = usize::MAX;
    for LogEntry { workload_name, message } in entries {
        let instance = InstanceName::from(&workload_name.unwrap_or_default());
        let entry = to_raw(instance, message, max);
        // One more byte for the comma.
        let entry_size = entry.get().len() + 1;
        size = size.saturating_add(entry_size);
        match batches.last_mut() {
            Some(batch) if size <= max => batch.entries.push(entry),
            _ => {
                size = FRAME + entry_size;
                batches.push(Entries { entries: vec![entry] });
            }
        }
    }
    batches
}

fn to_raw(instance: InstanceName, message: String, max: usize) -> Box<RawValue> {
    let mut entry = EntryMessage { instance, message: String::new() };
    // A byte takes at most six in JSON, so shorter lines always fit.
    if message.len() > max / 8 {
        let around = write(&entry).get().len() + FRAME + 1;
        entry.message = cut(message, max.saturating_sub(around));
    } else {
        entry.message = message;
    }
    write(&entry)
}

fn write(entry: &EntryMessage) -> Box<RawValue> {
    to_raw_value(entry).expect("a map with text as keys always becomes JSON")
}

/// Cuts a line that would take more than `limit` bytes of JSON.
fn cut(mut line: String, limit: usize) -> String {
    let mut size = 0;
    let mut fits = 0;
    for (index, character) in line.char_indices() {
        size += escaped_len(character);
        if size > limit {
            let surplus = line.len() - fits;
            line.truncate(fits);
            line.push_str(&format!(" … [{surplus} bytes cut]"));
            return line;
        }
        if size + CUT_NOTE <= limit {
            fits = index + character.len_utf8();
        }
    }
    line
}

/// How many bytes a character takes in a JSON string.
fn escaped_len(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..' ' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn entry(message: &str) -> LogEntry {
        LogEntry { workload_name: None, message: message.into() }
    }

    /// Sizes of the messages, and all their lines.
    fn written(entries: Vec<LogEntry>) -> (Vec<usize>, Vec<String>) {
        let texts = batches(entries, usize::MAX)
            .into_iter()
            .map(|batch| serde_json::to_string(&batch).unwrap());
        let texts: Vec<String> = texts.collect();
        let lines = texts.iter().flat_map(|text| {
            let message: Value = serde_json::from_str(text).unwrap();
            let entries = message["entries"].as_array().unwrap().clone();
            entries.into_iter().map(|entry| entry["message"].as_str().unwrap().to_owned())
        });
        (texts.iter().map(String::len).collect(), lines.collect())
    }

    #[test]
    fn entries_that_ankaios_sends_together_stay_in_one_message() {
        assert_eq!(batches(vec![entry("a"), entry("b")], 1000).len(), 1);
        assert!(batches(Vec::new(), 1000).is_empty());
    }

    #[test]
    fn no_message_is_too_large_whatever_the_lines() {
        let controls = "\u{1}".repeat(1000);
        let long = "ü\"".repeat(MAX_MESSAGE);
        for (line, count) in
            [("", 10_000), ("x", 10_000), (controls.as_str(), 1000), (long.as_str(), 3)]
        {
            let (sizes, lines) = written(vec![entry(line); count]);
            assert!(sizes.iter().all(|size| *size <= MAX_MESSAGE), "{sizes:?}");
            // No message but the last is smaller than necessary.
            assert!(sizes.len() == 1 || sizes.iter().rev().skip(1).all(|size| *size > 120_000));
            assert_eq!(lines.len(), count);
            if line.len() < MAX_MESSAGE {
                assert!(lines.iter().all(|written| written == line));
            }
        }
    }

    #[test]
    fn the_limit_of_the_broker_holds_if_it_is_lower() {
        for max in [300, 1000, 5000] {
            let lines = [entry(&"x".repeat(20)), entry(&"y".repeat(900))];
            let messages = batches(lines.iter().cycle().take(40).cloned().collect(), max);
            let sizes: Vec<_> = messages
                .iter()
                .map(|message| serde_json::to_string(message).unwrap().len())
                .collect();
            assert!(sizes.iter().all(|size| *size <= max), "{sizes:?}");
            let entries: usize = messages.iter().map(|message| message.entries.len()).sum();
            assert_eq!(entries, 40);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        for part in ["ü", "\u{1}", "x\\"] {
            let line = part.repeat(MAX_MESSAGE);
            let (sizes, lines) = written(vec![entry(&line)]);
            assert_eq!(sizes.len(), 1);
            let (kept, note) = lines.first().unwrap().split_once(" … [").unwrap();
            assert!(line.starts_with(kept) && kept.len() > 10_000);
            assert_eq!(note, format!("{} bytes cut]", line.len() - kept.len()));
        }
    }
}

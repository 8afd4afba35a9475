//! Shorter forms of messages that are too large for the broker. What operators rely on remains: the
//! status of a rollout with its `request_id`, the status of the connector, and the code of an error.

use bytes::Bytes;
use fleet_contract::error::ErrorReply;
use fleet_contract::rollout::RolloutProgress;
use fleet_contract::status::ConnectorStatus;
use fleet_contract::topics::{StreamKind, Topics};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Characters that remain of a text, such as the reason of a failure.
const TEXT: usize = 200;

/// The shortest message of an error, in characters.
const SHORTEST_MESSAGE: usize = 20;

/// A shorter form of a message, of at most `max` bytes. `None` if there is none.
pub(super) fn shorten(topics: &Topics, topic: &str, payload: &[u8], max: usize) -> Option<Bytes> {
    let short = if topic == topics.status() {
        status(payload)?
    } else if topic == topics.apply_status() {
        progress(payload, max)?
    } else if topic.strip_prefix(&topics.stream(StreamKind::Logs, "")).is_some() {
        entries(payload)?
    } else {
        return None;
    };
    Some(short).filter(|short| short.len() <= max)
}

/// An error reply with less text.
pub(super) fn shorten_error(payload: &[u8], max: usize) -> Option<Bytes> {
    let mut error = ErrorReply::from_payload(payload)?;
    error.details.clear();
    let mut characters = error.message.chars().count();
    loop {
        let short = error.to_payload();
        if short.len() <= max {
            return Some(short);
        }
        if characters <= SHORTEST_MESSAGE {
            return None;
        }
        // Each character may take several bytes.
        characters = (characters / 2).max(SHORTEST_MESSAGE);
        cut(&mut error.message, characters);
    }
}

/// The status of the connector without anything that is there for people only.
fn status(payload: &[u8]) -> Option<Bytes> {
    let mut status = ConnectorStatus::from_payload(payload)?;
    status.degraded.clear();
    if let Some(link) = &mut status.link {
        link.reason = None;
    }
    if let Some(revision) = &mut status.revision {
        revision.release = None;
    }
    Some(status.to_payload())
}

/// The status of a rollout with as many workloads as fit, those first that have not succeeded.
fn progress(payload: &[u8], max: usize) -> Option<Bytes> {
    let mut progress: RolloutProgress = serde_json::from_slice(payload).ok()?;
    if let Some(reason) = &mut progress.reason {
        cut(reason, TEXT);
    }
    let mut workloads = std::mem::take(&mut progress.workloads);
    // It may have been shortened before.
    let omitted = progress.omitted_workloads.unwrap_or_default();
    progress.omitted_workloads = Some(workloads.len() + omitted);
    let mut room = max.checked_sub(to_json(&progress).len())?;
    workloads.sort_by_key(|one| matches!(&*one.execution_state.state, "RUNNING" | "SUCCEEDED"));
    for mut workload in workloads {
        cut(&mut workload.execution_state.additional_info, TEXT);
        // One more byte for the comma.
        let size = to_json(&workload).len() + 1;
        if size > room {
            break;
        }
        room -= size;
        progress.workloads.push(workload);
        progress.omitted_workloads = progress.omitted_workloads.map(|omitted| omitted - 1);
    }
    progress.omitted_workloads = progress.omitted_workloads.filter(|omitted| *omitted > 0);
    Some(to_json(&progress))
}

/// The message that lines of a log were dropped instead of these lines.
fn entries(payload: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Entries<'a> {
        #[serde(borrow)]
        entries: Vec<&'a RawValue>,
    }
    #[derive(Serialize)]
    struct Dropped {
        dropped: usize,
    }
    let Entries { entries } = serde_json::from_slice(payload).ok()?;
    Some(to_json(&Dropped { dropped: entries.len() }))
}

fn cut(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
        text.push('…');
    }
}

fn to_json(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("maps with text as keys always become JSON").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use fleet_contract::error::ErrorCode;
    use serde_json::{Value, json};

    use super::*;

    fn topics() -> Topics {
        Topics::new("1", Vec::new()).unwrap()
    }

    fn short(topic: &str, message: &Value, max: usize) -> Option<Value> {
        let topic = format!("vehicle/1/{topic}");
        let short = shorten(&topics(), &topic, message.to_string().as_bytes(), max)?;
        assert!(short.len() <= max, "{} > {max}", short.len());
        Some(serde_json::from_slice(&short).unwrap())
    }

    fn workload(name: &str, state: &str, info: &str) -> Value {
        json!({
            "agent_name": "agent_A", "workload_name": name, "workload_id": "1",
            "execution_state": {"state": state, "substate": "S", "additional_info": info},
        })
    }

    #[test]
    fn the_status_of_a_rollout_keeps_its_request_and_status_and_the_workloads_that_fit() {
        let mut workloads: Vec<_> =
            (0..50).map(|number| workload(&format!("w{number}"), "RUNNING", "")).collect();
        workloads.push(workload("bad", "FAILED", &"x".repeat(5000)));
        let message = json!({
            "request_id": "r", "status": "failed", "workloads": workloads, "reason": "y".repeat(900)
        });
        let short = short("manifest/apply/status", &message, 1500).unwrap();
        assert_eq!((&short["request_id"], &short["status"]), (&json!("r"), &json!("failed")));
        let kept = short["workloads"].as_array().unwrap();
        assert_eq!(kept[0]["workload_name"], "bad");
        assert!(kept.len() > 2);
        assert_eq!(short["omitted_workloads"], json!(51 - kept.len()));
        let again = super::tests::short("manifest/apply/status", &short, 600).unwrap();
        let kept = again["workloads"].as_array().unwrap().len();
        assert_eq!(again["omitted_workloads"], json!(51 - kept));
        let tiny = super::tests::short("manifest/apply/status", &message, 300).unwrap();
        assert_eq!((&tiny["workloads"], &tiny["omitted_workloads"]), (&json!([]), &json!(51)));
        assert_eq!(super::tests::short("manifest/apply/status", &message, 100), None);
    }

    #[test]
    fn the_status_of_the_connector_keeps_what_others_rely_on() {
        let status = json!({
            "status": "online", "version": "1", "since": "now", "replica": "a",
            "ankaios": "disconnected", "reason": "x".repeat(900), "degraded": ["y".repeat(900)],
        });
        let expected = json!({
            "status": "online", "version": "1", "since": "now", "replica": "a",
            "ankaios": "disconnected",
        });
        assert_eq!(short("connector/status", &status, 300), Some(expected));
        assert_eq!(short("connector/status", &status, 30), None);
    }

    #[test]
    fn log_entries_become_the_message_that_they_were_dropped() {
        let entries = json!({"entries": [{"message": "a"}, {"message": "b"}]});
        assert_eq!(short("logs/x", &entries, 20), Some(json!({"dropped": 2})));
        for (topic, message) in [
            ("logs/x", json!({"ended": true})),
            ("events/x", json!({"complete_state": {}})),
            ("events/x/subscription", entries.clone()),
            ("state/resp", entries),
        ] {
            assert_eq!(short(topic, &message, 1000), None, "{topic}");
        }
    }

    #[test]
    fn an_error_keeps_its_code() {
        let error =
            ErrorReply::new(ErrorCode::Forbidden, "ü".repeat(1900)).with("rule", "x".repeat(900));
        for max in [500, 120, 90] {
            let short = shorten_error(&error.to_payload(), max).unwrap();
            assert!(short.len() <= max);
            let short = ErrorReply::from_payload(&short).unwrap();
            assert!(short.code == ErrorCode::Forbidden && short.message.ends_with("ü…"));
        }
        assert_eq!(shorten_error(&error.to_payload(), 30), None);
        assert_eq!(shorten_error(b"{}", 100), None);
    }
}

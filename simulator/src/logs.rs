//! The logs of workloads and the log streams of the control interface.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::SystemTime;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::{
    LogEntriesResponse, LogEntry, LogsRequest, LogsRequestAccepted, LogsStopResponse, Response,
    response::ResponseContent,
};

/// Maximum number of lines stored for each instance. The oldest are dropped first.
const MAX_LINES: usize = 10_000;

/// Maximum number of lines in one response.
const MAX_BATCH: usize = 100;

#[derive(Debug)]
struct LogLine {
    written: SystemTime,
    message: String,
}

/// A log stream that follows instances.
#[derive(Debug)]
struct ActiveStream {
    instances: BTreeSet<InstanceName>,
    until: Option<SystemTime>,
}

/// The stored lines of all instances, and the active streams by request id.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    lines: BTreeMap<InstanceName, VecDeque<LogLine>>,
    streams: BTreeMap<String, ActiveStream>,
}

impl Logs {
    /// Serves a logs request. Returns the answer and the responses that follow it: the stored
    /// lines and, for each instance that is not followed, the end.
    ///
    /// `is_running` returns whether an instance runs, and `None` if there is no such instance in
    /// the desired state. Such instances are not part of the answer.
    pub(crate) fn request(
        &mut self,
        request_id: &str,
        request: &LogsRequest,
        is_running: impl Fn(&InstanceName) -> Option<bool>,
    ) -> (Response, Vec<Response>) {
        let instances: BTreeMap<InstanceName, bool> = request
            .workload_names
            .iter()
            .map(InstanceName::from)
            .filter_map(|name| is_running(&name).map(|running| (name, running)))
            .collect();
        let accepted = response(
            request_id,
            ResponseContent::LogsRequestAccepted(LogsRequestAccepted {
                workload_names: instances.keys().cloned().map(Into::into).collect(),
            }),
        );

        let (since, until) = match (time("since", &request.since), time("until", &request.until)) {
            (Ok(since), Ok(until)) => (since, until),
            (Err(error), _) | (_, Err(error)) => {
                // The error message of the runtime appears as a line of the log.
                let responses = instances.keys().flat_map(|name| {
                    [entries(request_id, name, &[&error]), stop(request_id, name)]
                });
                return (accepted, responses.collect());
            }
        };
        let follow = request.follow.unwrap_or_default()
            && until.is_none_or(|until| until > SystemTime::now());

        let mut responses = Vec::new();
        let mut followed = BTreeSet::new();
        for (name, running) in instances {
            let lines = self.lines.get(&name).into_iter().flatten().filter(|line| {
                since.is_none_or(|since| line.written >= since)
                    && until.is_none_or(|until| line.written <= until)
            });
            let lines: Vec<&str> = lines.map(|line| &*line.message).collect();
            let tail = request.tail.and_then(|tail| usize::try_from(tail).ok());
            let first = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
            let lines = lines.get(first..).unwrap_or_default();
            responses
                .extend(lines.chunks(MAX_BATCH).map(|batch| entries(request_id, &name, batch)));
            if follow && running {
                followed.insert(name);
            } else {
                responses.push(stop(request_id, &name));
            }
        }
        if !followed.is_empty() {
            self.streams.insert(request_id.to_owned(), ActiveStream { instances: followed, until });
        }
        (accepted, responses)
    }

    /// Adds lines to the log of an instance. Returns what its active streams receive.
    pub(crate) fn write(
        &mut self,
        name: &InstanceName,
        messages: Vec<String>,
        written: SystemTime,
    ) -> Vec<Response> {
        let mut responses = Vec::new();
        let batch: Vec<&str> = messages.iter().map(String::as_str).collect();
        self.streams.retain(|request_id, stream| {
            if !stream.instances.contains(name) {
                return true;
            }
            if stream.until.is_some_and(|until| written > until) {
                stream.instances.remove(name);
                responses.push(stop(request_id, name));
                return !stream.instances.is_empty();
            }
            responses.extend(batch.chunks(MAX_BATCH).map(|batch| entries(request_id, name, batch)));
            true
        });
        let lines = self.lines.entry(name.clone()).or_default();
        lines.extend(messages.into_iter().map(|message| LogLine { written, message }));
        let surplus = lines.len().saturating_sub(MAX_LINES);
        lines.drain(..surplus);
        responses
    }

    /// Ends the streams of an instance.
    pub(crate) fn end(&mut self, name: &InstanceName) -> Vec<Response> {
        let mut responses = Vec::new();
        self.streams.retain(|request_id, stream| {
            if stream.instances.remove(name) {
                responses.push(stop(request_id, name));
            }
            !stream.instances.is_empty()
        });
        responses
    }

    /// Removes the log of an instance.
    pub(crate) fn remove(&mut self, name: &InstanceName) {
        self.lines.remove(name);
    }

    /// Ends a stream without a response, if there is one with this request id.
    pub(crate) fn cancel(&mut self, request_id: &str) {
        self.streams.remove(request_id);
    }

    /// The instances that a stream follows.
    pub(crate) fn followed(&self, request_id: &str) -> Vec<InstanceName> {
        let stream = self.streams.get(request_id);
        stream.into_iter().flat_map(|stream| stream.instances.iter().cloned()).collect()
    }

    /// Ends all streams, as the end of a session does.
    pub(crate) fn clear_streams(&mut self) {
        self.streams.clear();
    }

    /// The request ids of the active streams.
    pub(crate) fn streams(&self) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }
}

fn time(option: &str, time: &Option<String>) -> Result<Option<SystemTime>, String> {
    let time = time.as_deref();
    time.map(|time| {
        humantime::parse_rfc3339_weak(time).map_err(|_| {
            format!("Error: parsing --{option} \"{time}\": unable to interpret time value")
        })
    })
    .transpose()
}

/// A response with lines of one instance.
pub(crate) fn entries(request_id: &str, name: &InstanceName, messages: &[&str]) -> Response {
    let log_entries = messages.iter().map(|&message| LogEntry {
        workload_name: Some(name.clone().into()),
        message: message.to_owned(),
    });
    let log_entries = log_entries.collect();
    response(request_id, ResponseContent::LogEntriesResponse(LogEntriesResponse { log_entries }))
}

fn stop(request_id: &str, name: &InstanceName) -> Response {
    let workload_name = Some(name.clone().into());
    response(request_id, ResponseContent::LogsStopResponse(LogsStopResponse { workload_name }))
}

fn response(request_id: &str, content: ResponseContent) -> Response {
    Response { request_id: request_id.to_owned(), response_content: Some(content) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::instance::instance_name;

    fn instance(workload: &str) -> InstanceName {
        instance_name(workload, "agent_A", "")
    }

    fn request(workloads: &[&str]) -> LogsRequest {
        LogsRequest {
            workload_names: workloads.iter().map(|name| instance(name).into()).collect(),
            ..LogsRequest::default()
        }
    }

    fn following(workloads: &[&str]) -> LogsRequest {
        LogsRequest { follow: Some(true), ..request(workloads) }
    }

    /// The lines, and the ends of streams as the workload name in brackets.
    fn texts(responses: &[Response]) -> Vec<String> {
        let texts = responses.iter().flat_map(|response| match &response.response_content {
            Some(ResponseContent::LogEntriesResponse(entries)) => {
                entries.log_entries.iter().map(|entry| entry.message.clone()).collect()
            }
            Some(ResponseContent::LogsStopResponse(stop)) => {
                vec![format!("[{}]", stop.workload_name.clone().unwrap().workload_name)]
            }
            other => panic!("{other:?}"),
        });
        texts.collect()
    }

    fn running(_: &InstanceName) -> Option<bool> {
        Some(true)
    }

    fn write(logs: &mut Logs, workload: &str, lines: &[&str]) -> Vec<String> {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        texts(&logs.write(&instance(workload), lines, SystemTime::now()))
    }

    #[test]
    fn stored_lines_are_sent_and_the_stream_ends() {
        let mut logs = Logs::default();
        write(&mut logs, "a", &["1", "2", "3"]);
        let (accepted, rest) = logs.request("id", &request(&["a", "b"]), running);
        let Some(ResponseContent::LogsRequestAccepted(accepted)) = accepted.response_content else {
            panic!("{accepted:?}");
        };
        assert_eq!(accepted.workload_names.len(), 2);
        assert_eq!(texts(&rest), ["1", "2", "3", "[a]", "[b]"]);
        for (tail, expected) in [(0, &["[a]"][..]), (2, &["2", "3", "[a]"])] {
            let request = LogsRequest { tail: Some(tail), ..request(&["a"]) };
            assert_eq!(texts(&logs.request("id", &request, running).1), expected);
        }
        assert!(logs.streams().is_empty());
    }

    #[test]
    fn only_known_instances_are_accepted() {
        let mut logs = Logs::default();
        let (accepted, rest) = logs.request("id", &following(&["a"]), |_| None);
        let expected = ResponseContent::LogsRequestAccepted(LogsRequestAccepted::default());
        assert_eq!(accepted.response_content, Some(expected));
        assert_eq!(rest, []);
        assert!(logs.streams().is_empty());
    }

    #[test]
    fn a_stream_follows_until_its_instances_end_or_it_is_cancelled() {
        let mut logs = Logs::default();
        logs.request("id", &following(&["a", "b"]), running);
        assert_eq!(write(&mut logs, "a", &["1"]), ["1"]);
        assert_eq!(write(&mut logs, "other", &["1"]), [""; 0]);
        assert_eq!(texts(&logs.end(&instance("a"))), ["[a]"]);
        assert_eq!(write(&mut logs, "a", &["2"]), [""; 0]);
        assert_eq!(logs.followed("id"), [instance("b")]);
        logs.cancel("id");
        logs.cancel("unknown");
        assert_eq!(write(&mut logs, "b", &["1"]), [""; 0]);
    }

    #[test]
    fn an_instance_that_does_not_run_is_not_followed() {
        let mut logs = Logs::default();
        write(&mut logs, "a", &["1"]);
        let (_, rest) = logs.request("id", &following(&["a"]), |_| Some(false));
        assert_eq!(texts(&rest), ["1", "[a]"]);
    }

    #[test]
    fn since_and_until_limit_a_log() {
        let mut logs = Logs::default();
        let start = humantime::parse_rfc3339("2024-01-01T00:00:00Z").unwrap();
        for second in 0..5 {
            let written = start + Duration::from_secs(second);
            logs.write(&instance("a"), vec![second.to_string()], written);
        }
        let request = LogsRequest {
            since: Some("2024-01-01T00:00:01Z".to_owned()),
            until: Some("2024-01-01 00:00:03".to_owned()),
            ..following(&["a"])
        };
        assert_eq!(texts(&logs.request("id", &request, running).1), ["1", "2", "3", "[a]"]);

        let request = LogsRequest { since: Some("garbage".to_owned()), ..following(&["a"]) };
        let message =
            "Error: parsing --since \"garbage\": unable to interpret time value".to_owned();
        assert_eq!(texts(&logs.request("id", &request, running).1), [message, "[a]".to_owned()]);
    }

    #[test]
    fn a_stream_that_follows_ends_at_until() {
        let mut logs = Logs::default();
        let until = SystemTime::now() + Duration::from_secs(60);
        let text = humantime::format_rfc3339(until).to_string();
        let request = LogsRequest { until: Some(text), ..following(&["a"]) };
        logs.request("id", &request, running);
        assert_eq!(write(&mut logs, "a", &["1"]), ["1"]);
        let late = logs.write(&instance("a"), vec!["2".to_owned()], until + Duration::from_secs(1));
        assert_eq!(texts(&late), ["[a]"]);
        assert!(logs.streams().is_empty());
    }

    #[test]
    fn long_logs_are_sent_in_batches_without_their_oldest_lines() {
        let mut logs = Logs::default();
        let lines = (0..MAX_LINES + 5).map(|number| number.to_string()).collect();
        logs.write(&instance("a"), lines, SystemTime::now());
        let (_, rest) = logs.request("id", &request(&["a"]), running);
        assert_eq!(rest.len(), MAX_LINES / MAX_BATCH + 1);
        assert_eq!(texts(&rest)[0], "5");
    }
}

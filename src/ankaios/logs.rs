//! Log streams of workloads.

use std::time::SystemTime;

use super::buffer::Item;
use super::client::{Client, RequestError, Stream, name};
use crate::json::InstanceName;
use crate::proto::ank_base::request::RequestContent;
use crate::proto::ank_base::response::ResponseContent;
use crate::proto::ank_base::{LogEntry, LogsCancelRequest, LogsRequest, WorkloadInstanceName};

/// Which logs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogsOptions {
    /// Go on with what is logged from now on.
    pub follow: bool,
    /// Only so many of the last lines of each instance.
    pub tail: Option<i32>,
    /// Only lines after this time, RFC 3339.
    pub since: Option<String>,
    /// Only lines before this time, RFC 3339.
    pub until: Option<String>,
}

/// What a log stream delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum LogItem {
    /// Lines, in order, as Ankaios has put them together.
    Entries(Vec<LogEntry>),
    /// There will be no more lines of this instance.
    Stopped(InstanceName),
    /// So many lines were thrown away, because they were not taken fast enough.
    Dropped(u64),
    /// The session was lost, and with it the stream.
    Lost,
}

/// The logs of some workload instances. Dropping it ends the stream.
#[derive(Debug)]
pub struct LogStream {
    stream: Stream,
}

impl Client {
    /// Asks for the logs of workload instances. Returns those that there are,
    /// and their logs.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn logs(
        &self,
        instances: impl IntoIterator<Item = InstanceName>,
        options: LogsOptions,
    ) -> Result<(Vec<InstanceName>, LogStream), RequestError> {
        let request = LogsRequest {
            workload_names: instances.into_iter().map(WorkloadInstanceName::from).collect(),
            follow: Some(options.follow),
            tail: options.tail,
            since: options.since,
            until: options.until,
        };
        let cancel = RequestContent::LogsCancelRequest(LogsCancelRequest {});
        let mut stream = self.open(RequestContent::LogsRequest(request), cancel).await?;
        match stream.first().await? {
            ResponseContent::LogsRequestAccepted(accepted) => {
                let instances = accepted.workload_names.iter().map(InstanceName::from).collect();
                Ok((instances, LogStream { stream }))
            }
            other => Err(RequestError::Unexpected(name(&other))),
        }
    }
}

impl LogStream {
    /// When the last item had come from Ankaios; before the first, when the stream
    /// was asked for. An item may have waited long before it was taken.
    #[must_use]
    pub fn arrived(&self) -> SystemTime {
        self.stream.arrived()
    }

    /// What comes next. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> LogItem {
        loop {
            match self.stream.next().await {
                Item::Message(ResponseContent::LogEntriesResponse(logs)) => {
                    return LogItem::Entries(logs.log_entries);
                }
                Item::Message(ResponseContent::LogsStopResponse(stop)) => {
                    let instance = stop.workload_name.unwrap_or_default();
                    return LogItem::Stopped(InstanceName::from(&instance));
                }
                Item::Message(ResponseContent::LogsCancelAccepted(_)) => {}
                Item::Message(other) => {
                    tracing::warn!(content = name(&other), "a log of an unknown kind is skipped");
                }
                Item::Dropped(lines) => return LogItem::Dropped(lines),
                Item::End(_) => return LogItem::Lost,
            }
        }
    }
}

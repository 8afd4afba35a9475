//! Log streams of workloads.

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::ank_base::{
    LogEntry, LogsCancelRequest, LogsRequest, WorkloadInstanceName,
};
use service_kit::clock::Moment;

use super::buffer::Item;
use super::client::{Client, RawStream};
use super::error::RequestError;
use super::response;

/// Which log entries to send. The default is all that there are, without following.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogsOptions {
    /// Whether to continue with the entries that are written from now on.
    pub follow: bool,
    /// Only this number of the last lines of each instance; all if `None` or negative.
    pub tail: Option<i32>,
    /// Only lines after this time, as RFC 3339, such as `2026-01-02T03:04:05Z`.
    pub since: Option<String>,
    /// Only lines before this time, as RFC 3339.
    pub until: Option<String>,
}

/// An item of a [`LogStream`].
#[derive(Debug, Clone, PartialEq)]
pub enum LogItem {
    /// Lines, in order, grouped as Ankaios sends them.
    Entries(Vec<LogEntry>),
    /// There are no more lines of this instance.
    Stopped(InstanceName),
    /// This number of lines was dropped, because the stream was read too slowly.
    Dropped(u64),
    /// The session with Ankaios was lost, and with it the stream. Request the logs again, for
    /// example from [`LogStream::arrived`] on.
    Lost,
}

/// The logs of workload instances, in order. Dropping it cancels the request.
///
/// Unlike an [`EventStream`](crate::EventStream) it does not resume by itself, because only its
/// user knows which lines it has.
#[derive(Debug)]
pub struct LogStream {
    stream: RawStream,
}

impl Client {
    /// Requests the logs of workload instances. Returns the instances of which Ankaios sends
    /// logs, and the stream of these.
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
        let mut stream = self.open_stream(RequestContent::LogsRequest(request), cancel).await?;
        match stream.first().await? {
            ResponseContent::LogsRequestAccepted(accepted) => {
                let instances = accepted.workload_names.iter().map(InstanceName::from).collect();
                Ok((instances, LogStream { stream }))
            }
            other => Err(response::unexpected(&other)),
        }
    }
}

impl LogStream {
    /// A time before which the last item did not arrive from Ankaios; before the first item,
    /// the time of the request. Items may wait in the buffer of the stream for long, so this can
    /// be much earlier than the call of [`LogStream::next`].
    #[must_use]
    pub fn arrived(&self) -> Moment {
        self.stream.arrived()
    }

    /// Waits for the next item. Dropping the future loses nothing. After
    /// [`LogItem::Lost`], there is nothing but that.
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
                    tracing::warn!(
                        content = response::name(&other),
                        "a log of an unknown kind is skipped"
                    );
                }
                Item::Dropped(lines) => return LogItem::Dropped(lines),
                Item::End(_) => return LogItem::Lost,
            }
        }
    }
}

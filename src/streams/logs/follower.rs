//! Requests logs from Ankaios and publishes them.
//!
//! A log stream of Ankaios ends with the container and with the session. A followed log is
//! requested again after a lost session, and when an instance appears or is restarted.
//! [`Instances`] decides which logs to request and when.

use std::time::SystemTime;

use ankaios_control::EventStream;
use ankaios_control::{Client, Moment, RequestError, WorkloadStates};
use ankaios_control::{LogItem, LogStream};
use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::CompleteState;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::requests::LogsRequest;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use mqtt_session::SessionEnded;
use serde::Serialize;
use service_kit::clock::uptime;
use tokio::time::{Instant, sleep, sleep_until};

use super::bookmark::Bookmark;
use super::instances::{Instances, RETRY};
use super::messages::{Dropped, Stopped, batches};
use crate::errors::request_failed;
use crate::streams::publisher::Publisher;

/// The number of a log stream, the stream, and its next item.
type StreamItem = (u64, LogStream, LogItem);

/// Publishes the logs of one subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    ankaios: Client,
    instances: Instances,
    /// The next item of each stream. An item is taken only when it can be published; the others
    /// wait in the buffer of their stream, which drops the oldest ones if there are too many.
    streams: FuturesUnordered<BoxFuture<'static, StreamItem>>,
    next_stream: u64,
    is_open: bool,
    /// Reports restarts; `None` if nothing is followed, or if access is denied.
    events: Option<EventStream>,
}

impl Follower {
    pub(crate) fn new(ankaios: Client, subscription: &LogsRequest) -> Self {
        Self {
            ankaios,
            instances: Instances::new(subscription, Moment::now()),
            streams: FuturesUnordered::new(),
            next_stream: 0,
            is_open: false,
            events: None,
        }
    }

    /// Resumes followed logs where an earlier process was interrupted. Other logs start from the
    /// beginning.
    pub(super) fn restored(
        ankaios: Client,
        subscription: &LogsRequest,
        resume_at: Option<SystemTime>,
    ) -> Self {
        let follower = Self::new(ankaios, subscription);
        Self { instances: follower.instances.restored(resume_at, uptime()), ..follower }
    }

    /// Finds the instances and requests their logs. Returns the instances that have one.
    pub(crate) async fn open(&mut self) -> Result<Vec<InstanceName>, ErrorReply> {
        let state = state(&self.ankaios, self.instances.field_masks()).await?;
        let mut states = WorkloadStates::default();
        states.replace(&state);
        let instances = self.instances.resolve(&states)?;
        let accepted = self.request(instances, None).await.map_err(request_failed)?;
        self.is_open = true;
        Ok(accepted)
    }

    /// Publishes until all logs have ended permanently.
    pub(super) async fn run(mut self, topic: String, publisher: Publisher, bookmark: Bookmark) {
        let output = LogPublisher { topic, publisher };
        if let Err(error) = self.publish(&output, bookmark).await {
            tracing::debug!(%error, topic = output.topic, "a log stream ends");
        }
    }

    async fn publish(
        &mut self,
        output: &LogPublisher,
        mut bookmark: Bookmark,
    ) -> Result<(), SessionEnded> {
        if self.instances.follow() {
            self.events = Some(self.ankaios.events(self.instances.field_masks()));
        } else if !self.is_open && !self.open_restored(output).await {
            return Ok(());
        }
        let mut last_message = Instant::now();
        while !self.instances.is_done(self.events.is_some(), SystemTime::now()) {
            let due = self.instances.next_due();
            let deadline = self.instances.deadline(last_message, Moment::now());
            tokio::select! {
                // A busy log always has a next item, so events and requests come first.
                // The deadline only counts while there is no item.
                biased;
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => {
                    match event {
                        Ok(event) => {
                            output.stopped(self.instances.observe(&event, Moment::now())).await?;
                        }
                        Err(error) => self.handle_event_error(&error, output),
                    }
                }
                Some(()) = OptionFuture::from(due.map(sleep_until)) => {
                    self.request_due(output).await?;
                }
                Some((number, stream, item)) = self.streams.next() => {
                    self.publish_item(number, stream, item, output).await?;
                    last_message = Instant::now();
                    if self.instances.follow() {
                        bookmark.save(self.instances.delivered_until(Moment::now())).await?;
                    }
                }
                Some(()) = OptionFuture::from(deadline.map(sleep_until)) => {
                    if self.instances.is_past_until(SystemTime::now()) {
                        self.streams.clear();
                        output.stopped(self.instances.end_all(Moment::now())).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Requests the logs of a restored subscription until Ankaios answers. Returns whether it has
    /// accepted the request.
    async fn open_restored(&mut self, output: &LogPublisher) -> bool {
        while let Err(error) = self.open().await {
            tracing::warn!(%error, topic = output.topic, "logs cannot be resumed");
            if !matches!(error.code, ErrorCode::Timeout | ErrorCode::Unavailable) {
                return false;
            }
            sleep(RETRY).await;
        }
        true
    }

    /// Publishes an item, and waits for the next one of its stream unless it was the last.
    async fn publish_item(
        &mut self,
        number: u64,
        stream: LogStream,
        item: LogItem,
        output: &LogPublisher,
    ) -> Result<(), SessionEnded> {
        let arrived = stream.arrived();
        match item {
            LogItem::Entries(entries) => {
                for entries in batches(entries, output.publisher.max_message()) {
                    output.send(&entries).await?;
                }
                self.instances.delivered(number, arrived);
            }
            LogItem::Dropped(dropped) => output.send(&Dropped { dropped }).await?,
            LogItem::Stopped(instance) => {
                let stopped = self.instances.stopped(number, instance, arrived, Moment::now());
                output.stopped(stopped).await?;
            }
            LogItem::Lost => self.instances.lost(number, Instant::now()),
        }
        if self.instances.has_open(number) {
            self.streams.push(Box::pin(next(number, stream)));
        }
        Ok(())
    }

    fn handle_event_error(&mut self, error: &RequestError, output: &LogPublisher) {
        tracing::warn!(%error, topic = output.topic, "restarts of workloads cannot be detected");
        if *error == RequestError::AccessDenied {
            self.events = None;
        }
    }

    /// Requests the logs that are due.
    async fn request_due(&mut self, output: &LogPublisher) -> Result<(), SessionEnded> {
        for (since, requested) in self.instances.due(Moment::now()) {
            let answer = self.request(requested.clone(), since).await;
            if let Err(error) = &answer {
                tracing::warn!(%error, topic = output.topic, "logs cannot be requested again");
            }
            for instance in requested {
                let retry = match &answer {
                    Ok(accepted) if accepted.contains(&instance) => continue,
                    // The instance no longer exists, or does not exist yet.
                    Ok(_) => self.instances.is_running(&instance),
                    Err(error) => is_transient(error),
                };
                let now = Moment::now();
                output.stopped(self.instances.unavailable(instance, since, retry, now)).await?;
            }
        }
        Ok(())
    }

    /// Requests logs. Returns the instances that have one.
    async fn request(
        &mut self,
        instances: impl IntoIterator<Item = InstanceName>,
        since: Option<SystemTime>,
    ) -> Result<Vec<InstanceName>, RequestError> {
        let (options, from) = self.instances.request(since, Moment::now());
        let (accepted, stream) = self.ankaios.logs(instances, options).await?;
        // A stream without instances would never end.
        if !accepted.is_empty() {
            self.next_stream += 1;
            self.instances.opened(&accepted, self.next_stream, from, Moment::now());
            self.streams.push(Box::pin(next(self.next_stream, stream)));
        }
        Ok(accepted)
    }
}

async fn state(ankaios: &Client, masks: Vec<String>) -> Result<CompleteState, ErrorReply> {
    let reading = ankaios.state(masks).await.map_err(request_failed)?;
    reading.answer().await.map_err(request_failed)
}

async fn next(number: u64, mut stream: LogStream) -> StreamItem {
    let item = stream.next().await;
    (number, stream, item)
}

/// Publishes the messages of one log subscription.
struct LogPublisher {
    topic: String,
    publisher: Publisher,
}

impl LogPublisher {
    async fn send(&self, message: &impl Serialize) -> Result<(), SessionEnded> {
        self.publisher.send_next(&self.topic, message).await
    }

    /// Publishes that the logs of these instances have ended.
    async fn stopped(
        &self,
        instances: impl IntoIterator<Item = InstanceName>,
    ) -> Result<(), SessionEnded> {
        for stopped in instances {
            self.send(&Stopped { stopped }).await?;
        }
        Ok(())
    }
}

/// Whether a retry may succeed.
fn is_transient(error: &RequestError) -> bool {
    matches!(error, RequestError::Timeout(_) | RequestError::Unavailable(_))
}

//! Log lines of Ankaios as MQTT messages.
//!
//! A log stream of Ankaios ends with the container and with the session. What is
//! followed is asked for again: after a lost session, and when an instance runs
//! that was not there before or was restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::publisher::{Ended, Publisher};
use super::record::{LogsSubscription, WorkloadRef};
use crate::ankaios::events::{Event, EventStream};
use crate::ankaios::logs::{LogItem, LogStream, LogsOptions};
use crate::ankaios::{Client, RequestError};
use crate::error::{ErrorCode, ErrorReply};
use crate::json::{InstanceName, instance_states};
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{CompleteState, LogEntry};

/// Messages are kept below about this size, in bytes.
const MAX_MESSAGE: usize = 128 * 1024;

/// After the end of a log, Ankaios may not have told yet that the container has
/// ended. So long is waited before it is asked for more.
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait before logs are asked for again that could not be had.
const RETRY: Duration = Duration::from_secs(1);

/// Items that wait between the streams and the one who publishes.
const QUEUE: usize = 4;

/// An item, and the number of the stream that it comes from.
type Numbered = (u64, LogItem);

/// Publishes the logs of one subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    ankaios: Client,
    workloads: Vec<WorkloadRef>,
    options: LogsOptions,
    streams: BTreeMap<u64, AbortOnDropHandle<()>>,
    /// What the streams deliver, each by its number.
    sender: mpsc::Sender<Numbered>,
    items: mpsc::Receiver<Numbered>,
    next_stream: u64,
    /// Instances whose logs are coming, and by which stream.
    active: BTreeMap<InstanceName, u64>,
    /// Instances whose logs must be asked for, and since when they are missing.
    missing: BTreeMap<InstanceName, (SystemTime, Instant)>,
    /// Followed instances that run, as far as is known.
    running: BTreeSet<InstanceName>,
    opened: bool,
}

impl Follower {
    pub(super) fn new(ankaios: Client, subscription: &LogsSubscription) -> Self {
        let (sender, items) = mpsc::channel(QUEUE);
        Self {
            ankaios,
            workloads: subscription.workloads.clone(),
            options: LogsOptions {
                follow: subscription.follow,
                tail: subscription.tail,
                since: subscription.since.clone(),
                until: subscription.until.clone(),
            },
            streams: BTreeMap::new(),
            sender,
            items,
            next_stream: 0,
            active: BTreeMap::new(),
            missing: BTreeMap::new(),
            running: BTreeSet::new(),
            opened: false,
        }
    }

    /// Goes on where a former process was interrupted: what it has published of
    /// a followed log must not come again.
    pub(super) fn resume(&mut self) {
        if self.options.follow {
            self.options.tail = None;
            self.options.since = Some(rfc3339(SystemTime::now()));
        }
    }

    /// Finds the instances and asks for their logs.
    pub(crate) async fn open(&mut self) -> Result<Vec<InstanceName>, ErrorReply> {
        let masks = vec!["workloadStates".into()];
        let state = self.ankaios.state(masks).await?.answer().await?;
        let instances = self.resolve(&state)?;
        let (accepted, stream) =
            self.ankaios.logs(instances, self.options.clone()).await.map_err(ErrorReply::from)?;
        self.add(&accepted, stream);
        self.opened = true;
        Ok(accepted)
    }

    fn resolve(&self, state: &CompleteState) -> Result<BTreeSet<InstanceName>, ErrorReply> {
        let known: Vec<_> = instance_states(state).map(|(instance, _)| instance).collect();
        let mut instances = BTreeSet::new();
        for workload in &self.workloads {
            let mut found = known.iter().filter(|instance| is_meant(workload, instance)).peekable();
            if found.peek().is_none() {
                let name = match workload {
                    WorkloadRef::Name(name) => name.clone(),
                    WorkloadRef::Instance(instance) => instance.to_string(),
                };
                let message = format!("workloads: there is no instance of the workload {name:?}");
                return Err(ErrorReply::new(ErrorCode::NotFound, message).with("workload", name));
            }
            instances.extend(found.cloned());
        }
        Ok(instances)
    }

    /// Publishes until all logs have ended; for ever if they are followed.
    pub(super) async fn run(mut self, topic: String, publisher: Publisher) {
        if let Err(error) = self.publish(&topic, &publisher).await {
            tracing::debug!(%error, topic, "a log stream ends");
        }
    }

    async fn publish(&mut self, topic: &str, publisher: &Publisher) -> Result<(), Ended> {
        while !self.opened {
            if let Err(error) = self.open().await {
                tracing::warn!(%error, topic, "logs wait to be taken up again");
                sleep_until(Instant::now() + RETRY).await;
            }
        }
        let mut events = self.watch().await;
        while self.options.follow || !self.active.is_empty() || !self.missing.is_empty() {
            let due = self.missing.values().map(|(_, due)| *due).min();
            tokio::select! {
                Some((stream, item)) = self.items.recv() => {
                    self.take(stream, item, topic, publisher).await?;
                }
                event = next(&mut events) => match event {
                    Ok(event) => self.learn(&event),
                    Err(error) => tracing::warn!(%error, topic, "restarts are not noticed"),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.ask_again(topic).await;
                }
            }
        }
        Ok(())
    }

    /// Subscribes to the states of followed workloads.
    async fn watch(&mut self) -> Option<EventStream> {
        if !self.options.follow {
            return None;
        }
        let masks: BTreeSet<String> = self
            .workloads
            .iter()
            .map(|workload| match workload {
                WorkloadRef::Name(name) => format!("workloadStates.*.{name}"),
                WorkloadRef::Instance(instance) => {
                    format!("workloadStates.{}.{}", instance.agent_name, instance.workload_name)
                }
            })
            .collect();
        loop {
            let subscribing = self.ankaios.subscribe(masks.iter().cloned().collect()).await;
            let answer = match subscribing {
                Ok(subscribing) => subscribing.answer().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok((state, events)) => {
                    self.learn_states(&state);
                    return Some(events);
                }
                Err(RequestError::AccessDenied) => {
                    tracing::warn!(
                        "the states of workloads may not be read: restarted workloads \
                        are not followed"
                    );
                    return None;
                }
                Err(error) => {
                    tracing::warn!(%error, "waiting to follow restarted workloads");
                    sleep_until(Instant::now() + RETRY).await;
                }
            }
        }
    }

    async fn take(
        &mut self,
        stream: u64,
        item: LogItem,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), Ended> {
        match item {
            LogItem::Entries(entries) => {
                for entries in batches(entries) {
                    publisher.send(topic, &Entries { entries }).await?;
                }
            }
            LogItem::Dropped(dropped) => publisher.send(topic, &Dropped { dropped }).await?,
            LogItem::Stopped(stopped) => {
                self.active.remove(&stopped);
                if self.running.contains(&stopped) {
                    self.miss(stopped.clone(), PAUSE);
                }
                publisher.send(topic, &Stopped { stopped }).await?;
                if !self.active.values().any(|active| *active == stream) {
                    self.streams.remove(&stream);
                }
            }
            LogItem::Lost => {
                self.streams.remove(&stream);
                let lost: Vec<_> = self
                    .active
                    .extract_if(.., |_, active| *active == stream)
                    .map(|(instance, _)| instance)
                    .collect();
                for instance in lost {
                    self.miss(instance, Duration::ZERO);
                }
            }
        }
        Ok(())
    }

    fn miss(&mut self, instance: InstanceName, pause: Duration) {
        let due = Instant::now() + pause;
        self.missing.entry(instance).or_insert_with(|| (SystemTime::now(), due));
    }

    fn learn(&mut self, event: &Event) {
        if event.resynced {
            self.running.clear();
        }
        if let Some(state) = &event.response.complete_state {
            self.learn_states(state);
        }
        let removed =
            event.response.altered_fields.iter().flat_map(|fields| &fields.removed_fields);
        for instance in removed.filter_map(|field| InstanceName::from_state_path(field)) {
            self.running.remove(&instance);
            self.missing.remove(&instance);
        }
    }

    fn learn_states(&mut self, state: &CompleteState) {
        for (instance, state) in instance_states(state) {
            if !self.workloads.iter().any(|workload| is_meant(workload, &instance)) {
                continue;
            }
            if matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_))) {
                if !self.active.contains_key(&instance) {
                    self.miss(instance.clone(), Duration::ZERO);
                }
                self.running.insert(instance);
            } else {
                self.running.remove(&instance);
            }
        }
    }

    /// Asks for logs that are missing, from the moment on since which they are.
    async fn ask_again(&mut self, topic: &str) {
        let now = Instant::now();
        let due: BTreeMap<_, _> = self.missing.extract_if(.., |_, (_, due)| *due <= now).collect();
        // What has stopped for good is asked for again when it runs.
        let due: BTreeMap<_, _> = due
            .into_iter()
            .filter(|(instance, _)| !self.options.follow || self.running.contains(instance))
            .filter(|(instance, _)| !self.active.contains_key(instance))
            .collect();
        let Some(since) = due.values().map(|(since, _)| *since).min() else { return };
        let options =
            LogsOptions { tail: None, since: Some(rfc3339(since)), ..self.options.clone() };
        match self.ankaios.logs(due.keys().cloned(), options).await {
            Ok((accepted, stream)) => self.add(&accepted, stream),
            Err(error) => {
                tracing::warn!(%error, topic, "logs cannot be asked for again yet");
                for (instance, (since, _)) in due {
                    self.missing.insert(instance, (since, Instant::now() + RETRY));
                }
            }
        }
    }

    fn add(&mut self, instances: &[InstanceName], mut stream: LogStream) {
        self.next_stream += 1;
        let number = self.next_stream;
        self.active.extend(instances.iter().map(|instance| (instance.clone(), number)));
        let items = self.sender.clone();
        // A task of its own, which waits while the items are not taken: what then
        // comes in the meantime is thrown away, oldest first.
        let task = tokio::spawn(async move {
            loop {
                let item = stream.next().await;
                let last = item == LogItem::Lost;
                if items.send((number, item)).await.is_err() || last {
                    return;
                }
            }
        });
        if !instances.is_empty() {
            self.streams.insert(number, AbortOnDropHandle::new(task));
        }
    }
}

/// The next event of the states, if they are watched.
async fn next(events: &mut Option<EventStream>) -> Result<Event, RequestError> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn is_meant(workload: &WorkloadRef, instance: &InstanceName) -> bool {
    match workload {
        WorkloadRef::Name(name) => *name == instance.workload_name,
        WorkloadRef::Instance(wanted) => wanted == instance,
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[derive(Serialize)]
struct Entries {
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    instance: InstanceName,
    message: String,
}

#[derive(Serialize)]
struct Stopped {
    stopped: InstanceName,
}

#[derive(Serialize)]
struct Dropped {
    dropped: u64,
}

/// The entries as Ankaios has put them together, but no message too large. A
/// single line that is larger is cut.
fn batches(entries: Vec<LogEntry>) -> Vec<Vec<Entry>> {
    let mut batches = vec![Vec::new()];
    let mut size = 0;
    for LogEntry { workload_name, mut message } in entries {
        cut(&mut message);
        if size + message.len() > MAX_MESSAGE {
            batches.push(Vec::new());
            size = 0;
        }
        size += message.len();
        let instance = InstanceName::from(&workload_name.unwrap_or_default());
        if let Some(batch) = batches.last_mut() {
            batch.push(Entry { instance, message });
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

fn cut(line: &mut String) {
    if line.len() > MAX_MESSAGE {
        let surplus = line.len() - MAX_MESSAGE;
        line.truncate(line.floor_char_boundary(MAX_MESSAGE));
        line.push_str(&format!(" … [{surplus} bytes cut]"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn entry(message: &str) -> LogEntry {
        LogEntry { workload_name: None, message: message.into() }
    }

    #[test]
    fn small_batches_stay_together_and_large_ones_are_divided() {
        assert_eq!(batches(vec![entry("a"), entry("b")]).len(), 1);
        assert!(batches(Vec::new()).is_empty());
        let line = "x".repeat(MAX_MESSAGE / 2);
        let sizes: Vec<_> = batches(vec![entry(&line); 5]).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let line = "ü".repeat(MAX_MESSAGE);
        let cut = &batches(vec![entry(&line)])[0][0].message;
        assert!(cut.len() < MAX_MESSAGE + 50);
        assert!(cut.ends_with(&format!("ü … [{MAX_MESSAGE} bytes cut]")));
    }
}

//! Log lines of Ankaios as MQTT messages.
//!
//! A log stream of Ankaios ends with the container and with the session. What is
//! followed is asked for again: after a lost session, and when an instance runs
//! that was not there before or was restarted. Lines have no times that would tell
//! them apart, so the last ones before an interruption may come twice; none is
//! left out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures_util::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::log_messages::{Dropped, Stopped, batches};
use super::publisher::Publisher;
use super::record::{Bookmark, LogsSubscription, WorkloadRef};
use super::time::{format_rfc3339, parse_rfc3339};
use crate::ankaios::events::{Event, EventStream};
use crate::ankaios::logs::{LogItem, LogStream, LogsOptions};
use crate::ankaios::{Client, RequestError, WorkloadStates};
use crate::error::{ErrorCode, ErrorReply};
use crate::json::InstanceName;
use crate::mqtt::SessionEnded;
use crate::proto::ank_base::ExecutionState;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;

/// After the end of a log, Ankaios may not have told yet that the container has
/// ended. So long is waited before it is asked for more.
const PAUSE: Duration = Duration::from_millis(500);

/// How long to wait before logs are asked for again that could not be had.
const RETRY: Duration = Duration::from_secs(1);

/// A line needs some time from being written to its arrival. So much of a log is
/// asked for again after it was interrupted.
const OVERLAP: Duration = Duration::from_secs(1);

/// How long Ankaios may take to end logs whose time is over.
const GRACE: Duration = Duration::from_secs(1);

/// Items that wait between the streams and the one who publishes.
const QUEUE: usize = 4;

/// An item with the number of the stream that it comes from, and its arrival.
type Numbered = (u64, LogItem, SystemTime);

/// Publishes the logs of one subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    ankaios: Client,
    workloads: Vec<WorkloadRef>,
    options: LogsOptions,
    until: Option<SystemTime>,
    streams: BTreeMap<u64, AbortOnDropHandle<()>>,
    /// What the streams deliver.
    sender: mpsc::Sender<Numbered>,
    items: mpsc::Receiver<Numbered>,
    next_stream: u64,
    /// The instances whose logs have been asked for, or will be.
    logs: BTreeMap<InstanceName, Log>,
    /// Lines of new instances are wanted from this time on.
    begin: SystemTime,
    /// A former process has begun with it.
    restored: bool,
    opened: bool,
    states: WorkloadStates,
    /// Tells of restarts; `None` if nothing is followed, or if that is denied.
    events: Option<EventStream>,
    /// The states are known.
    watched: bool,
    /// When the last item was dealt with.
    quiet_since: Instant,
}

/// The log of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// It comes from a stream.
    Coming(u64),
    /// It must be asked for, but not before this time.
    Due { at: Instant, since: SystemTime },
    /// It has ended, then.
    Ended(SystemTime),
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
            until: subscription.until.as_deref().and_then(parse_rfc3339),
            streams: BTreeMap::new(),
            sender,
            items,
            next_stream: 0,
            logs: BTreeMap::new(),
            begin: SystemTime::now(),
            restored: false,
            opened: false,
            states: WorkloadStates::default(),
            events: None,
            watched: false,
            quiet_since: Instant::now(),
        }
    }

    /// Goes on where a former process was interrupted: of a followed log, what it
    /// has published must not come again. Other logs begin anew.
    pub(super) fn restored(ankaios: Client, subscription: &LogsSubscription) -> Self {
        let mut follower = Self::new(ankaios, subscription);
        follower.restored = true;
        if let Some(resume_at) = subscription.resume_at.as_deref().and_then(parse_rfc3339) {
            follower.begin = resume_at.checked_sub(OVERLAP).unwrap_or(resume_at);
        }
        follower
    }

    /// Finds the instances and asks for their logs.
    pub(crate) async fn open(&mut self) -> Result<Vec<InstanceName>, ErrorReply> {
        let state = self.ankaios.state(self.field_masks()).await?.answer().await?;
        let mut states = WorkloadStates::default();
        states.replace(&state);
        let instances = self.resolve(&states)?;
        let (accepted, stream) =
            self.ankaios.logs(instances, self.options.clone()).await.map_err(ErrorReply::from)?;
        self.add(&accepted, stream);
        self.opened = true;
        Ok(accepted)
    }

    fn resolve(&self, states: &WorkloadStates) -> Result<BTreeSet<InstanceName>, ErrorReply> {
        let mut instances = BTreeSet::new();
        for workload in &self.workloads {
            let known = states.iter().map(|(instance, _)| instance);
            let mut found = known.filter(|instance| is_meant(workload, instance)).peekable();
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

    /// The states of the workloads.
    fn field_masks(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.workloads.iter().map(WorkloadRef::workload_name).collect();
        names.into_iter().map(|name| format!("workloadStates.*.{name}")).collect()
    }

    /// Publishes until all logs have ended, and will not go on.
    pub(super) async fn run(mut self, topic: String, publisher: Publisher, bookmark: Bookmark) {
        if let Err(error) = self.publish(&topic, &publisher, bookmark).await {
            tracing::debug!(%error, topic, "a log stream ends");
        }
    }

    async fn publish(
        &mut self,
        topic: &str,
        publisher: &Publisher,
        mut bookmark: Bookmark,
    ) -> Result<(), SessionEnded> {
        if self.options.follow {
            self.events = Some(self.ankaios.events(self.field_masks()));
        } else if !self.opened && !self.open_again(topic).await {
            return Ok(());
        }
        while self.goes_on() {
            let due = self.logs.values().filter_map(|log| log.due()).min();
            let over = self.until.filter(|_| self.options.follow);
            let over = over.map(|until| in_time(until).max(self.quiet_since) + GRACE);
            tokio::select! {
                Some((stream, item, arrived)) = self.items.recv() => {
                    self.take(stream, item, arrived, topic, publisher).await?;
                    self.quiet_since = Instant::now();
                    if self.options.follow {
                        bookmark.put(arrived).await?;
                    }
                }
                Some(event) = OptionFuture::from(self.events.as_mut().map(EventStream::next)) => {
                    match event {
                        Ok(event) => self.learn(&event),
                        Err(error) => self.cannot_watch(&error, topic),
                    }
                }
                Some(()) = OptionFuture::from(due.map(sleep_until)) => {
                    self.ask(topic, publisher).await?;
                }
                Some(()) = OptionFuture::from(over.map(sleep_until)) => {
                    self.time_is_over(topic, publisher).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks for the logs of a former process until it is clear whether there are
    /// any.
    async fn open_again(&mut self, topic: &str) -> bool {
        while let Err(error) = self.open().await {
            tracing::warn!(%error, topic, "logs cannot be taken up again");
            if !matches!(error.code, ErrorCode::Timeout | ErrorCode::Unavailable) {
                return false;
            }
            sleep_until(Instant::now() + RETRY).await;
        }
        true
    }

    /// Whether there is something to wait for.
    fn goes_on(&self) -> bool {
        if self.logs.values().any(|log| !matches!(log, Log::Ended(_))) {
            return true;
        }
        if self.events.is_none() || self.is_over() {
            return false;
        }
        // A workload may come again, but not an instance that is gone.
        let may_run = |workload: &WorkloadRef| match workload {
            WorkloadRef::Name(_) => true,
            WorkloadRef::Instance(instance) => self.states.get(instance).is_some(),
        };
        !self.watched || self.workloads.iter().any(may_run)
    }

    /// Whether all that is wanted has been written.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= SystemTime::now())
    }

    async fn take(
        &mut self,
        stream: u64,
        item: LogItem,
        arrived: SystemTime,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), SessionEnded> {
        match item {
            LogItem::Entries(entries) => {
                for entries in batches(entries) {
                    publisher.send(topic, &entries).await?;
                }
            }
            LogItem::Dropped(dropped) => publisher.send(topic, &Dropped { dropped }).await?,
            LogItem::Stopped(stopped) => {
                self.stopped(stream, &stopped, arrived);
                publisher.send(topic, &Stopped { stopped }).await?;
            }
            LogItem::Lost => self.lost(stream, arrived),
        }
        Ok(())
    }

    /// The log of an instance has ended, with its container.
    fn stopped(&mut self, stream: u64, instance: &InstanceName, arrived: SystemTime) {
        if self.logs.get(instance) == Some(&Log::Coming(stream)) {
            if self.options.follow && !self.is_over() && self.runs(instance) {
                let at = Instant::now() + PAUSE;
                self.logs.insert(instance.clone(), Log::Due { at, since: arrived });
            } else if self.watched && self.states.get(instance).is_none() {
                self.logs.remove(instance);
            } else {
                self.logs.insert(instance.clone(), Log::Ended(arrived));
            }
        }
        if !self.logs.values().any(|log| *log == Log::Coming(stream)) {
            self.streams.remove(&stream);
        }
    }

    /// A stream has ended with its session. All that was written before its last
    /// item has come, but for what was under way.
    fn lost(&mut self, stream: u64, arrived: SystemTime) {
        self.streams.remove(&stream);
        let since = arrived.checked_sub(OVERLAP).unwrap_or(arrived);
        let due = Log::Due { at: Instant::now(), since };
        for log in self.logs.values_mut().filter(|log| **log == Log::Coming(stream)) {
            *log = due;
        }
    }

    fn cannot_watch(&mut self, error: &RequestError, topic: &str) {
        tracing::warn!(%error, topic, "restarts of workloads are not noticed");
        if *error == RequestError::AccessDenied {
            self.events = None;
        }
    }

    /// Looks for instances whose logs must be asked for.
    fn learn(&mut self, event: &Event) {
        let changes = self.states.apply(event);
        let first_after_restart = self.restored && !self.watched;
        self.watched = true;
        for instance in &changes.changed {
            if !self.workloads.iter().any(|workload| is_meant(workload, instance)) {
                continue;
            }
            let since = match self.logs.get(instance) {
                Some(Log::Ended(end)) => *end,
                Some(_) => continue,
                None => self.begin,
            };
            // What has ended while there was no connector has lines, too.
            if (self.runs(instance) || first_after_restart) && !self.is_over() {
                self.logs.insert(instance.clone(), Log::Due { at: Instant::now(), since });
            }
        }
        // The end of a log that is coming is told by its stream.
        self.logs.retain(|instance, log| {
            matches!(log, Log::Coming(_)) || self.states.get(instance).is_some()
        });
    }

    fn runs(&self, instance: &InstanceName) -> bool {
        let runs = |state: &ExecutionState| {
            matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_)))
        };
        self.states.get(instance).is_some_and(runs)
    }

    /// Asks for the logs that are due, together those that are missing since the
    /// same time.
    async fn ask(&mut self, topic: &str, publisher: &Publisher) -> Result<(), SessionEnded> {
        let now = Instant::now();
        let mut due = BTreeMap::<SystemTime, Vec<InstanceName>>::new();
        for (instance, log) in &self.logs {
            if let Log::Due { at, since } = log
                && *at <= now
            {
                due.entry(*since).or_default().push(instance.clone());
            }
        }
        for (since, instances) in due {
            let options = self.options_again(since);
            match self.ankaios.logs(instances.clone(), options).await {
                Ok((accepted, stream)) => {
                    self.add(&accepted, stream);
                    for instance in instances {
                        if !accepted.contains(&instance) {
                            self.not_accepted(instance, since, topic, publisher).await?;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, topic, "logs cannot be asked for again");
                    for instance in instances {
                        self.put_off(instance, since, is_transient(&error));
                    }
                }
            }
        }
        Ok(())
    }

    /// What to ask for if everything before a time has come.
    fn options_again(&self, since: SystemTime) -> LogsOptions {
        let options = self.options.clone();
        if !options.follow {
            // How much of it has come is not known.
            return options;
        }
        LogsOptions { tail: None, since: Some(format_rfc3339(since)), ..options }
    }

    /// Ankaios does not know the instance: it is gone, or not there yet.
    async fn not_accepted(
        &mut self,
        instance: InstanceName,
        since: SystemTime,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), SessionEnded> {
        let runs = self.runs(&instance);
        self.put_off(instance.clone(), since, runs);
        if runs { Ok(()) } else { publisher.send(topic, &Stopped { stopped: instance }).await }
    }

    fn put_off(&mut self, instance: InstanceName, since: SystemTime, again: bool) {
        let at = Instant::now() + RETRY;
        let log = if again { Log::Due { at, since } } else { Log::Ended(since) };
        self.logs.insert(instance, log);
    }

    /// Ends followed logs whose time is over and that Ankaios has not ended.
    async fn time_is_over(
        &mut self,
        topic: &str,
        publisher: &Publisher,
    ) -> Result<(), SessionEnded> {
        if !self.is_over() || !self.items.is_empty() {
            return Ok(());
        }
        let now = SystemTime::now();
        let logs = std::mem::take(&mut self.logs);
        self.streams.clear();
        for (instance, log) in logs {
            if !matches!(log, Log::Ended(_)) {
                publisher.send(topic, &Stopped { stopped: instance.clone() }).await?;
            }
            self.logs.insert(instance, Log::Ended(now));
        }
        Ok(())
    }

    fn add(&mut self, instances: &[InstanceName], mut stream: LogStream) {
        if instances.is_empty() {
            // It would never end.
            return;
        }
        self.next_stream += 1;
        let number = self.next_stream;
        self.logs.extend(instances.iter().map(|name| (name.clone(), Log::Coming(number))));
        let items = self.sender.clone();
        // A task of its own, which waits while the items are not taken: what then
        // comes in the meantime is thrown away, oldest first.
        let task = tokio::spawn(async move {
            loop {
                let item = stream.next().await;
                let last = item == LogItem::Lost;
                if items.send((number, item, stream.arrived())).await.is_err() || last {
                    return;
                }
            }
        });
        self.streams.insert(number, AbortOnDropHandle::new(task));
    }
}

impl Log {
    fn due(self) -> Option<Instant> {
        match self {
            Self::Due { at, .. } => Some(at),
            Self::Coming(_) | Self::Ended(_) => None,
        }
    }
}

fn is_meant(workload: &WorkloadRef, instance: &InstanceName) -> bool {
    match workload {
        WorkloadRef::Name(name) => *name == instance.workload_name,
        WorkloadRef::Instance(wanted) => wanted == instance,
    }
}

/// Whether it may be different the next time.
fn is_transient(error: &RequestError) -> bool {
    matches!(error, RequestError::Timeout(_) | RequestError::Unavailable(_))
}

/// The moment at which that time has come, but at most an hour from now.
fn in_time(time: SystemTime) -> Instant {
    const LONGEST: Duration = Duration::from_secs(3600);
    let wait = time.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + wait.min(LONGEST)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ankaios::connect;
    use crate::ankaios::workload_states::tests::{RUNNING, event, snapshot, state};

    const ARRIVED: &str = "2026-01-31T12:00:05.000Z";

    /// A follower of the workload `w`, whose instance has a log that comes.
    fn follower(follow: bool) -> Follower {
        let (client, _) = connect("/nowhere".into(), Duration::from_secs(1));
        let subscription = json!({"id": "x", "workloads": ["w"], "follow": follow, "tail": 5,
            "since": "2026-01-31T11:00:00Z"});
        let subscription = serde_json::from_value(subscription).unwrap();
        let mut follower = Follower::new(client, &subscription);
        follower.logs.insert(instance(), Log::Coming(1));
        follower
    }

    fn instance() -> InstanceName {
        "w.1.a".parse().unwrap()
    }

    #[tokio::test]
    async fn a_lost_log_is_asked_for_from_before_its_last_line_or_anew() {
        for (follow, tail, since) in
            [(true, None, "2026-01-31T12:00:04.000Z"), (false, Some(5), "2026-01-31T11:00:00Z")]
        {
            let mut follower = follower(follow);
            follower.lost(1, parse_rfc3339(ARRIVED).unwrap());
            let Some(Log::Due { since: due_since, .. }) = follower.logs.get(&instance()) else {
                unreachable!("it is due");
            };
            let options = follower.options_again(*due_since);
            assert_eq!((options.tail, options.since.as_deref()), (tail, Some(since)));
        }
    }

    #[tokio::test]
    async fn what_is_gone_is_forgotten_whatever_names_it() {
        for removed in ["workloadStates.a.w.1", "workloadStates.a.w", "workloadStates.a"] {
            let mut follower = follower(true);
            follower.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
            follower.learn(&event(Default::default(), &[removed]));
            follower.stopped(1, &instance(), parse_rfc3339(ARRIVED).unwrap());
            assert!(follower.logs.is_empty(), "{removed}");
        }
    }

    #[tokio::test]
    async fn an_event_without_a_state_does_not_stop_what_runs() {
        let mut follower = follower(true);
        let instances = [("a", "w", "1")];
        follower.learn(&snapshot(state(&instances, RUNNING, None)));
        follower.learn(&event(state(&instances, None, Some("news")), &[]));
        follower.stopped(1, &instance(), parse_rfc3339(ARRIVED).unwrap());
        assert!(matches!(follower.logs.get(&instance()), Some(Log::Due { .. })));
    }
}

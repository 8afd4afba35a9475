//! The instances of a subscription to logs, and what to do about the log of each.
//!
//! This is pure: it gets requests' answers, events and the time, and says which logs to
//! request, when, and for which instances a `stopped` message is to be published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::position::Position;
use ankaios_control::Event;
use ankaios_control::LogsOptions;
use ankaios_control::WorkloadStates;
use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::ExecutionState;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use fleet_contract::WorkloadRef;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::requests::LogsRequest;
use fleet_contract::rfc3339;

/// When a log ends, the state may still say that the instance runs: agents check their
/// containers every 500 ms, and less often under load. A log is not requested again
/// earlier than this.
const SETTLE: Duration = Duration::from_millis(1500);

/// A line arrives some time after it was written. This much of a log is requested again.
const OVERLAP: Duration = Duration::from_secs(1);

/// How long to wait before logs are requested again that were not available.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// How long Ankaios may take to end logs whose `until` has passed.
const GRACE: Duration = Duration::from_secs(1);

/// A moment, by the monotonic clock and by the time of day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) time: SystemTime,
}

impl Now {
    /// Reads both clocks.
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }
}

/// The instances whose logs were requested or will be.
#[derive(Debug)]
pub(super) struct Instances {
    workloads: Vec<WorkloadRef>,
    options: LogsOptions,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    logs: BTreeMap<InstanceName, Log>,
    /// The logs of instances that appear later are requested from this time on; `None` is
    /// from their first line.
    begin: Option<SystemTime>,
    /// The subscription was begun by an earlier process.
    restored: bool,
    states: WorkloadStates,
    /// The first snapshot of the states has come.
    states_known: bool,
}

/// The log of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// Its lines come from the stream of this number.
    Open { stream: u64, position: Position },
    /// It is to be requested from `since` on, but not before `at`.
    Due {
        at: Instant,
        since: Option<SystemTime>,
        /// Its end was published, and none of its lines since.
        end_published: bool,
    },
    /// It has ended, which was published, but the last known state is that the instance
    /// runs. Either the state will follow, or the container was restarted: at `at` the log
    /// is requested again.
    Settling { at: Instant, since: Option<SystemTime> },
    /// It has ended, which was published. Lines from before `until` have been delivered.
    Ended { until: Option<SystemTime> },
}

impl Log {
    fn is_end_published(&self) -> bool {
        match self {
            Self::Open { .. } => false,
            Self::Due { end_published, .. } => *end_published,
            Self::Settling { .. } | Self::Ended { .. } => true,
        }
    }

    fn is_from(&self, number: u64) -> bool {
        matches!(self, Self::Open { stream, .. } if *stream == number)
    }

    /// When it is to be requested, and from when on.
    fn due(&self) -> Option<(Instant, Option<SystemTime>)> {
        match self {
            Self::Due { at, since, .. } | Self::Settling { at, since } => Some((*at, *since)),
            Self::Open { .. } | Self::Ended { .. } => None,
        }
    }
}

impl Instances {
    /// The instances of a subscription that begins at `now`.
    pub(super) fn new(subscription: &LogsRequest, now: SystemTime) -> Self {
        let options = options(subscription);
        let time = |text: &Option<String>| text.as_deref().and_then(rfc3339::parse);
        Self {
            workloads: subscription.workloads.clone(),
            since: time(&options.since),
            until: time(&options.until),
            options,
            logs: BTreeMap::new(),
            begin: Some(now),
            restored: false,
            states: WorkloadStates::default(),
            states_known: false,
        }
    }

    /// Resumes where an earlier process was interrupted; without a time, from the first
    /// lines.
    pub(super) fn restored(mut self, resume_at: Option<SystemTime>) -> Self {
        self.restored = true;
        self.begin = resume_at;
        self
    }

    pub(super) fn follow(&self) -> bool {
        self.options.follow
    }

    /// The field masks of the states of the workloads.
    pub(super) fn field_masks(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.workloads.iter().map(WorkloadRef::workload_name).collect();
        names.into_iter().map(|name| format!("workloadStates.*.{name}")).collect()
    }

    /// The existing instances.
    ///
    /// # Errors
    /// One of the workloads has none.
    pub(super) fn resolve(
        &self,
        states: &WorkloadStates,
    ) -> Result<BTreeSet<InstanceName>, ErrorReply> {
        let mut instances = BTreeSet::new();
        for workload in &self.workloads {
            let known = states.iter().map(|(instance, _)| instance);
            let mut found = known.filter(|instance| workload.includes(instance)).peekable();
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

    /// Whether there is nothing more to wait for; `watching` says whether restarts of
    /// workloads would be noticed.
    pub(super) fn is_done(&self, watching: bool, now: SystemTime) -> bool {
        if self.logs.values().any(|log| !matches!(log, Log::Ended { .. })) {
            return false;
        }
        if !watching || self.is_past_until(now) {
            return true;
        }
        // A workload may come back, but an instance that is gone does not.
        let may_run = |workload: &WorkloadRef| match workload {
            WorkloadRef::Name(_) => true,
            WorkloadRef::Instance(instance) => self.states.get(instance).is_some(),
        };
        self.states_known && !self.workloads.iter().any(may_run)
    }

    /// Whether all requested lines have been written.
    pub(super) fn is_past_until(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// When to end followed logs that Ankaios has not ended; the last message of one came
    /// at `last_message`. May be too early if `until` is far away.
    pub(super) fn deadline(&self, last_message: Instant, now: Now) -> Option<Instant> {
        const LONGEST: Duration = Duration::from_secs(3600);
        let until = self.until.filter(|_| self.follow())?;
        let wait = until.duration_since(now.time).unwrap_or_default().min(LONGEST);
        Some((now.instant + wait).max(last_message) + GRACE)
    }

    /// Records that a request for the logs of these instances, for lines `since` a time, was
    /// accepted.
    pub(super) fn opened(
        &mut self,
        instances: &[InstanceName],
        stream: u64,
        since: Option<SystemTime>,
        now: SystemTime,
    ) {
        let log = Log::Open { stream, position: Position::new(since, now) };
        self.logs.extend(instances.iter().map(|name| (name.clone(), log)));
    }

    /// Records that a message of a stream was published.
    pub(super) fn delivered(&mut self, stream: u64, arrived: SystemTime) {
        for log in self.logs.values_mut() {
            if let Log::Open { stream: number, position } = log
                && *number == stream
            {
                position.advance(arrived);
            }
        }
    }

    /// The time until which all logs have been delivered, except for the last moments
    /// before it. `None`: perhaps not even the first line of one.
    pub(super) fn delivered_until(&self) -> Option<SystemTime> {
        let unfinished = self.logs.values().filter_map(|log| match log {
            Log::Open { position, .. } => Some(position.delivered_until()),
            Log::Due { since, .. } | Log::Settling { since, .. } => Some(*since),
            Log::Ended { .. } => None,
        });
        let ended = self.logs.values().filter_map(|log| match log {
            Log::Ended { until } => *until,
            _ => None,
        });
        unfinished.min().unwrap_or_else(|| ended.max())
    }

    /// Whether a stream still has logs to deliver.
    pub(super) fn has_open(&self, stream: u64) -> bool {
        self.logs.values().any(|log| log.is_from(stream))
    }

    /// Records that the log of an instance has ended, with its container. Gives the
    /// instance if that is to be published.
    #[must_use]
    pub(super) fn stopped(
        &mut self,
        stream: u64,
        instance: InstanceName,
        arrived: SystemTime,
        now: Now,
    ) -> Option<InstanceName> {
        if !self.logs.get(&instance).is_some_and(|log| log.is_from(stream)) {
            return None;
        }
        if self.follow() && !self.is_past_until(now.time) && self.is_running(&instance) {
            let settling = Log::Settling { at: now.instant + SETTLE, since: Some(arrived) };
            self.logs.insert(instance.clone(), settling);
        } else if self.states_known && self.states.get(&instance).is_none() {
            self.logs.remove(&instance);
        } else {
            self.logs.insert(instance.clone(), Log::Ended { until: Some(arrived) });
        }
        Some(instance)
    }

    /// Records that a stream has ended with its session.
    pub(super) fn lost(&mut self, stream: u64, now: Instant) {
        for log in self.logs.values_mut() {
            if let Log::Open { stream: number, position } = log
                && *number == stream
            {
                let since = position.delivered_until();
                *log = Log::Due { at: now, since, end_published: false };
            }
        }
    }

    /// Records an event of the states, and finds the instances whose logs are to be
    /// requested. Gives those that are gone and whose end is to be published.
    #[must_use]
    pub(super) fn observe(&mut self, event: &Event, now: Now) -> Vec<InstanceName> {
        let changes = self.states.apply(event);
        let first = !self.states_known;
        self.states_known = true;
        for instance in &changes.changed {
            if self.workloads.iter().any(|workload| workload.includes(instance)) {
                let log = self.after_change(instance, first, event.resynced, now);
                self.logs.extend(log.map(|log| (instance.clone(), log)));
            }
        }
        // The end of an open log comes from its stream.
        let gone = self.logs.extract_if(.., |instance, log| {
            !matches!(log, Log::Open { .. }) && self.states.get(instance).is_none()
        });
        gone.filter(|(_, log)| !log.is_end_published()).map(|(instance, _)| instance).collect()
    }

    /// What the log of an instance becomes when its state has changed; `None` if it stays
    /// as it is.
    fn after_change(
        &self,
        instance: &InstanceName,
        first: bool,
        resynced: bool,
        now: Now,
    ) -> Option<Log> {
        let is_running = self.is_running(instance);
        // An instance may have run, and ended, while there was no connector.
        let has_lines = is_running || first && self.restored;
        let is_wanted = has_lines && !self.is_past_until(now.time);
        let due = |since, end_published| Log::Due { at: now.instant, since, end_published };
        match self.logs.get(instance) {
            Some(&Log::Settling { since, .. }) if !is_running => Some(Log::Ended { until: since }),
            // A snapshot may be older than the end of the log.
            Some(&Log::Settling { since, .. }) if !resynced => is_wanted.then(|| due(since, true)),
            Some(&Log::Ended { until }) if first => {
                is_wanted.then(|| Log::Settling { at: now.instant + SETTLE, since: until })
            }
            Some(&Log::Ended { until }) => is_wanted.then(|| due(until, true)),
            Some(_) => None,
            None => is_wanted.then(|| due(self.begin, false)),
        }
    }

    /// Whether an instance runs, by the last known state.
    pub(super) fn is_running(&self, instance: &InstanceName) -> bool {
        let is_running = |state: &ExecutionState| {
            matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_)))
        };
        self.states.get(instance).is_some_and(is_running)
    }

    /// When the next log is to be requested.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.logs.values().filter_map(Log::due).map(|(at, _)| at).min()
    }

    /// The instances whose logs are to be requested now, by the time from which on.
    pub(super) fn due(&self, now: Instant) -> BTreeMap<Option<SystemTime>, Vec<InstanceName>> {
        let mut due = BTreeMap::<Option<SystemTime>, Vec<InstanceName>>::new();
        for (instance, log) in &self.logs {
            if let Some((_, since)) = log.due().filter(|(at, _)| *at <= now) {
                due.entry(since).or_default().push(instance.clone());
            }
        }
        due
    }

    /// The options of a request, made at `now`, for a log whose lines from before `since`
    /// have been delivered; `None` is a first request. Also gives the time from which on
    /// they give lines; `None` is from the first line.
    pub(super) fn request(
        &self,
        since: Option<SystemTime>,
        now: SystemTime,
    ) -> (LogsOptions, Option<SystemTime>) {
        let options = self.options.clone();
        // Without `follow`, an interrupted request is repeated as a whole.
        let Some(since) = since.filter(|_| options.follow) else {
            // The last lines (`tail`) come before anything that is written later.
            let from = self.since.or_else(|| options.tail.map(|_| now));
            return (options, from);
        };
        let from = since.checked_sub(OVERLAP).max(self.since);
        (LogsOptions { tail: None, since: from.map(rfc3339::format), ..options }, from)
    }

    /// Records that a requested log was not available: it is requested again later, or
    /// has ended. Gives the instance if its end is to be published.
    #[must_use]
    pub(super) fn unavailable(
        &mut self,
        instance: InstanceName,
        since: Option<SystemTime>,
        retry: bool,
        now: Instant,
    ) -> Option<InstanceName> {
        let end_published = self.logs.get(&instance).is_some_and(Log::is_end_published);
        let log = if retry {
            Log::Due { at: now + RETRY, since, end_published }
        } else {
            Log::Ended { until: since }
        };
        self.logs.insert(instance.clone(), log);
        (!retry && !end_published).then_some(instance)
    }

    /// Ends all logs. Gives the instances whose end is to be published.
    #[must_use]
    pub(super) fn end_all(&mut self) -> Vec<InstanceName> {
        let unpublished = self.logs.iter().filter(|(_, log)| !log.is_end_published());
        let unpublished = unpublished.map(|(instance, _)| instance.clone()).collect();
        for log in self.logs.values_mut() {
            *log = Log::Ended { until: self.until };
        }
        unpublished
    }
}

fn options(request: &LogsRequest) -> LogsOptions {
    let LogsRequest { follow, tail, since, until, .. } = request;
    LogsOptions { follow: *follow, tail: *tail, since: since.clone(), until: until.clone() }
}

#[cfg(test)]
mod tests;

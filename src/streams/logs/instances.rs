//! The instances of a subscription to logs, and the state of the log of each.
//!
//! Pure: its inputs are answers to requests, events and the time. Its outputs are the logs to
//! request and when, and the instances for which to publish a `stopped` message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use ankaios_control::Event;
use ankaios_control::LogsOptions;
use ankaios_control::Moment;
use ankaios_control::WorkloadStates;
use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::ExecutionState;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use fleet_contract::WorkloadRef;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::requests::LogsRequest;
use fleet_contract::rfc3339;
use tokio::time::Instant;

use super::position::{LogPosition, Since};

/// How long to wait after the end of a log before it is requested again. The state may still say
/// that the instance runs: agents check their containers every 500 ms, and less often under load.
const SETTLE: Duration = Duration::from_millis(1500);

/// How much of a log is requested again after an interruption, because a line arrives some time
/// after it was written.
const OVERLAP: Duration = Duration::from_secs(1);

/// How long to wait before logs that were not available are requested again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// How long Ankaios may take to end logs whose `until` has passed.
const GRACE: Duration = Duration::from_secs(1);

/// The instances of a subscription to logs.
#[derive(Debug)]
pub(super) struct Instances {
    workloads: Vec<WorkloadRef>,
    options: LogsOptions,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    logs: BTreeMap<InstanceName, Log>,
    /// The logs of instances that appear later are requested from this time on; `None` means
    /// from their first line.
    begin: Option<Since>,
    /// When the subscription began, or was resumed.
    started: Moment,
    /// Whether an earlier process has started the subscription.
    restored: bool,
    states: WorkloadStates,
    /// Whether the first snapshot of the states has arrived.
    states_known: bool,
}

/// The log of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// Its lines come from the stream of this number.
    Open { stream: u64, position: LogPosition },
    /// To be requested at `at`, from `since` on.
    Due {
        at: Instant,
        since: Option<Since>,
        /// Whether its end was published, and none of its lines since.
        end_published: bool,
    },
    /// It has ended, and the end was published, but the last known state says that the instance
    /// runs. Either the state will follow, or the container was restarted: at `at` the log is
    /// requested again.
    Settling { at: Instant, since: Option<Since> },
    /// It has ended, and the end was published. Lines from before `until` have been delivered.
    Ended { until: Option<Since> },
}

impl Log {
    fn is_end_published(&self) -> bool {
        match self {
            Self::Open { .. } => false,
            Self::Due { end_published, .. } => *end_published,
            Self::Settling { .. } | Self::Ended { .. } => true,
        }
    }

    fn is_open_on(&self, number: u64) -> bool {
        matches!(self, Self::Open { stream, .. } if *stream == number)
    }

    /// When to request it, and from which time on.
    fn due(&self) -> Option<(Instant, Option<Since>)> {
        match self {
            Self::Due { at, since, .. } | Self::Settling { at, since } => Some((*at, *since)),
            Self::Open { .. } | Self::Ended { .. } => None,
        }
    }
}

impl Instances {
    /// The instances of a subscription that begins at `now`.
    pub(super) fn new(subscription: &LogsRequest, now: Moment) -> Self {
        let options = options(subscription);
        let time = |text: &Option<String>| text.as_deref().and_then(rfc3339::parse);
        Self {
            workloads: subscription.workloads.clone(),
            since: time(&options.since),
            until: time(&options.until),
            options,
            logs: BTreeMap::new(),
            begin: Some(now.into()),
            started: now,
            restored: false,
            states: WorkloadStates::default(),
            states_known: false,
        }
    }

    /// Resumes where an earlier process was interrupted; `None` means from the first lines.
    /// `uptime` is the time since the device has started.
    pub(super) fn restored(mut self, resume_at: Option<SystemTime>, uptime: Duration) -> Self {
        let now = self.started;
        // Otherwise the clock was set back, perhaps by the start of the device: then all lines
        // since the start are requested, because it is unknown how many are new.
        let started_at = now.time.checked_sub(uptime).unwrap_or(SystemTime::UNIX_EPOCH);
        let time = |time| if time <= now.time { time } else { started_at };
        self.restored = true;
        self.begin = resume_at.map(|resume_at| Since::new(time(resume_at), now));
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

    /// Whether there is nothing more to wait for. `watching` says whether restarts of workloads
    /// are reported.
    pub(super) fn is_done(&self, watching: bool, now: SystemTime) -> bool {
        if self.logs.values().any(|log| !matches!(log, Log::Ended { .. })) {
            return false;
        }
        if !watching || self.is_past_until(now) {
            return true;
        }
        // A workload may get a new instance, but an instance that was removed does not return.
        let may_run = |workload: &WorkloadRef| match workload {
            WorkloadRef::Name(_) => true,
            WorkloadRef::Instance(instance) => self.states.get(instance).is_some(),
        };
        self.states_known && !self.workloads.iter().any(may_run)
    }

    /// Whether `until` has passed, so that all requested lines have been written.
    pub(super) fn is_past_until(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// When to end followed logs that Ankaios has not ended. `last_message` is when their last
    /// message arrived. The result is too early if `until` is more than a few seconds away; the
    /// caller then asks again.
    pub(super) fn deadline(&self, last_message: Instant, now: Moment) -> Option<Instant> {
        /// The clock may be set to a time after `until`.
        const LONGEST: Duration = Duration::from_secs(10);
        let until = self.until.filter(|_| self.follow())?;
        let wait = until.duration_since(now.time).unwrap_or_default().min(LONGEST);
        Some((now.instant + wait).max(last_message) + GRACE)
    }

    /// Records that Ankaios has accepted a request for the logs of these instances from `since`
    /// on.
    pub(super) fn opened(
        &mut self,
        instances: &[InstanceName],
        stream: u64,
        since: Option<SystemTime>,
        now: Moment,
    ) {
        let log = Log::Open { stream, position: LogPosition::new(since, now) };
        self.logs.extend(instances.iter().map(|name| (name.clone(), log)));
    }

    /// Records that a message of a stream was published.
    pub(super) fn delivered(&mut self, stream: u64, arrived: Moment) {
        for log in self.logs.values_mut() {
            if let Log::Open { stream: number, position } = log
                && *number == stream
            {
                position.advance(arrived);
            }
        }
    }

    /// The time until which all logs have been delivered, except for the last moments before it.
    /// `None` means that perhaps not even the first line of some log was delivered.
    pub(super) fn delivered_until(&self, now: Moment) -> Option<SystemTime> {
        let at = |since: Since| since.at(now);
        let unfinished = self.logs.values().filter_map(|log| match log {
            Log::Open { position, .. } => Some(position.delivered_until().map(at)),
            Log::Due { since, .. } | Log::Settling { since, .. } => Some(since.map(at)),
            Log::Ended { .. } => None,
        });
        let ended = self.logs.values().filter_map(|log| match log {
            Log::Ended { until } => until.map(at),
            _ => None,
        });
        unfinished.min().unwrap_or_else(|| ended.max())
    }

    /// Whether a stream still has logs to deliver.
    pub(super) fn has_open(&self, stream: u64) -> bool {
        self.logs.values().any(|log| log.is_open_on(stream))
    }

    /// Records that the log of an instance has ended with its container. Returns the instance if
    /// its end has to be published.
    #[must_use]
    pub(super) fn stopped(
        &mut self,
        stream: u64,
        instance: InstanceName,
        arrived: Moment,
        now: Moment,
    ) -> Option<InstanceName> {
        if !self.logs.get(&instance).is_some_and(|log| log.is_open_on(stream)) {
            return None;
        }
        if self.follow() && !self.is_past_until(now.time) && self.is_running(&instance) {
            let settling = Log::Settling { at: now.instant + SETTLE, since: Some(arrived.into()) };
            self.logs.insert(instance.clone(), settling);
        } else if self.states_known && self.states.get(&instance).is_none() {
            self.logs.remove(&instance);
        } else {
            self.logs.insert(instance.clone(), Log::Ended { until: Some(arrived.into()) });
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

    /// Records an event of the states, and finds the instances whose logs have to be requested.
    /// Returns the removed instances whose end has to be published.
    #[must_use]
    pub(super) fn observe(&mut self, event: &Event, now: Moment) -> Vec<InstanceName> {
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

    /// The new state of the log of an instance whose state has changed; `None` if the log stays as
    /// it is.
    fn after_change(
        &self,
        instance: &InstanceName,
        first: bool,
        resynced: bool,
        now: Moment,
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

    /// Whether an instance runs according to its last known state.
    pub(super) fn is_running(&self, instance: &InstanceName) -> bool {
        let is_running = |state: &ExecutionState| {
            matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_)))
        };
        self.states.get(instance).is_some_and(is_running)
    }

    /// When to request the next log.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.logs.values().filter_map(Log::due).map(|(at, _)| at).min()
    }

    /// The instances whose logs have to be requested now, by the time from which to request them.
    pub(super) fn due(&self, now: Moment) -> BTreeMap<Option<SystemTime>, Vec<InstanceName>> {
        let mut due = BTreeMap::<Option<SystemTime>, Vec<InstanceName>>::new();
        for (instance, log) in &self.logs {
            if let Some((_, since)) = log.due().filter(|(at, _)| *at <= now.instant) {
                let since = since.map(|since| since.at(now));
                due.entry(since).or_default().push(instance.clone());
            }
        }
        due
    }

    /// The options of a request at `now` for a log whose lines from before `since` have been
    /// delivered; `None` is a first request. Also returns the time from which on the request asks
    /// for lines; `None` means from the first line.
    pub(super) fn request(
        &self,
        since: Option<SystemTime>,
        now: Moment,
    ) -> (LogsOptions, Option<SystemTime>) {
        let options = self.options.clone();
        // Without `follow`, an interrupted request is repeated as a whole.
        let Some(since) = since.filter(|_| options.follow) else {
            // With `tail`, the lines that are already written come first.
            let from = self.since.or_else(|| options.tail.map(|_| now.time));
            return (options, from);
        };
        // If the clock was set back, lines that are new have times before the requested one.
        let set_back = self.started.set_back(now);
        let first = self.since.and_then(|since| since.checked_sub(set_back));
        let from = since.checked_sub(OVERLAP).max(first);
        (LogsOptions { tail: None, since: from.map(rfc3339::format), ..options }, from)
    }

    /// Records that a requested log was not available: it is requested again later, or it has
    /// ended. Returns the instance if its end has to be published.
    #[must_use]
    pub(super) fn unavailable(
        &mut self,
        instance: InstanceName,
        since: Option<SystemTime>,
        retry: bool,
        now: Moment,
    ) -> Option<InstanceName> {
        let end_published = self.logs.get(&instance).is_some_and(Log::is_end_published);
        let since = since.map(|since| Since::new(since, now));
        let log = if retry {
            Log::Due { at: now.instant + RETRY, since, end_published }
        } else {
            Log::Ended { until: since }
        };
        self.logs.insert(instance.clone(), log);
        (!retry && !end_published).then_some(instance)
    }

    /// Ends all logs. Returns the instances whose end has to be published.
    #[must_use]
    pub(super) fn end_all(&mut self, now: Moment) -> Vec<InstanceName> {
        let unpublished = self.logs.iter().filter(|(_, log)| !log.is_end_published());
        let unpublished = unpublished.map(|(instance, _)| instance.clone()).collect();
        for log in self.logs.values_mut() {
            *log = Log::Ended { until: self.until.map(|until| Since::new(until, now)) };
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

//! The instances of a subscription to logs, and what is to be done about the log of
//! each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::LogsSubscription;
use super::position::Position;
use super::workload_ref::WorkloadRef;
use crate::ankaios::WorkloadStates;
use crate::ankaios::events::Event;
use crate::ankaios::logs::LogsOptions;
use crate::error::{ErrorCode, ErrorReply};
use crate::json::InstanceName;
use crate::proto::ank_base::ExecutionState;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::streams::time::{format_rfc3339, parse_rfc3339};

/// After the end of a log, Ankaios may not have told yet that the container has
/// ended: its agents look each 500 ms, and later under load. So long is waited before
/// it is asked for more.
const PAUSE: Duration = Duration::from_millis(1500);

/// How long to wait before logs are asked for again that could not be had.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A line needs some time from being written to its arrival. So much of a log is
/// asked for again after it was interrupted.
const OVERLAP: Duration = Duration::from_secs(1);

/// The instances whose logs have been asked for, or will be.
#[derive(Debug)]
pub(super) struct Instances {
    workloads: Vec<WorkloadRef>,
    options: LogsOptions,
    /// The end of what is wanted.
    pub(super) until: Option<SystemTime>,
    logs: BTreeMap<InstanceName, Log>,
    /// Lines of new instances are wanted from this time on; `None` is from their first.
    begin: Option<SystemTime>,
    /// A former process has begun with it.
    restored: bool,
    states: WorkloadStates,
    /// The states are known.
    watched: bool,
}

/// The log of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// It comes from the stream of this number.
    Coming { stream: u64, position: Position },
    /// It must be asked for, but not before this time; what was written before `since`
    /// has come.
    Due { at: Instant, since: Option<SystemTime>, told: Told },
    /// It has ended, which was told; what was written before that time has come.
    Ended(Option<SystemTime>),
}

/// Whether the end of a log was told, and nothing of it has come since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
    /// Yes, and Ankaios has not told yet that the instance has ended, too. With that news
    /// there is nothing more to ask for.
    Early,
}

impl Log {
    fn end(&self) -> Option<SystemTime> {
        if let Self::Ended(end) = self { *end } else { None }
    }

    fn is_told(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Due { told: Told::Yes | Told::Early, .. })
    }

    fn comes_from(&self, number: u64) -> bool {
        matches!(self, Self::Coming { stream, .. } if *stream == number)
    }
}

impl Instances {
    pub(super) fn new(subscription: &LogsSubscription) -> Self {
        let options = subscription.options();
        Self {
            workloads: subscription.workloads().to_vec(),
            until: options.until.as_deref().and_then(parse_rfc3339),
            options,
            logs: BTreeMap::new(),
            begin: Some(SystemTime::now()),
            restored: false,
            states: WorkloadStates::default(),
            watched: false,
        }
    }

    /// Goes on where a former process was interrupted, or begins anew if it had not
    /// come far enough to note where.
    pub(super) fn restored(mut self, resume_at: Option<SystemTime>) -> Self {
        self.restored = true;
        self.begin = resume_at.map(with_overlap);
        self
    }

    /// What Ankaios is asked for at first.
    pub(super) fn options(&self) -> LogsOptions {
        self.options.clone()
    }

    /// From which time on these options give the log; `None` is from its first line.
    pub(super) fn first_since(&self) -> Option<SystemTime> {
        let given = self.options.since.as_deref().and_then(parse_rfc3339);
        // The last lines come before anything is written later.
        given.or_else(|| self.options.tail.map(|_| SystemTime::now()))
    }

    pub(super) fn follow(&self) -> bool {
        self.options.follow
    }

    /// The states of the workloads.
    pub(super) fn field_masks(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.workloads.iter().map(WorkloadRef::workload_name).collect();
        names.into_iter().map(|name| format!("workloadStates.*.{name}")).collect()
    }

    /// The instances that there are.
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
            let mut found = known.filter(|instance| workload.is_meant(instance)).peekable();
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

    /// Whether there is something to wait for; `notices` says whether restarts of
    /// workloads would be noticed.
    pub(super) fn goes_on(&self, notices: bool) -> bool {
        if self.logs.values().any(|log| !matches!(log, Log::Ended(_))) {
            return true;
        }
        if !notices || self.is_over() {
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
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= SystemTime::now())
    }

    /// The logs of these instances come from a stream that was asked for.
    pub(super) fn come(&mut self, instances: &[InstanceName], stream: u64, position: Position) {
        let coming = Log::Coming { stream, position };
        self.logs.extend(instances.iter().map(|name| (name.clone(), coming)));
    }

    /// What has arrived from a stream has been dealt with.
    pub(super) fn moved(&mut self, stream: u64, arrived: SystemTime) {
        for log in self.logs.values_mut() {
            if let Log::Coming { stream: number, position } = log
                && *number == stream
            {
                position.moved(arrived);
            }
        }
    }

    /// What was written before this time has come of all logs, but for what was under
    /// way. `None`: perhaps not even the first line of one.
    pub(super) fn reached(&self) -> Option<SystemTime> {
        let positions = self.logs.values().filter_map(|log| match log {
            Log::Coming { position, .. } => Some(position.reached()),
            Log::Due { since, .. } => Some(*since),
            Log::Ended(_) => None,
        });
        positions.min().unwrap_or_else(|| self.logs.values().filter_map(Log::end).max())
    }

    /// Whether a stream still has logs to deliver.
    pub(super) fn has_any_from(&self, stream: u64) -> bool {
        self.logs.values().any(|log| log.comes_from(stream))
    }

    /// The log of an instance has ended, with its container. That is told whatever
    /// comes after it.
    pub(super) fn stopped(&mut self, stream: u64, instance: &InstanceName, arrived: SystemTime) {
        if !self.logs.get(instance).is_some_and(|log| log.comes_from(stream)) {
            return;
        }
        if self.options.follow && !self.is_over() && self.runs(instance) {
            let at = Instant::now() + PAUSE;
            let due = Log::Due { at, since: Some(arrived), told: Told::Early };
            self.logs.insert(instance.clone(), due);
        } else if self.watched && self.states.get(instance).is_none() {
            self.logs.remove(instance);
        } else {
            self.logs.insert(instance.clone(), Log::Ended(Some(arrived)));
        }
    }

    /// A stream has ended with its session.
    pub(super) fn lost(&mut self, stream: u64) {
        let at = Instant::now();
        for log in self.logs.values_mut() {
            if let Log::Coming { stream: number, position } = log
                && *number == stream
            {
                let since = position.reached().map(with_overlap);
                *log = Log::Due { at, since, told: Told::No };
            }
        }
    }

    /// Looks for instances whose logs must be asked for. Gives those that are gone and
    /// whose end must be told.
    #[must_use]
    pub(super) fn learn(&mut self, event: &Event) -> Vec<InstanceName> {
        let changes = self.states.apply(event);
        let first = !self.watched;
        self.watched = true;
        for instance in &changes.changed {
            if !self.workloads.iter().any(|workload| workload.is_meant(instance)) {
                continue;
            }
            let (since, told) = match self.logs.get(instance) {
                // The first snapshot may still have the state from before the end.
                Some(Log::Ended(end)) if first => (*end, Told::Early),
                Some(Log::Ended(end)) => (*end, Told::Yes),
                Some(&Log::Due { since, told: Told::Early, .. }) if !self.runs(instance) => {
                    self.logs.insert(instance.clone(), Log::Ended(since));
                    continue;
                }
                // It runs again.
                Some(&Log::Due { since, told: Told::Early, .. }) if !event.resynced => {
                    (since, Told::Yes)
                }
                Some(_) => continue,
                None => (self.begin, Told::No),
            };
            // What has ended while there was no connector has lines, too.
            if (self.runs(instance) || first && self.restored) && !self.is_over() {
                let pause = if told == Told::Early { PAUSE } else { Duration::ZERO };
                let due = Log::Due { at: Instant::now() + pause, since, told };
                self.logs.insert(instance.clone(), due);
            }
        }
        // The end of a log that is coming is told by its stream.
        let gone = self.logs.extract_if(.., |instance, log| {
            !matches!(log, Log::Coming { .. }) && self.states.get(instance).is_none()
        });
        gone.filter(|(_, log)| !log.is_told()).map(|(instance, _)| instance).collect()
    }

    pub(super) fn runs(&self, instance: &InstanceName) -> bool {
        let runs = |state: &ExecutionState| {
            matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_)))
        };
        self.states.get(instance).is_some_and(runs)
    }

    /// When the next log must be asked for.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |log: &Log| match log {
            Log::Due { at, .. } => Some(*at),
            Log::Coming { .. } | Log::Ended(_) => None,
        };
        self.logs.values().filter_map(due).min()
    }

    /// The instances whose logs are due, together those that are missing since the
    /// same time.
    pub(super) fn due(&self) -> BTreeMap<Option<SystemTime>, Vec<InstanceName>> {
        let now = Instant::now();
        let mut due = BTreeMap::<Option<SystemTime>, Vec<InstanceName>>::new();
        for (instance, log) in &self.logs {
            if let Log::Due { at, since, .. } = log
                && *at <= now
            {
                due.entry(*since).or_default().push(instance.clone());
            }
        }
        due
    }

    /// What to ask for if everything before a time has come.
    pub(super) fn options_again(&self, since: Option<SystemTime>) -> LogsOptions {
        let options = self.options.clone();
        match since {
            Some(since) if options.follow => {
                LogsOptions { tail: None, since: Some(format_rfc3339(since)), ..options }
            }
            // How much of it has come is not known.
            _ => options,
        }
    }

    /// A log could not be had: it has ended, or it is asked for again later. Gives
    /// whether its end must be told.
    #[must_use]
    pub(super) fn put_off(
        &mut self,
        instance: InstanceName,
        since: Option<SystemTime>,
        again: bool,
    ) -> bool {
        let at = Instant::now() + RETRY;
        let is_told = self.logs.get(&instance).is_some_and(Log::is_told);
        let told = if is_told { Told::Yes } else { Told::No };
        let log = if again { Log::Due { at, since, told } } else { Log::Ended(since) };
        self.logs.insert(instance, log);
        !again && !is_told
    }

    /// Ends all logs; gives the instances of those whose end must be told.
    pub(super) fn end_all(&mut self) -> Vec<InstanceName> {
        let now = SystemTime::now();
        let mut ended = Vec::new();
        for (instance, log) in &mut self.logs {
            if !log.is_told() {
                ended.push(instance.clone());
            }
            *log = Log::Ended(Some(now));
        }
        ended
    }
}

/// From when on a log is asked for of which everything before that time has come.
fn with_overlap(time: SystemTime) -> SystemTime {
    time.checked_sub(OVERLAP).unwrap_or(time)
}

#[cfg(test)]
mod tests;

//! What is asked for by a subscription to logs.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::bookmark::Bookmark;
use super::follower::Follower;
use super::workload_ref::WorkloadRef;
use crate::ankaios::Client;
use crate::ankaios::logs::LogsOptions;
use crate::streams::id::SubscriptionId;
use crate::streams::lifetime::Lifetime;
use crate::streams::record::Record;
use crate::streams::subscription::{InvalidField, Outlet, Subscription};
use crate::streams::time::{format_rfc3339, parse_rfc3339};
use crate::topics::StreamKind;

/// Workloads of one subscription.
const MAX_WORKLOADS: usize = 100;

/// Bytes of all their names.
const MAX_WORKLOADS_SIZE: usize = 64 * 1024;

/// A subscription to logs as it comes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogsRequest {
    #[serde(default)]
    id: Option<SubscriptionId>,
    workloads: Vec<WorkloadRef>,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    tail: Option<i32>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    ttl: Lifetime,
}

/// A valid subscription to logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LogsRequest")]
pub struct LogsSubscription {
    id: SubscriptionId,
    /// Whose logs are wanted.
    workloads: Vec<WorkloadRef>,
    /// Go on with what is logged from now on.
    follow: bool,
    /// Only so many of the last lines of each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<i32>,
    /// Only lines after this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Only lines before this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    ttl: Lifetime,
}

impl TryFrom<LogsRequest> for LogsSubscription {
    type Error = InvalidField;

    fn try_from(request: LogsRequest) -> Result<Self, InvalidField> {
        let LogsRequest { id, workloads, follow, tail, since, until, ttl } = request;
        let (count, size) =
            (workloads.len(), workloads.iter().map(WorkloadRef::size).sum::<usize>());
        if count == 0 || count > MAX_WORKLOADS || size > MAX_WORKLOADS_SIZE {
            let reason = format!(
                "{count} of {size} bytes together; allowed are 1 to {MAX_WORKLOADS} of \
                 {MAX_WORKLOADS_SIZE} bytes"
            );
            return Err(InvalidField::new("workloads", reason));
        }
        if let Some(tail) = tail.filter(|tail| *tail < 0) {
            return Err(InvalidField::new("tail", format!("{tail} is negative")));
        }
        for (field, time) in [("since", &since), ("until", &until)] {
            if let Some(time) = time.as_ref().filter(|time| parse_rfc3339(time).is_none()) {
                return Err(InvalidField::new(field, format!("{time:?} is no time of RFC 3339")));
            }
        }
        let id = id.unwrap_or_else(SubscriptionId::made_up);
        Ok(Self { id, workloads, follow, tail, since, until, ttl })
    }
}

impl LogsSubscription {
    /// Whose logs are wanted.
    #[must_use]
    pub fn workloads(&self) -> &[WorkloadRef] {
        &self.workloads
    }

    /// What Ankaios is asked for.
    #[must_use]
    pub fn options(&self) -> LogsOptions {
        LogsOptions {
            follow: self.follow,
            tail: self.tail,
            since: self.since.clone(),
            until: self.until.clone(),
        }
    }
}

impl Subscription for LogsSubscription {
    const KIND: StreamKind = StreamKind::Logs;

    const REPLY_HAS_ALL: bool = false;

    type Source = Follower;

    fn id(&self) -> &SubscriptionId {
        &self.id
    }

    fn ttl(&self) -> Lifetime {
        self.ttl
    }

    fn resume_at(&self) -> Option<String> {
        // Without a bound the whole log is wanted, and nothing of it has come.
        let bounded = self.since.is_some() || self.tail.is_some();
        let now = || format_rfc3339(SystemTime::now());
        (self.follow && bounded).then(|| self.since.clone().unwrap_or_else(now))
    }

    fn source_again(record: &Record<Self>, ankaios: &Client) -> Follower {
        let resume_at = record.resume_at.as_deref().and_then(parse_rfc3339);
        Follower::restored(ankaios.clone(), &record.subscription, resume_at)
    }

    fn publish(
        record: Record<Self>,
        follower: Follower,
        Outlet { topic, record_topic, publisher }: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static {
        let bookmark = Bookmark::new(record_topic, record, publisher.clone());
        follower.run(topic, publisher, bookmark)
    }
}

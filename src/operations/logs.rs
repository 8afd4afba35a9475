//! `logs/subscribe` and `logs/unsubscribe`.

use serde::{Deserialize, Serialize};

use super::{Answer, Context, ended, request, to_json};
use crate::error::ErrorReply;
use crate::json::InstanceName;
use crate::streams::{Lifetime, LogsSubscription, SubscriptionId, WorkloadRef};

const EXPECTED: &str = "{\"workloads\": [\"nginx\"]}, and optionally \"id\", \"follow\": true, \
                        \"tail\": 10, \"since\" and \"until\" such as \"2026-01-31T12:00:00Z\", \
                        \"ttl\": \"1h\"";

/// Workloads of one subscription.
const MAX_WORKLOADS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
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

#[derive(Serialize)]
struct Subscribed<'a> {
    id: &'a SubscriptionId,
    topic: &'a str,
    /// `null` is never.
    expires_in_s: Option<u64>,
    workloads: Vec<InstanceName>,
}

pub(super) async fn subscribe(context: &Context, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let subscription = parse(payload)?;
    context.subscriptions.check_room(&subscription)?;
    let subscriptions = context.subscriptions.clone();
    Ok(Box::pin(async move {
        let topic = subscriptions.topic(&subscription);
        let mut follower = subscriptions.follower(&subscription);
        let workloads = follower.open().await?;
        let mut reply = to_json(&Subscribed {
            id: &subscription.id,
            topic: &topic,
            expires_in_s: subscription.ttl.duration().map(|ttl| ttl.as_secs()),
            workloads,
        })?;
        let begin = subscriptions.add_logs(subscription, follower).await.map_err(ended)?;
        // It is gone if the subscription was replaced in the meantime.
        reply.then(async move {
            let _ = begin.send(());
        });
        Ok(reply)
    }))
}

fn parse(payload: &[u8]) -> Result<LogsSubscription, ErrorReply> {
    let Subscribe { id, workloads, follow, tail, since, until, ttl } =
        request::parse(payload, EXPECTED)?;
    let invalid = |reason: String| Err(request::invalid(reason, EXPECTED));
    if workloads.is_empty() || workloads.len() > MAX_WORKLOADS {
        return invalid(format!("workloads: there must be 1 to {MAX_WORKLOADS}"));
    }
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        return invalid(format!("tail: {tail} is negative"));
    }
    for (field, time) in [("since", &since), ("until", &until)] {
        if let Some(time) = time.as_ref().filter(|time| !is_rfc3339(time)) {
            return invalid(format!("{field}: {time:?} is no time of RFC 3339"));
        }
    }
    let id = id.unwrap_or_else(SubscriptionId::made_up);
    Ok(LogsSubscription { id, workloads, follow, tail, since, until, ttl })
}

/// With `Z` or an offset such as `+01:00`.
fn is_rfc3339(time: &str) -> bool {
    let without_offset = || {
        let (local, offset) = time.split_at_checked(time.len().checked_sub(6)?)?;
        let [b'+' | b'-', hours @ .., minute_tens, minutes] = offset.as_bytes() else {
            return None;
        };
        let digits = [hours.first()?, hours.get(1)?, minute_tens, minutes];
        let valid = hours.get(2) == Some(&b':')
            && digits.iter().all(|digit| digit.is_ascii_digit())
            && (offset.get(1..3)? < "24" && *minute_tens < b'6');
        valid.then(|| format!("{local}Z"))
    };
    let time = without_offset().unwrap_or_else(|| time.to_owned());
    humantime::parse_rfc3339(&time).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_rfc3339;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for time in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.123Z",
            "2026-01-31T12:00:00+01:00",
            "2026-01-31T12:00:00.5-11:30",
        ] {
            assert!(is_rfc3339(time), "{time}");
        }
        for wrong in [
            "",
            "now",
            "10m",
            "2026-01-31",
            "2026-01-31 12:00:00",
            "2026-13-31T12:00:00Z",
            "2026-01-31T12:00:00+25:00",
            "2026-01-31T12:00:00+01:99",
            "2026-01-31T12:00:00+0100",
            "ü:00:00",
        ] {
            assert!(!is_rfc3339(wrong), "{wrong}");
        }
    }
}

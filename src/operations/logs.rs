//! `logs/subscribe` and `logs/unsubscribe`.

use serde::{Deserialize, Serialize};

use super::{Answer, Context, request, to_json};
use crate::error::ErrorReply;
use crate::json::InstanceName;
use crate::streams::{Lifetime, LogsSubscription, SubscriptionId, WorkloadRef, parse_rfc3339};
use crate::topics::StreamKind;

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
    let mut turn = context.subscriptions.turn(StreamKind::Logs, &subscription.id);
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
        turn.comes().await;
        let begin = subscriptions.add_logs(subscription, follower).await?;
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
        if let Some(time) = time.as_ref().filter(|time| parse_rfc3339(time).is_none()) {
            return invalid(format!("{field}: {time:?} is no time of RFC 3339"));
        }
    }
    let id = id.unwrap_or_else(SubscriptionId::made_up);
    Ok(LogsSubscription { id, workloads, follow, tail, since, until, ttl, resume_at: None })
}

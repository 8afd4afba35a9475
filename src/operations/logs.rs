//! `logs/subscribe`.

use serde::Serialize;

use super::subscribe::Subscribing;
use super::{Answer, Context, request};
use crate::error::ErrorReply;
use crate::json::InstanceName;
use crate::streams::{Follower, LogsSubscription};

const EXPECTED: &str = "{\"workloads\": [\"nginx\"]}, and optionally \"id\", \"follow\": true, \
                        \"tail\": 10, \"since\" and \"until\" such as \"2026-01-31T12:00:00Z\", \
                        \"ttl\": \"1h\"";

#[derive(Serialize)]
struct Content {
    workloads: Vec<InstanceName>,
}

pub(super) async fn subscribe(context: &Context, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let subscription: LogsSubscription = request::parse(payload, EXPECTED)?;
    let mut follower = Follower::new(context.ankaios.clone(), &subscription);
    let subscribing = Subscribing::new(context, subscription)?;
    Ok(Box::pin(async move {
        let workloads = follower.open().await?;
        subscribing.reply(follower, Content { workloads }).await
    }))
}

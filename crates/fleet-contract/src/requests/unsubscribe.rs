//! `events/unsubscribe` and `logs/unsubscribe`: end a subscription.

use serde::{Deserialize, Serialize};

use super::payload::parse;
use crate::SubscriptionId;
use crate::error::ErrorReply;

const EXPECTED: &str = "{\"id\": \"the id of the subscription\"}";

/// A request to end a subscription. The reply has the same payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeRequest {
    /// The id of the subscription.
    pub id: SubscriptionId,
}

impl UnsubscribeRequest {
    /// Parses a request.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        parse(payload, EXPECTED)
    }
}

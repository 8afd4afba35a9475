//! `events/subscribe`: starts a subscription to changes of the state.

use serde::{Deserialize, Serialize};

use super::payload::{check_masks, parse_masks_or};
use crate::error::ErrorReply;
use crate::{Lifetime, SubscriptionId};

const EXPECTED: &str = "an array of field masks such as [\"workloadStates\"], or \
                        {\"id\": \"my-id\", \"field_masks\": [...], \"ttl\": \"1h\"}";

/// Maximum number of field masks of a subscription. Ankaios compares each change with all of them.
const MAX_MASKS: usize = 100;

/// Maximum size of all field masks of a subscription, in bytes.
const MAX_MASKS_SIZE: usize = 16 * 1024;

/// A request for a subscription to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct EventsRequest {
    /// The id of the subscription; the connector generates one if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<SubscriptionId>,
    /// The parts of the state whose changes are published. Never empty.
    pub field_masks: Vec<String>,
    /// The lifetime of the subscription.
    pub ttl: Lifetime,
}

/// The fields of a request before the checks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    id: Option<SubscriptionId>,
    field_masks: Vec<String>,
    #[serde(default)]
    ttl: Lifetime,
}

impl TryFrom<Fields> for EventsRequest {
    type Error = String;

    fn try_from(Fields { id, field_masks, ttl }: Fields) -> Result<Self, String> {
        if field_masks.is_empty() {
            return Err(
                "field_masks: it is empty; name the parts of the state to subscribe to".into()
            );
        }
        let (count, size) = (field_masks.len(), field_masks.iter().map(String::len).sum::<usize>());
        if count > MAX_MASKS || size > MAX_MASKS_SIZE {
            return Err(format!(
                "field_masks: {count} with {size} bytes in total; the limits are {MAX_MASKS} and \
                 {MAX_MASKS_SIZE} bytes"
            ));
        }
        check_masks("field_masks", &field_masks)?;
        Ok(Self { id, field_masks, ttl })
    }
}

impl EventsRequest {
    /// Parses an array of field masks, or an object.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        let from_masks =
            |field_masks| Fields { id: None, field_masks, ttl: Lifetime::default() }.try_into();
        parse_masks_or(payload, EXPECTED, from_masks)
    }
}

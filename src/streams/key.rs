//! What a subscription is known by.

use std::fmt;

use fleet_contract::SubscriptionId;
use fleet_contract::topics::StreamKind;

/// Kind and id of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: StreamKind,
    pub(crate) id: SubscriptionId,
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.kind.name(), self.id)
    }
}

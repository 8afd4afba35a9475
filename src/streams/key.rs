//! The key of a subscription in the registry.

use std::fmt;

use fleet_contract::SubscriptionId;
use fleet_contract::topics::StreamKind;

/// Kind and id of a subscription, which identify it within a vehicle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubscriptionKey {
    pub(crate) kind: StreamKind,
    pub(crate) id: SubscriptionId,
}

impl fmt::Display for SubscriptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.kind.name(), self.id)
    }
}

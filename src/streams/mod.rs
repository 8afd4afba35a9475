//! Subscriptions of operators: events and logs as MQTT messages.
//!
//! ```text
//!  subscriptions   which there are, by id; their end
//!   ├ record       what is retained of one at the broker
//!   ├ events       events to messages
//!   ├ logs         log lines to messages; follows restarted workloads
//!   └ rollout      progress of what was applied
//! ```

mod events;
mod logs;
mod publisher;
mod record;
mod rollout;
mod subscriptions;

pub use publisher::{Ended, Publisher};
pub use record::{
    EventsSubscription, Lifetime, LogsSubscription, Record, SubscriptionId, WorkloadRef,
};
pub use rollout::{Rollout, Rollouts};
pub use subscriptions::Subscriptions;

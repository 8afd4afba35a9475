//! Subscriptions of operators: events and logs as MQTT messages.
//!
//! ```text
//!  subscriptions   which there are, by id; their end
//!   ├ turns        order of the requests for one subscription
//!   ├ record       what is retained of one at the broker
//!   ├ events       events to messages
//!   ├ logs         follows the logs of workloads over restarts
//!   │ └ log_messages   log lines to messages
//!   └ rollout      progress of what was applied
//! ```

mod events;
mod log_messages;
mod logs;
mod publisher;
mod record;
mod rollout;
mod subscriptions;
mod time;
mod turns;
mod unusable;

pub use publisher::Publisher;
pub use record::{
    EventsSubscription, Lifetime, LogsSubscription, Record, SubscriptionId, WorkloadRef,
};
pub use rollout::{Applied, Rollout, Rollouts};
pub use subscriptions::Subscriptions;
pub(crate) use time::parse_rfc3339;

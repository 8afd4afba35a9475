//! Subscriptions of operators, and roll-outs: events and logs as MQTT messages.
//!
//! ```text
//!  subscriptions   which there are, by id; their end
//!   ├ metrics      what is counted of them
//!   ├ turns        order of the requests for one subscription
//!   ├ record       what is retained of one at the broker
//!   ├ records      takes back what is out of date of it
//!   ├ backlog      records for which there is no place
//!   ├ sought       ends that were asked for before the record came
//!   └ subscription what the two kinds have in common
//!     ├ events     events to messages
//!     └ logs       follows the logs of workloads over restarts
//!  rollout         progress of what was applied
//!  publisher       the way to the broker
//! ```

mod backlog;
mod events;
mod id;
mod lifetime;
mod logs;
mod metrics;
mod publisher;
mod record;
mod records;
mod rollout;
mod sought;
mod subscription;
mod subscriptions;
mod time;
mod turns;
mod unusable;

pub(crate) use events::EventsRequest;
pub use events::EventsSubscription;
pub use id::{InvalidId, SubscriptionId};
pub use lifetime::Lifetime;
pub(crate) use logs::Follower;
pub use logs::{LogsSubscription, WorkloadRef};
pub use metrics::Metrics;
pub use publisher::Publisher;
pub use rollout::{Applied, Rollout, Rollouts};
pub use subscription::InvalidField;
pub(crate) use subscription::Subscription;
pub use subscriptions::Subscriptions;
pub(crate) use turns::Turn;

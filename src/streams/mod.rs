//! Subscriptions of operators, and roll-outs: events and logs as MQTT messages.
//!
//! ```text
//!  subscriptions   handle and task; commands in, streams and jobs out
//!   ├ registry       the state that the task owns: one entry for each key; pure
//!   │  ├ key           kind and id
//!   │  └ recalls       recall handles of queued messages
//!   ├ early_unsubscribes  how long to wait for a record
//!   └ feed           source and sink of a subscription, by kind
//!      ├ record        its retained record; spec: what was asked for; unusable: bad records
//!      ├ events        events to messages
//!      └ logs          follows the logs of workloads over restarts
//!  rollout         progress of what was applied
//!  publisher       the way to the session
//!  metrics         how many subscriptions there are
//! ```
//!
//! An event goes from `ankaios-control` to `events`, a log line to `logs`, and from there by the
//! publisher to the session. A request to subscribe or unsubscribe is a command to the task; the
//! requests for one key take effect in the order of arrival, whichever is answered first.

mod early_unsubscribes;
mod events;
mod feed;
mod key;
mod logs;
mod metrics;
mod publisher;
mod recalls;
mod record;
mod registry;
mod rollout;
mod spec;
mod subscriptions;
mod unusable;

pub(crate) use feed::Feed;
pub(crate) use logs::Follower;
pub use metrics::SubscriptionMetrics;
pub use publisher::Publisher;
pub use rollout::{Applied, Rollout, Rollouts};
pub(crate) use subscriptions::Subscribing;
pub use subscriptions::Subscriptions;

//! Subscriptions of operators and rollouts: publishes events, logs and progress as MQTT messages.
//!
//! ```text
//!  subscriptions   the subscriptions task, and a handle to it
//!   ├ registry       the state that the task owns, one entry for each key; their limit; pure
//!   │  ├ key           kind and id
//!   │  └ recalls       recall handles of queued messages
//!   ├ early_unsubscribes  how long to wait for a record
//!   └ feed           source and destination of a subscription, by kind
//!      ├ record        its record, which is retained
//!      │  ├ spec         the request of the subscription
//!      │  └ unusable     why a record is not used
//!      ├ expiry        when a subscription ends by itself
//!      ├ kept_records  the records in the store, if there is one
//!      ├ events        events to messages
//!      └ logs          follows the logs of workloads over restarts
//!  rollout         the progress of applied manifests; the ends go to the keeper of revisions
//!  publisher       hands messages to the session
//!  metrics         the number of subscriptions
//! ```
//!
//! Events go from `ankaios-control` to `events`, log lines to `logs`, and from there through the
//! publisher to the session. Each subscription has a task of its own, whose handle the registry has. A
//! request to subscribe or unsubscribe is a command to the subscriptions task.
//! Requests for one key take effect in the order of arrival, even if Ankaios answers them in
//! another order.

mod early_unsubscribes;
mod events;
mod expiry;
mod feed;
mod kept_records;
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
pub(crate) use kept_records::{KeptRecords, RecordStore};
pub(crate) use logs::Follower;
pub(crate) use metrics::SubscriptionMetrics;
pub(crate) use publisher::Publisher;
pub(crate) use record::MAX_RECORD;
pub(crate) use rollout::{
    ChangedInstances, FollowedUpdate, RolloutEnded, RolloutOptions, Rollouts,
};
pub(crate) use subscriptions::{Subscribing, Subscriptions};
pub(crate) use unusable::RetainedUse;

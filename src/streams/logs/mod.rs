//! Log subscriptions: follows the logs of workloads and publishes them.
//!
//! ```text
//!  source           logs as the feed of a subscription
//!  follower         requests logs from Ankaios and publishes them
//!   ├ instances       which logs are open, to be requested, or ended (pure)
//!   │  └ position      how far one of them has been delivered (pure)
//!   ├ messages        log entries as MQTT messages (pure)
//!   └ bookmark        saves the progress in the retained record, and in that of the store
//! ```

mod bookmark;
mod follower;
mod instances;
mod messages;
mod position;
mod source;

pub(crate) use follower::Follower;

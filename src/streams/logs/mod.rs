//! Subscriptions to logs.
//!
//! ```text
//!  subscription    what is asked for
//!   └ workload_ref   whose logs
//!  follower        asks Ankaios for logs and publishes them
//!   ├ instances      which logs come, are due, or have ended
//!   ├ messages       lines to messages
//!   └ bookmark       notes how far they have come
//! ```

mod bookmark;
mod follower;
mod instances;
mod messages;
mod subscription;
mod workload_ref;

pub(crate) use follower::Follower;
pub use subscription::LogsSubscription;
pub use workload_ref::WorkloadRef;

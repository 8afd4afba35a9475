//! The commands.

pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod diff;
pub(crate) mod exporter;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod request;
pub(crate) mod rollout;
pub(crate) mod sign;
pub(crate) mod validate;
pub(crate) mod verify;
pub(crate) mod wait;

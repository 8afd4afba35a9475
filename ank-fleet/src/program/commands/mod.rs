//! The commands.

pub(crate) mod apply;
pub(crate) mod get;
pub(crate) mod request;
pub(crate) mod rollout;
pub(crate) mod validate;

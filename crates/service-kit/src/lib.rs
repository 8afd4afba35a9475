//! What the programs of this workspace have in common as long-running services.
//!
//! | module | what it is |
//! |---|---|
//! | [`backoff`] | growing waits between attempts |
//! | [`heartbeat`] | liveness checks of tasks: a [`Monitor`](heartbeat::Monitor) asks, a task answers by its [`Heartbeat`](heartbeat::Heartbeat) |
//! | [`random`] | ids and durations that have to differ, not to be secret |
//! | [`log`] | the log on standard error, as text or JSON |
//! | [`process`] | exit codes and signals |
//! | [`settings`] | checks of settings that report all mistakes at once |
//!
//! The last three need the feature `program`, which is on by default. Libraries turn it
//! off: they then depend neither on clap nor on tracing-subscriber.
//!
//! This crate knows neither MQTT nor Ankaios.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod heartbeat;
#[cfg(feature = "program")]
pub mod log;
#[cfg(feature = "program")]
pub mod process;
pub mod random;
#[cfg(feature = "program")]
pub mod settings;

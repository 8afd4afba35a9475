//! Shared parts of long-running services: the programs of this workspace and the libraries that
//! they use.
//!
//! | module | what it contains |
//! |---|---|
//! | [`backoff`] | growing waits between attempts |
//! | [`clock`] | durations that a clock that is set does not change |
//! | [`heartbeat`] | liveness checks of tasks |
//! | [`random`] | random ids and durations, not for cryptography |
//! | [`log`] | the log on standard error, as text or JSON |
//! | [`process`] | exit codes, standard streams and signals |
//! | [`settings`] | checks of settings, which report all mistakes at once |
//!
//! The last three need the feature `program`, which is on by default. Libraries turn it off, and
//! then depend neither on clap nor on tracing-subscriber.
//!
//! The modules are independent of each other, with two exceptions: `log` starts the log as
//! `settings` says, and `process` reports the mistakes that `settings` finds. A liveness check goes
//! from a [`Monitor`](heartbeat::Monitor) to the [`Heartbeat`](heartbeat::Heartbeat) in the loop of
//! a task, which answers it.
//!
//! This crate is not a framework: it starts no tasks except for signals, and knows neither MQTT nor
//! Ankaios.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
pub mod heartbeat;
#[cfg(feature = "program")]
pub mod log;
#[cfg(feature = "program")]
pub mod process;
pub mod random;
#[cfg(feature = "program")]
pub mod settings;

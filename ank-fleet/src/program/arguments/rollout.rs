//! The options of roll-outs.

use std::time::Duration;

use clap::{Args, ValueEnum};
use fleet_contract::revision::RollbackMode;
use jiff::ZonedDateTime;

use super::super::failure::Failure;
use super::super::local_time::until;
use crate::rollout::{OnFailure, Options, RolloutId};
use crate::waves::{Limit, Rate, Waves};

/// The options of a roll-out as text.
#[derive(Debug, Args)]
#[command(next_help_heading = "Roll-out")]
pub(crate) struct RolloutArgs {
    /// Cumulative sizes of the waves [default: 1,5%,25%,100% for more than 10 vehicles, else 100%]
    #[arg(long, value_name = "LIST")]
    pub(crate) waves: Option<Waves>,
    /// How many vehicles of a wave may fail before nothing more is sent
    #[arg(long, value_name = "NUMBER", default_value = "2%")]
    max_failures: Limit,
    /// How many vehicles of a wave may be unreachable
    #[arg(long, value_name = "NUMBER", default_value = "100%")]
    max_unreachable: Limit,
    /// How many vehicles are changed at the same time
    #[arg(long, value_name = "NUMBER", default_value = "50",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    parallel: u16,
    /// How many vehicles are started per time: 200/m
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// The time for each vehicle
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    deadline: Duration,
    /// Keep requests at the broker for vehicles that are offline
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    queue: Option<Duration>,
    /// How long what runs must stay up after each wave
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    soak: Option<Duration>,
    /// A command that must exit with 0 after each wave; it gets ROLLOUT and WAVE in its environment
    #[arg(long, value_name = "CMD")]
    gate: Option<String>,
    /// Pause after this wave
    #[arg(long, value_name = "WAVE", value_parser = clap::value_parser!(u16).range(1..))]
    pause_after: Option<u16>,
    /// When vehicles take the change back by themselves: off, on-failure or unless-confirmed
    #[arg(long, value_name = "MODE", default_value = "on-failure")]
    rollback: RollbackMode,
    /// What follows when a limit or a gate stops the roll-out
    #[arg(long, value_name = "ACTION", default_value = "stop")]
    on_failure: OnFailureArg,
    /// Start nothing after this time: 05:00 in the local time zone (TZ), or 2026-01-31T05:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Lift the protection of workloads; the policies of the vehicles remain
    #[arg(long)]
    force: bool,
    /// Name of the release, shown by get vehicles
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// Id of the roll-out [default: a random one]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<RolloutId>,
    /// Go on without a question
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnFailureArg {
    Stop,
    Undo,
}

impl RolloutArgs {
    /// The options; `now` is for `--until`.
    ///
    /// # Errors
    /// An option is wrong.
    pub(crate) fn options(&self, now: &ZonedDateTime) -> Result<Options, Failure> {
        let until = self.until.as_deref().map(|text| until(text, now)).transpose()?;
        if let Some(release) = &self.release {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
            if !(1..=64).contains(&release.len()) || !release.bytes().all(is_allowed) {
                return Err(Failure::usage(format!(
                    "--release: {release:?} has not 1 to 64 of A-Z, a-z, 0-9, '.', '_', '+' and '-'"
                )));
            }
        }
        Ok(Options {
            max_failures: self.max_failures,
            max_unreachable: self.max_unreachable,
            parallel: self.parallel.into(),
            rate: self.rate,
            deadline: self.deadline,
            queue: self.queue,
            soak: self.soak,
            gate: self.gate.clone(),
            pause_after: self.pause_after.map(usize::from),
            rollback: self.rollback,
            on_failure: match self.on_failure {
                OnFailureArg::Stop => OnFailure::Stop,
                OnFailureArg::Undo => OnFailure::Undo,
            },
            until,
            force: self.force,
            release: self.release.clone(),
        })
    }
}

/// The longest duration. A time so much later than now does not overflow.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// Parses a duration that is not zero.
///
/// # Errors
/// What is wrong.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as 30s, 10m or 24h"))?;
    if duration.is_zero() {
        Err("it must not be 0".to_owned())
    } else if duration >= MAX_DURATION {
        Err("it must be less than a year".to_owned())
    } else {
        Ok(duration)
    }
}

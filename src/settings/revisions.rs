//! The settings of revisions.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use fleet_contract::revision::RollbackMode;
use service_kit::settings::Check;

use crate::revisions::RevisionOptions;
use crate::trust::TrustSource;

/// The numbers of revisions that can be kept.
const HISTORY: std::ops::RangeInclusive<usize> = 2..=100;

/// The settings of revisions as text.
#[derive(Debug, Args)]
pub(super) struct RevisionArgs {
    /// Directory in which changes of operators are kept, so that they outlive restarts of Ankaios
    /// [default: nothing is kept]
    #[arg(long, env, value_name = "DIR", hide_env_values = true)]
    state_dir: Option<OsString>,
    /// Number of revisions to keep, 2 to 100
    #[arg(long, env, value_name = "NUMBER", default_value = "10", hide_env_values = true)]
    revision_history: String,
    /// When a change is rolled back: off, on-failure or unless-confirmed; for requests without the
    /// MQTT 5 user property rollback. Needs STATE_DIR
    #[arg(long, env, value_name = "MODE", default_value = "off", hide_env_values = true)]
    rollback: String,
    /// How long all workloads must stay up before a change that may be rolled back has succeeded;
    /// must be less than ROLLOUT_TIMEOUT
    #[arg(long, env, value_name = "DURATION", default_value = "10s", hide_env_values = true)]
    stable_time: String,
    /// YAML file that says whose signatures requests need; see docs/trust.md. Needs STATE_DIR
    /// [default: requests need no signatures]
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    trust_file: Option<OsString>,
}

/// The checked settings of revisions.
#[derive(Debug)]
pub(super) struct CheckedRevisions {
    /// `None` if revisions are not kept.
    pub(super) store: Option<RevisionOptions>,
    /// `None` if requests need no signatures.
    pub(super) trust: Option<TrustSource>,
    pub(super) rollback: RollbackMode,
    pub(super) stable_time: Duration,
}

impl RevisionArgs {
    /// Checks the settings; `None` after a mistake. `rollout_timeout` is that setting.
    pub(super) fn check(
        self,
        rollout_timeout: Option<Duration>,
        check: &mut Check,
    ) -> Option<CheckedRevisions> {
        let history = check.parse_as::<usize>(
            "REVISION_HISTORY",
            &self.revision_history,
            "a number from 2 to 100",
        );
        if let Some(number) = history.filter(|number| !HISTORY.contains(number)) {
            check.mistake("REVISION_HISTORY", format!("{number} is not between 2 and 100"));
        }
        let rollback = check.parse::<RollbackMode>("ROLLBACK", &self.rollback);
        let stable_time = check.duration_within(
            "STABLE_TIME",
            &self.stable_time,
            Duration::from_millis(100)..=Duration::from_secs(7 * 24 * 3600),
        );
        let has_state_dir = self.state_dir.is_some();
        let state_dir = check.path("STATE_DIR", self.state_dir, "a folder");
        if rollback.is_some_and(|mode| mode != RollbackMode::Off) {
            if !has_state_dir {
                let reason = "a rollback needs revisions to go back to: set STATE_DIR, too";
                check.mistake("ROLLBACK", reason);
            }
            if rollout_timeout == Some(Duration::ZERO) {
                let reason = "with ROLLOUT_TIMEOUT=0s nobody notices that a change has failed";
                check.mistake("ROLLBACK", reason);
            }
        }
        // Without STATE_DIR it is not used.
        if let (Some(stable), Some(limit), Some(_)) = (stable_time, rollout_timeout, &state_dir)
            && stable >= limit
            && !limit.is_zero()
        {
            check.mistake(
                "STABLE_TIME",
                format!(
                    "{} is not below ROLLOUT_TIMEOUT, which is {}: no change could succeed",
                    humantime::format_duration(stable),
                    humantime::format_duration(limit),
                ),
            );
        }
        let trust_file = check.path("TRUST_FILE", self.trust_file, "a file");
        if trust_file.is_some() && !has_state_dir {
            let reason = "the serials of signed requests must outlive restarts: set STATE_DIR, too";
            check.mistake("TRUST_FILE", reason);
        }
        // A mistake does not end the check: all of them are reported.
        let trust = trust_file.map(|path| check.parsed("TRUST_FILE", TrustSource::open(path)));
        let history = history?;
        Some(CheckedRevisions {
            store: state_dir.map(|state_dir| RevisionOptions { state_dir, history }),
            trust: match trust {
                Some(trust) => Some(trust?),
                None => None,
            },
            rollback: rollback?,
            stable_time: stable_time?,
        })
    }
}

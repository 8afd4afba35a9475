//! The settings of the link to Ankaios.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use service_kit::settings::Check;

/// The settings of the link to Ankaios as text.
#[derive(Debug, Args)]
pub(super) struct AnkaiosArgs {
    /// Directory with the FIFOs of Ankaios' control interface
    #[arg(
        long,
        env,
        value_name = "DIR",
        default_value = "/run/ankaios/control_interface",
        hide_env_values = true
    )]
    control_interface_dir: OsString,
    /// Timeout for one response of Ankaios
    #[arg(long, env, value_name = "DURATION", default_value = "5s", hide_env_values = true)]
    request_timeout: String,
}

impl AnkaiosArgs {
    /// Checks the directory; `None` after a mistake.
    pub(super) fn control_interface_dir(&self, check: &mut Check) -> Option<PathBuf> {
        let path = Some(self.control_interface_dir.clone());
        check.path("CONTROL_INTERFACE_DIR", path, "a folder")
    }

    /// Checks the timeout; `None` after a mistake.
    pub(super) fn request_timeout(&self, check: &mut Check) -> Option<Duration> {
        check.duration_within(
            "REQUEST_TIMEOUT",
            &self.request_timeout,
            Duration::from_millis(10)..=Duration::from_secs(600),
        )
    }
}

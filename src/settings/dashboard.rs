//! The settings of the subcommand `dashboard`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use service_kit::settings::{Check, LogArgs, LogSettings, Mistakes};

use super::ankaios::AnkaiosArgs;

/// The settings of the dashboard.
#[derive(Debug, Clone)]
pub struct DashboardSettings {
    /// Folder of the FIFOs `input` and `output`.
    pub(crate) control_interface_dir: PathBuf,
    /// Timeout for one response of Ankaios.
    pub(crate) request_timeout: Duration,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// The settings of the dashboard as text.
#[derive(Debug, Args)]
pub(super) struct DashboardArgs {
    #[command(flatten)]
    ankaios: AnkaiosArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl DashboardArgs {
    pub(super) fn check(self) -> Result<DashboardSettings, Mistakes> {
        let mut check = Check::default();
        let control_interface_dir = self.ankaios.control_interface_dir(&mut check);
        let request_timeout = self.ankaios.request_timeout(&mut check);
        let log = self.log.check(&mut check);
        let settings = || {
            Some(DashboardSettings {
                control_interface_dir: control_interface_dir?,
                request_timeout: request_timeout?,
                log: log?,
            })
        };
        check.finish(settings())
    }
}

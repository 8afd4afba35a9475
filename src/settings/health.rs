//! The settings of health and metrics, and of the subcommand `health`.

use clap::Args;
use service_kit::settings::{Check, Mistakes};

use crate::health::{Address, Endpoint};

/// The settings of the subcommand `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// Where the connector serves its health.
    pub address: Address,
    /// The endpoint to ask.
    pub endpoint: Endpoint,
}

/// The settings of the endpoints for health and metrics as text.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Host and port for /livez, /readyz and /metrics over HTTP, such as 127.0.0.1:9090 [default:
    /// not served]
    #[arg(long, env, value_name = "HOST:PORT", hide_env_values = true)]
    health_addr: Option<String>,
}

/// The settings of the subcommand `health` as text.
#[derive(Debug, Args)]
pub(super) struct HealthCommandArgs {
    /// Endpoint to request
    #[arg(value_name = "ENDPOINT", default_value = "readyz")]
    endpoint: Endpoint,
    /// Address at which the connector serves its health: the connector's own HEALTH_ADDR
    #[arg(long, env, value_name = "HOST:PORT", hide_env_values = true)]
    health_addr: Option<String>,
}

impl HealthArgs {
    /// Checks the address. The outer `None` means a mistake, the inner one that no address is
    /// set.
    pub(super) fn check(&self, check: &mut Check) -> Option<Option<Address>> {
        match non_empty(self.health_addr.as_deref()) {
            None => Some(None),
            Some(text) => check.parse("HEALTH_ADDR", text).map(Some),
        }
    }
}

impl HealthCommandArgs {
    pub(super) fn check(self) -> Result<HealthSettings, Mistakes> {
        let mut check = Check::default();
        let address = match non_empty(self.health_addr.as_deref()) {
            Some(text) => check.parse("HEALTH_ADDR", text),
            None => {
                check.mistake(
                    "HEALTH_ADDR",
                    "it is not set; set it to the HEALTH_ADDR of the connector, for example \
                     127.0.0.1:9090",
                );
                None
            }
        };
        let settings = || Some(HealthSettings { address: address?, endpoint: self.endpoint });
        check.finish(settings())
    }
}

/// An empty setting counts as not set.
fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

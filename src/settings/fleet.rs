//! The settings by which operators of fleets find and select vehicles.

use clap::Args;
use fleet_contract::Labels;
use fleet_contract::fleet::FleetName;
use service_kit::settings::Check;

/// The settings of the fleet as text.
#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// Labels of the vehicle, by which operators select it: region=eu,model=x
    #[arg(long, env, value_name = "LABELS", default_value = "", hide_env_values = true)]
    labels: String,
    /// Name of the fleet; operators ask all its vehicles at once who is there [default: none]
    #[arg(long, env, value_name = "NAME", hide_env_values = true)]
    fleet: Option<String>,
}

/// What operators of fleets find and select the vehicle by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FleetSettings {
    /// The labels in the status.
    pub(crate) labels: Labels,
    /// The fleet whose vehicles can be asked for their status; `None` if there is none.
    pub(crate) fleet: Option<FleetName>,
}

impl FleetArgs {
    pub(super) fn check(&self, check: &mut Check) -> Option<FleetSettings> {
        let labels = check.parsed("LABELS", self.labels.parse::<Labels>());
        let name = self.fleet.as_deref().filter(|name| !name.is_empty());
        let fleet = name.map(|name| check.parsed("FLEET", name.parse::<FleetName>()));
        Some(FleetSettings { labels: labels?, fleet: fleet.map_or(Some(None), |it| it.map(Some))? })
    }
}

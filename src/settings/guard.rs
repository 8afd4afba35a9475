//! The settings of the guard.

use std::ffi::OsString;
use std::sync::Arc;

use ankaios_model::is_name;
use clap::Args;
use service_kit::settings::Check;

use crate::guard::{GuardOptions, PolicyFile};

/// The settings of the guard as text.
#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// Workloads, separated by commas, that only requests with the MQTT 5 user property force:
    /// true may delete or change; empty = none
    #[arg(
        long,
        env,
        value_name = "NAMES",
        default_value = "fleetconnector",
        hide_env_values = true
    )]
    protected_workloads: String,
    /// YAML file with the rules for remote manifests; see docs/policy.md
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    policy_file: Option<OsString>,
    /// Maximum number of requests per second and operation [default: no limit]
    #[arg(long, env, value_name = "NUMBER", hide_env_values = true)]
    rate_limit: Option<String>,
}

impl GuardArgs {
    /// Checks the settings and reads the policy; `None` after a mistake.
    pub(super) fn check(self, check: &mut Check) -> Option<GuardOptions> {
        let protected_workloads: Vec<String> = self
            .protected_workloads
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        for name in protected_workloads.iter().filter(|name| !is_name(name)) {
            let reason = "is not a valid workload name; use 1 to 63 of a-z, A-Z, 0-9, _ and -";
            check.mistake("PROTECTED_WORKLOADS", format!("{name:?} {reason}"));
        }
        let path = check.path("POLICY_FILE", self.policy_file, "a file");
        // A mistake does not end the check: all of them are reported.
        let policy = path.map(|path| check.parsed("POLICY_FILE", PolicyFile::open(path)));
        let rate_limit = self.rate_limit.filter(|text| !text.trim().is_empty());
        let rate_limit = rate_limit.map(|text| check.parse("RATE_LIMIT", &text));
        Some(GuardOptions {
            protected_workloads,
            policy: match policy {
                Some(policy) => Some(Arc::new(policy?)),
                None => None,
            },
            rate_limit: match rate_limit {
                Some(limit) => Some(limit?),
                None => None,
            },
        })
    }
}

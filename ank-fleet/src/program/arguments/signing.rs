//! The arguments of `sign` and `verify`.

use std::time::Duration;

use clap::{Args, ValueHint};
use clap_complete::ArgValueCandidates;

use super::candidates::vehicles;
use super::rollout::duration;

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Manifests, or one signed request to which a signature is added
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<String>,
    /// The key: a private key file, or a public one whose private key an agent has
    #[arg(long, value_name = "FILE")]
    pub(crate) key: std::path::PathBuf,
    /// The operation
    #[arg(long, value_name = "NAME", default_value = "manifest/apply")]
    pub(crate) operation: String,
    /// Only for these vehicles; may be repeated [default: all of the fleet]
    #[arg(long = "vehicle", value_name = "VIN", add = ArgValueCandidates::new(vehicles))]
    pub(crate) vehicles: Vec<crate::Vin>,
    /// How long the request is valid, at most 30 days
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = duration)]
    pub(crate) valid_for: Duration,
    /// Higher than that of all requests before for the same items [default: the time in seconds]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) serial: Option<u64>,
    /// When vehicles take the change back by themselves
    #[arg(long, value_name = "MODE", default_value = "on-failure")]
    pub(crate) rollback: fleet_contract::revision::RollbackMode,
    /// Name of the release
    #[arg(long, value_name = "NAME")]
    pub(crate) release: Option<String>,
    /// Lift the protection of workloads
    #[arg(long)]
    pub(crate) force: bool,
    /// Where the signed request is written [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The signed request
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: String,
    /// The trust file of the vehicles
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    pub(crate) trust_file: std::path::PathBuf,
    /// A vehicle for which it must be [default: one that it names]
    #[arg(long, value_name = "VIN", add = ArgValueCandidates::new(vehicles))]
    pub(crate) vehicle: Option<crate::Vin>,
}

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod access_rules;
mod configs;
mod fields;
mod hostile;
mod mistakes;
mod requests;
mod warnings;
mod whole;

use std::time::{Duration, Instant};

use super::*;
use crate::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use crate::proto::ank_base::config_item::ConfigItemEnum;
use crate::proto::ank_base::file::FileContent;
use crate::proto::ank_base::{ConfigItem, Workload};

/// Time limit of each parse, with a large margin for unoptimised code on a busy machine. Without
/// the limits, hostile inputs would take minutes.
const TIME_LIMIT: Duration = Duration::from_secs(10);

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let start = Instant::now();
    let result = Manifest::parse(text.as_bytes());
    assert!(start.elapsed() < TIME_LIMIT, "took {:?}", start.elapsed());
    result
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// A manifest with the workload `w`, which has the required fields and these.
fn with(fields: &str) -> String {
    let indented: String = fields.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nworkloads:\n  w:\n    runtime: podman\n    agent: a\n    \
         runtimeConfig: x\n{indented}"
    )
}

fn workload(fields: &str) -> Workload {
    let manifest = parse(&with(fields)).unwrap();
    manifest.state.workloads.unwrap().workloads.remove("w").unwrap()
}

fn field_error(fields: &str) -> String {
    error(&with(fields))
}

fn config(value: &str) -> Result<ConfigItem, ManifestError> {
    let manifest = parse(&format!("apiVersion: v1\nconfigs:\n  c: {value}\n"))?;
    Ok(manifest.state.configs.unwrap().configs.remove("c").unwrap())
}

fn config_string(value: &str) -> String {
    match config(value).unwrap().config_item_enum.unwrap() {
        ConfigItemEnum::String(text) => text,
        other => panic!("{other:?}"),
    }
}

//! Checks the `runtimeConfig` of the runtime `podman` against the policy.

use ankaios_model::manifest::read_yaml;
use serde::Deserialize;

use super::option_value::parts;
use super::podman_options::{OptionScope, PodmanOption, read};
use super::policy::Policy;
use super::violation::{Violation, listed, shown};

/// The maximum number of parts, between commas and line breaks, of all values of a workload that
/// patterns read. The readings of a part take a hundred times its size.
const MAX_PARTS: usize = 4096;

/// The maximum number of parts of all workloads of a request. Checking them takes about
/// half a second.
const MAX_PARTS_OF_REQUEST: usize = 16 * MAX_PARTS;

/// The number of parts that patterns have read for one request.
#[derive(Debug, Default)]
pub(super) struct PartCount(usize);

/// The fields that Ankaios reads. It ignores others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a map with the field image")]
struct RuntimeConfig {
    #[serde(default)]
    general_options: Vec<String>,
    #[serde(default)]
    command_options: Vec<String>,
    image: String,
    // The command in the container; its content is not checked. It is parsed because a
    // configuration that is invalid here must not be valid for Ankaios.
    #[serde(default)]
    #[allow(dead_code, reason = "only its type is checked")]
    command_args: Vec<String>,
}

/// Checks a rendered runtime configuration. Adds the number of parts that patterns read to
/// `all`.
pub(super) fn check(policy: &Policy, text: &str, all: &mut PartCount) -> Result<(), Violation> {
    let rule = if policy.images.is_some() { "images" } else { "forbidden_options" };
    let config: RuntimeConfig = read_yaml(text).map_err(|error| {
        Violation::new(rule, "runtimeConfig", format!("it cannot be read: {error}"))
    })?;
    let mut options = read_options(&config.general_options, OptionScope::General, rule)?;
    options.extend(read_options(&config.command_options, OptionScope::Run, rule)?);

    let mut read_parts = 0;
    for (field, option) in &options {
        let mut patterns = policy.forbidden_options.iter().flatten();
        if patterns.clone().any(|pattern| pattern.reads(option)) {
            let parts = parts(&option.value);
            read_parts += parts;
            all.0 += parts;
        }
        let max = if read_parts > MAX_PARTS { MAX_PARTS } else { MAX_PARTS_OF_REQUEST };
        if read_parts.max(all.0) > max {
            let reason = format!(
                "{:?}: the option values that forbidden_options checks have more than \
                 {max} parts in total (separated by commas or line breaks), which is too many to \
                 check",
                shown(&option.name)
            );
            return Err(Violation::new("forbidden_options", field, reason));
        }
        if let Some(pattern) = patterns.find(|pattern| pattern.matches(option)) {
            let option = format!("{}={}", option.name, option.value);
            return Err(Violation::new(
                "forbidden_options",
                field,
                format!(
                    "the option {:?} is not allowed: it matches {:?}",
                    shown(&option),
                    pattern.text()
                ),
            ));
        }
    }
    check_image(policy, &config.image, &options, rule)
}

/// An option, and the field in which it stands.
type FieldOption = (&'static str, PodmanOption);

fn read_options(
    entries: &[String],
    place: OptionScope,
    rule: &'static str,
) -> Result<Vec<FieldOption>, Violation> {
    let field = match place {
        OptionScope::General => "runtimeConfig.generalOptions",
        OptionScope::Run => "runtimeConfig.commandOptions",
    };
    let options = read(entries, place).map_err(|reason| Violation::new(rule, field, reason))?;
    Ok(options.into_iter().map(|option| (field, option)).collect())
}

fn check_image(
    policy: &Policy,
    image: &str,
    options: &[FieldOption],
    rule: &'static str,
) -> Result<(), Violation> {
    let field = "runtimeConfig.image";
    // Podman would parse it as an option, and the first of `commandArgs` as the image.
    if image.is_empty() || image.starts_with('-') {
        return Err(Violation::new(
            rule,
            field,
            format!("{:?} is not a valid image name", shown(image)),
        ));
    }
    let Some(prefixes) = &policy.images else { return Ok(()) };
    // With it Podman runs a folder of the host instead of an image.
    if options.iter().any(|(_, option)| option.name == "--rootfs" && option.value == "true") {
        let reason =
            "--rootfs runs a directory instead of an image, but the policy has a rule for images";
        return Err(Violation::new(rule, "runtimeConfig.commandOptions", reason));
    }
    if prefixes.iter().any(|prefix| prefix.allows(image)) {
        return Ok(());
    }
    let allowed = listed(prefixes);
    let reason = format!("{:?} is not allowed; the allowed prefixes are {allowed}", shown(image));
    Err(Violation::new(rule, field, reason))
}

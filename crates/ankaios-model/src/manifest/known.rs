//! The fields of a manifest, and keys of other formats that people write instead.

use crate::hints::nearest;

/// The fields of a manifest.
pub(super) const MANIFEST_FIELDS: [&str; 3] = ["apiVersion", "workloads", "configs"];

/// The fields of a workload.
pub(super) const WORKLOAD_FIELDS: [&str; 9] = [
    "agent",
    "configs",
    "controlInterfaceAccess",
    "dependencies",
    "files",
    "restartPolicy",
    "runtime",
    "runtimeConfig",
    "tags",
];

/// The fields of a file.
pub(super) const FILE_FIELDS: [&str; 3] = ["binaryData", "data", "mountPoint"];

/// The fields of an access rule.
pub(super) const RULE_FIELDS: [&str; 4] = ["filterMasks", "operation", "type", "workloadNames"];

/// The fields of the access to the control interface.
pub(super) const ACCESS_FIELDS: [&str; 2] = ["allowRules", "denyRules"];

/// Keys of other formats, and what they are here.
pub(super) const FOREIGN_KEYS: &[(&str, &str)] = &[
    ("depends_on", "dependencies"),
    ("dependsOn", "dependencies"),
    ("restart", "restartPolicy"),
    ("labels", "tags"),
    ("accessRights", "controlInterfaceAccess"),
    ("allow", "allowRules"),
    ("deny", "denyRules"),
    ("config", "runtimeConfig"),
    ("runtime_configuration", "runtimeConfig"),
    ("runtimeOptions", "runtimeConfig"),
    ("node", "agent"),
    ("agentName", "agent"),
    ("target", "mountPoint"),
    ("path", "mountPoint"),
    ("mountPath", "mountPoint"),
    ("content", "data"),
    ("text", "data"),
    ("base64", "binaryData"),
    ("masks", "filterMasks"),
    ("workloads", "workloadNames"),
    ("access", "operation"),
    ("kind", "type"),
];

/// Keys of Compose and Podman, which belong into the runtime configuration.
pub(super) const PODMAN_KEYS: [&str; 14] = [
    "image",
    "command",
    "commandOptions",
    "commandArgs",
    "generalOptions",
    "ports",
    "volumes",
    "environment",
    "env",
    "args",
    "entrypoint",
    "networks",
    "build",
    "privileged",
];

/// The field of a manifest that a misspelled one probably stands for.
#[must_use]
pub fn nearest_field(name: &str) -> Option<&'static str> {
    let tables: [&[&str]; 5] =
        [&WORKLOAD_FIELDS, &MANIFEST_FIELDS, &FILE_FIELDS, &RULE_FIELDS, &ACCESS_FIELDS];
    meant(name, &tables.concat())
}

/// The field among the known ones that another key probably stands for.
pub(super) fn meant(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let synonym = FOREIGN_KEYS.iter().find(|(key, field)| *key == name && known.contains(field));
    synonym.map(|(_, field)| *field).or_else(|| nearest(name, known.iter().copied()))
}

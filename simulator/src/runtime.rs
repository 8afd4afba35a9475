//! Why an agent cannot start a workload.
//!
//! An agent of Ankaios 1.0.1 writes the files of a workload, reads its runtime configuration, and
//! calls the runtime. If one of the first two steps fails, the workload stays in
//! `PENDING_STARTING_FAILED`, because another attempt would fail in the same way. If the call
//! fails, the agent tries again, without an end. The texts are those of the agent.

use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::tree::Node;

/// The runtime cannot pull an image whose name contains this text. The agent retries the start.
pub const UNKNOWN_IMAGE: &str = "example.com/unknown";

/// Why a workload does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartFailure {
    /// The agent does not try again.
    Final(String),
    /// The agent tries again after a pause.
    Retried(String),
}

/// Starts a rendered workload. `first_runtime` is the runtime that it had before it was changed:
/// the agent calls that one until the workload is deleted. `runtime_error` is why the runtime
/// starts no container at all.
pub(crate) fn start(
    workload: &Node,
    first_runtime: Option<&str>,
    runtime_error: Option<&str>,
) -> Result<(), StartFailure> {
    let runtime = first_runtime.unwrap_or_else(|| text(workload, "runtime"));
    check_files(workload).map_err(StartFailure::Final)?;
    check_configuration(workload, runtime).map_err(StartFailure::Final)?;
    if let Some(error) = runtime_error {
        return Err(StartFailure::Retried(error.to_owned()));
    }
    if text(workload, "runtimeConfig").contains(UNKNOWN_IMAGE) {
        let error = format!("unable to pull {UNKNOWN_IMAGE}: manifest unknown");
        return Err(StartFailure::Retried(error));
    }
    Ok(())
}

// --------------------------------------------------------------------- files

fn check_files(workload: &Node) -> Result<(), String> {
    for file in files(workload) {
        check_file(file).map_err(|reason| format!("Failed to create workload file: '{reason}'"))?;
    }
    Ok(())
}

fn files(workload: &Node) -> &[Node] {
    match workload.get("files") {
        Some(Node::List(files)) => files,
        _ => &[],
    }
}

fn check_file(file: &Node) -> Result<(), String> {
    let path = text(file, "mountPoint");
    check_mount_point(path)
        .map_err(|reason| format!("invalid mount point '{path}': '{reason}'"))?;
    let encoded: String = text(file, "binaryData").lines().map(str::trim).collect();
    match STANDARD.decode(encoded) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("invalid base64 data in '{path}': '{error}'")),
    }
}

fn check_mount_point(path: &str) -> Result<(), String> {
    if path.ends_with('/') {
        return Err(format!("'{path}' is a directory, expected a file"));
    }
    let mut components = Path::new(path).components();
    if components.next() != Some(Component::RootDir) {
        return Err(format!("path '{path}' is relative, expected absolute path"));
    }
    if components.any(|component| !matches!(component, Component::Normal(_))) {
        return Err(format!("path '{path}' contains invalid path components"));
    }
    Ok(())
}

// ------------------------------------------------------------- configuration

/// The runtime configuration of `podman` and `containerd`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only matters whether it can be read")]
struct ContainerConfig {
    #[serde(default)]
    general_options: Vec<String>,
    #[serde(default)]
    command_options: Vec<String>,
    image: String,
    #[serde(default)]
    command_args: Vec<String>,
}

/// The runtime configuration of `podman-kube`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only matters whether it can be read")]
struct KubeConfig {
    #[serde(default)]
    general_options: Vec<String>,
    #[serde(default)]
    play_options: Vec<String>,
    #[serde(default)]
    down_options: Vec<String>,
    control_interface_target: Option<String>,
    manifest: String,
}

fn check_configuration(workload: &Node, runtime: &str) -> Result<(), String> {
    let config = text(workload, "runtimeConfig");
    let asked = text(workload, "runtime");
    match runtime {
        "podman" | "containerd" if asked == runtime => read::<ContainerConfig>(config).map(drop),
        "podman" | "containerd" => {
            Err(format!("Received a workload for the wrong runtime: '{asked}'"))
        }
        "podman-kube" if asked == runtime => check_kube_configuration(workload, config),
        _ if asked == runtime => Err("Unsupported Runtime".to_owned()),
        _ => Err(format!("Received a manifest for the wrong runtime: '{asked}'")),
    }
}

fn check_kube_configuration(workload: &Node, config: &str) -> Result<(), String> {
    if !files(workload).is_empty() {
        let reason = "Workload files are not supported for podman-kube runtime. \
                      Use ConfigMaps instead.";
        return Err(reason.to_owned());
    }
    let config: KubeConfig = read(config)?;
    if workload.at(["controlInterfaceAccess", "allowRules"]).is_none() {
        return Ok(());
    }
    match config.control_interface_target {
        Some(target) if target.split('/').count() != 2 => Err(format!(
            "Invalid control interface target format: '{target}'. \
             Expected format: '<pod_name>/<container_name>'"
        )),
        Some(_) => Ok(()),
        None => Err("Control interface target not specified in runtime config.".to_owned()),
    }
}

fn read<'a, T: Deserialize<'a>>(config: &'a str) -> Result<T, String> {
    serde_yaml::from_str(config).map_err(|error| error.to_string())
}

fn text<'a>(node: &'a Node, field: &str) -> &'a str {
    node.get(field).and_then(Node::as_text).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn workload(runtime: &str, config: &str, file: Option<(&str, &str, &str)>) -> Node {
        let files = file.into_iter().map(|(path, content, value)| {
            Node::map([("mountPoint", Node::text(path)), (content, Node::text(value))])
        });
        Node::map([
            ("runtime", Node::text(runtime)),
            ("runtimeConfig", Node::text(config)),
            ("files", Node::list(files)),
        ])
    }

    fn final_failure(text: &str) -> Result<(), StartFailure> {
        Err(StartFailure::Final(text.to_owned()))
    }

    #[test]
    fn each_runtime_accepts_its_own_configuration() {
        for (runtime, config) in [
            ("podman", "image: x\ncommandOptions: [\"--network=host\"]"),
            ("containerd", "image: x\ncommandArgs: [sleep, '1']\nunknown: 1"),
            ("podman-kube", "manifest: |\n  kind: Pod"),
        ] {
            assert_eq!(start(&workload(runtime, config, None), None, None), Ok(()), "{runtime}");
        }
    }

    #[test]
    fn an_unsupported_runtime_or_configuration_is_a_final_failure() {
        for (runtime, config, expected) in [
            ("docker", "image: x", "Unsupported Runtime"),
            ("", "image: x", "Unsupported Runtime"),
            ("podman", "commandArgs: []", "missing field `image`"),
            (
                "podman",
                "image: x\ncommandOptions: \"--network=host\"",
                "commandOptions: invalid type: string \"--network=host\", expected a sequence \
                 at line 2 column 17",
            ),
            ("podman-kube", "image: x", "missing field `manifest`"),
        ] {
            let failure = start(&workload(runtime, config, None), None, None);
            assert_eq!(failure, final_failure(expected), "{runtime}: {config}");
        }
    }

    #[test]
    fn a_pod_with_a_control_interface_names_its_container() {
        let start = |target: &str| {
            let rules = Node::list([Node::text("rule")]);
            let mut workload = workload("podman-kube", &format!("manifest: x{target}"), None);
            workload.set(&["controlInterfaceAccess"], Node::map([("allowRules", rules)])).unwrap();
            super::start(&workload, None, None)
        };
        assert_eq!(start("\ncontrolInterfaceTarget: pod/container"), Ok(()));
        let expected = "Invalid control interface target format: 'pod'. \
                        Expected format: '<pod_name>/<container_name>'";
        assert_eq!(start("\ncontrolInterfaceTarget: pod"), final_failure(expected));
        let expected = "Control interface target not specified in runtime config.";
        assert_eq!(start(""), final_failure(expected));
    }

    #[test]
    fn a_file_that_cannot_be_made_is_a_final_failure() {
        let start =
            |runtime, file| super::start(&workload(runtime, "image: x", Some(file)), None, None);
        for file in [
            ("/a/b", "data", "text: %"),
            ("/a", "binaryData", "aGVs\n  bG8=\n"),
            ("/a", "data", ""),
        ] {
            assert_eq!(start("podman", file), Ok(()), "{file:?}");
        }
        for (file, expected) in [
            (
                ("/etc/key", "binaryData", "not base64!"),
                "invalid base64 data in '/etc/key': 'Invalid symbol 32, offset 3.'",
            ),
            (
                ("/etc/", "data", "x"),
                "invalid mount point '/etc/': ''/etc/' is a directory, expected a file'",
            ),
            (
                ("etc", "data", "x"),
                "invalid mount point 'etc': 'path 'etc' is relative, expected absolute path'",
            ),
            (
                ("/a/../b", "data", "x"),
                "invalid mount point '/a/../b': 'path '/a/../b' contains invalid path components'",
            ),
        ] {
            let expected = format!("Failed to create workload file: '{expected}'");
            assert_eq!(start("podman", file), final_failure(&expected));
        }
        let expected = "Workload files are not supported for podman-kube runtime. \
                        Use ConfigMaps instead.";
        assert_eq!(start("podman-kube", ("/a", "data", "x")), final_failure(expected));
    }

    #[test]
    fn what_the_runtime_reports_is_retried() {
        let unknown = workload("podman", &format!("image: {UNKNOWN_IMAGE}:1"), None);
        let expected = "unable to pull example.com/unknown: manifest unknown";
        assert_eq!(start(&unknown, None, None), Err(StartFailure::Retried(expected.to_owned())));
        let full = Some("no space left on device");
        let expected = Err(StartFailure::Retried("no space left on device".to_owned()));
        assert_eq!(start(&workload("podman", "image: x", None), None, full), expected);
        let wrong = start(&workload("docker", "image: x", None), None, full);
        assert_eq!(wrong, final_failure("Unsupported Runtime"));
    }

    #[test]
    fn a_workload_keeps_its_first_runtime() {
        let start =
            |first, runtime| super::start(&workload(runtime, "image: x", None), Some(first), None);
        assert_eq!(start("podman", "podman"), Ok(()));
        for (first, runtime, kind) in [
            ("podman", "docker", "workload"),
            ("containerd", "podman", "workload"),
            ("podman-kube", "podman", "manifest"),
            ("docker", "podman", "manifest"),
        ] {
            let expected = format!("Received a {kind} for the wrong runtime: '{runtime}'");
            assert_eq!(start(first, runtime), final_failure(&expected));
        }
    }
}

//! The requests that apply and delete a manifest.

use super::*;

const MANIFEST: &str = "\
apiVersion: v1
workloads:
  b: {runtime: podman, agent: a, runtimeConfig: x}
  a: {runtime: podman, agent: a, runtimeConfig: x}
configs:
  d: x
  c: x
";

#[test]
fn masks_are_workloads_then_configs_each_sorted() {
    let manifest = parse(MANIFEST).unwrap();
    assert_eq!(manifest.workload_names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(manifest.config_names().collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!(
        manifest.update_mask(),
        [
            "desiredState.workloads.a",
            "desiredState.workloads.b",
            "desiredState.configs.c",
            "desiredState.configs.d",
        ]
    );
}

#[test]
fn apply_contains_the_manifest() {
    let manifest = parse(MANIFEST).unwrap();
    let request = manifest.clone().into_apply_request();
    assert_eq!(request.update_mask, manifest.update_mask());
    let state = request.new_state.unwrap();
    assert_eq!(state.desired_state.as_ref(), Some(manifest.desired_state()));
    assert!(state.workload_states.is_none() && state.agents.is_none());
}

#[test]
fn delete_has_the_same_masks_and_contains_only_the_version() {
    let manifest = parse(MANIFEST).unwrap();
    let request = manifest.clone().into_delete_request();
    assert_eq!(request.update_mask, manifest.update_mask());
    let state = request.new_state.unwrap().desired_state.unwrap();
    assert_eq!(state, State { api_version: "v1".into(), ..State::default() });
}

#[test]
fn version_is_kept() {
    let manifest = parse("apiVersion: v0.1\nconfigs: {c: x}\n").unwrap();
    assert_eq!(manifest.desired_state().api_version, "v0.1");
}

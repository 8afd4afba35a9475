//! Manifests: parsing does not panic, takes limited time, and never results in an update
//! without masks. Each error has a position. A parsed manifest can be written in the format of
//! Ankaios and parsed again.

#![no_main]

use std::time::{Duration, Instant};

use ankaios_model::json::{self, StateFormat};
use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::{CompleteState, State};
use libfuzzer_sys::{Corpus, fuzz_target};

/// The longest time for inputs of a few kilobytes, with all sanitizer checks.
const LIMIT: Duration = Duration::from_secs(2);

fuzz_target!(|payload: &[u8]| -> Corpus {
    let start = Instant::now();
    let parsed = Manifest::parse(payload);
    let warnings = parsed.as_ref().map_or_else(|_| Vec::new(), |it| it.warnings(payload));
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    let manifest = match parsed {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(error.position().is_some());
            return Corpus::Keep;
        }
    };

    assert!(warnings.iter().all(|warning| !warning.message.is_empty()));

    let masks = manifest.update_mask();
    assert!(!masks.is_empty());
    let names = manifest.workload_names().count() + manifest.config_names().count();
    assert_eq!(masks.len(), names);

    let delete = manifest.clone().into_delete_request();
    assert_eq!(delete.update_mask, masks);
    let apply = manifest.clone().into_apply_request();
    assert_eq!(apply.update_mask, masks);

    let state = CompleteState {
        desired_state: Some(manifest.desired_state().clone()),
        ..CompleteState::default()
    };
    let state = serde_json::to_value(json::complete_state(&state, StateFormat::Ankaios)).unwrap();
    let again = Manifest::parse(state["desiredState"].to_string().as_bytes()).unwrap();
    assert_eq!(normal(again.desired_state()), normal(manifest.desired_state()));
    Corpus::Keep
});

/// The state without empty parts, which are equivalent to absent ones.
fn normal(state: &State) -> State {
    fn clear<T: Default + PartialEq>(part: &mut Option<T>) {
        part.take_if(|part| *part == T::default());
    }
    let mut state = state.clone();
    let workloads = state.workloads.iter_mut().flat_map(|map| map.workloads.values_mut());
    for workload in workloads {
        clear(&mut workload.control_interface_access);
        clear(&mut workload.dependencies);
        clear(&mut workload.tags);
        clear(&mut workload.configs);
        clear(&mut workload.files);
    }
    state
}

//! Ankaios' own format, compared with recorded output of `ank get state -o json`, Ankaios
//! 1.1.0-pre (`tests/recorded`).

use ankaios_model::json::{self, StateFormat, ankaios::parse_complete_state};
use ankaios_model::manifest::Manifest;
use serde_json::Value;

const WHOLE: &str = include_str!("../../../../tests/recorded/ank-get-state.json");
const MASKED: &str = include_str!("../../../../tests/recorded/ank-get-state-masked.json");

#[test]
fn a_state_is_written_as_ank_prints_it() {
    for recorded in [WHOLE, MASKED] {
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        let state = parse_complete_state(&recorded).unwrap();
        let written =
            serde_json::to_value(json::complete_state(&state, StateFormat::Ankaios)).unwrap();
        assert_eq!(written, recorded);
    }
}

/// A state can be applied again, as `ank` prints it and as this crate writes it.
#[test]
fn a_desired_state_is_a_manifest() {
    let recorded: Value = serde_json::from_str(WHOLE).unwrap();
    let state = parse_complete_state(&recorded).unwrap();
    let manifest = Manifest::parse(recorded["desiredState"].to_string().as_bytes()).unwrap();
    assert_eq!(Some(manifest.desired_state()), state.desired_state.as_ref());

    let written = serde_json::to_value(json::complete_state(&state, StateFormat::Ankaios)).unwrap();
    let yaml = serde_yaml::to_string(&written["desiredState"]).unwrap();
    assert_eq!(Manifest::parse(yaml.as_bytes()).unwrap(), manifest);
}

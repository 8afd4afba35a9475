//! State requests: parsing does not panic, and no accepted field mask has an empty element.

#![no_main]

use ankaios_model::json::StateFormat;
use fleet_contract::requests::StateRequest;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|payload: &[u8]| {
    let request = match StateRequest::parse(payload) {
        Ok(request) => request,
        Err(error) => {
            serde_json::from_slice::<serde_json::Value>(&error.to_payload()).unwrap();
            assert!(error.details.contains_key("line") && error.details.contains_key("column"));
            return;
        }
    };
    for mask in &request.field_masks {
        assert!(mask.split('.').all(|part| !part.is_empty()));
    }
    let format = match request.format {
        StateFormat::Sdk => "sdk",
        StateFormat::Ankaios => "ankaios",
    };
    let object = json!({"field_masks": request.field_masks, "format": format}).to_string();
    assert_eq!(StateRequest::parse(object.as_bytes()).unwrap(), request);
});

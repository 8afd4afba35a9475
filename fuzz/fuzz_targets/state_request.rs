//! Requests for the state with their field masks: no panic, and no mask with an
//! empty part.

#![no_main]

use fleet_connector::json::StateFormat;
use fleet_connector::operations::StateRequest;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|payload: &[u8]| {
    let request = match StateRequest::parse(payload) {
        Ok(request) => request,
        Err(error) => {
            serde_json::from_slice::<serde_json::Value>(&error.to_payload()).unwrap();
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

//! The samples in `tests/golden`, recorded and written by hand: messages of Ankaios are decoded
//! and converted to JSON, manifests are converted to messages.
//!
//! `.bin` is a message without its length prefix, `.txt` the same message in protobuf's text
//! format, `.json` the JSON of the state or event.

use std::fs;
use std::path::{Path, PathBuf};

use ankaios_model::json::{self, StateFormat, ankaios::parse_complete_state};
use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::{
    CompleteState, CompleteStateResponse, Request, UpdateStateRequest, request::RequestContent,
    response::ResponseContent,
};
use ankaios_model::proto::control_api::{
    FromAnkaios, ToAnkaios, from_ankaios::FromAnkaiosEnum, to_ankaios::ToAnkaiosEnum,
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use serde::Serialize;

/// The files of a folder in `tests/golden` with this extension, sorted.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

fn descriptor(name: &str) -> MessageDescriptor {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile(["control_api.proto"], [folder]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    pool.get_message_by_name(name).unwrap()
}

fn parse_text(descriptor: &MessageDescriptor, path: &Path) -> DynamicMessage {
    let text = fs::read_to_string(path).unwrap();
    DynamicMessage::parse_text_format(descriptor.clone(), &text).unwrap()
}

fn to_dynamic(descriptor: &MessageDescriptor, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice()).unwrap()
}

fn decode(path: &Path) -> FromAnkaios {
    FromAnkaios::decode(fs::read(path).unwrap().as_slice()).unwrap()
}

fn state_response(message: FromAnkaios) -> CompleteStateResponse {
    let Some(FromAnkaiosEnum::Response(response)) = message.from_ankaios_enum else {
        panic!("{message:?}");
    };
    match response.response_content {
        Some(ResponseContent::CompleteStateResponse(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn expected_json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path.with_extension("json")).unwrap()).unwrap()
}

/// Writes the value as text and parses that, as a client does.
fn as_json(value: impl Serialize) -> serde_json::Value {
    serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap()
}

/// Sorts the masks, clears the request id, and removes empty messages, which are equivalent to
/// absent ones. Empty items of lists and maps are not removed.
fn normalise(message: &mut DynamicMessage) {
    let fields: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        match (field.name(), message.get_field_mut(&field)) {
            ("requestId", value) => *value = Value::String(String::new()),
            ("updateMask", Value::List(masks)) => {
                masks.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
            (_, Value::Message(inner)) => {
                normalise(inner);
                if inner.fields().count() == 0 {
                    message.clear_field(&field);
                }
            }
            (_, Value::List(items)) => {
                items.iter_mut().filter_map(Value::as_message_mut).for_each(normalise);
            }
            (_, Value::Map(map)) => {
                map.values_mut().filter_map(Value::as_message_mut).for_each(normalise);
            }
            _ => {}
        }
    }
}

fn assert_equal(message: &DynamicMessage, expected: &DynamicMessage, path: &Path) {
    assert!(
        message == expected,
        "{}:\n{}\ninstead of\n{}",
        path.display(),
        message.to_text_format(),
        expected.to_text_format()
    );
}

#[test]
fn recorded_messages_are_decoded_completely() {
    let descriptor = descriptor("control_api.FromAnkaios");
    for path in files("recorded", ".bin") {
        let mut message = decode(&path);
        // The schema of the recorded texts has no effective state.
        if let Some(FromAnkaiosEnum::Response(response)) = &mut message.from_ankaios_enum
            && let Some(ResponseContent::CompleteStateResponse(response)) =
                &mut response.response_content
            && let Some(state) = &mut response.complete_state
        {
            state.effective_state = None;
        }
        let expected = parse_text(&descriptor, &path.with_extension("txt"));
        assert_equal(&to_dynamic(&descriptor, &message), &expected, &path);
    }
}

#[test]
fn recorded_states_and_events_are_written_as_json() {
    for path in files("recorded", ".json") {
        let response = state_response(decode(&path.with_extension("bin")));
        let json = if response.altered_fields.is_some() {
            as_json(json::event(&response))
        } else {
            let state = response.complete_state.as_ref().unwrap();
            as_json(json::complete_state(state, StateFormat::Sdk))
        };
        assert_eq!(json, expected_json(&path), "{path:?}");
    }
}

#[test]
fn states_are_written_as_json() {
    for path in files("states", ".bin") {
        let state = state_response(decode(&path)).complete_state.unwrap();
        let json = as_json(json::complete_state(&state, StateFormat::Sdk));
        assert_eq!(json, expected_json(&path), "{path:?}");
    }
}

/// A state in Ankaios' own format can be applied again.
#[test]
fn states_are_parsed_as_they_are_written() {
    let descriptor = descriptor("ank_base.CompleteState");
    let recorded = files("recorded", ".json").into_iter().map(|path| path.with_extension("bin"));
    for path in files("states", ".bin").into_iter().chain(recorded) {
        let state = state_response(decode(&path)).complete_state.unwrap();
        let json =
            serde_json::to_string(&json::complete_state(&state, StateFormat::Ankaios)).unwrap();
        let read = parse_complete_state(&mut serde_json::Deserializer::from_str(&json));
        let read: CompleteState = read.unwrap_or_else(|error| panic!("{path:?}: {error}"));

        let (mut state, mut read) =
            (to_dynamic(&descriptor, &state), to_dynamic(&descriptor, &read));
        normalise(&mut state);
        normalise(&mut read);
        assert_equal(&read, &state, &path);
    }
}

fn envelope(update: UpdateStateRequest) -> ToAnkaios {
    ToAnkaios {
        to_ankaios_enum: Some(ToAnkaiosEnum::Request(Request {
            request_id: "any".to_owned(),
            request_content: Some(RequestContent::UpdateStateRequest(update)),
        })),
    }
}

#[test]
fn manifests_are_converted_to_requests() {
    let descriptor = descriptor("control_api.ToAnkaios");
    for path in files("manifests", ".yaml") {
        let manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
        let mut expected = parse_text(&descriptor, &path.with_extension("apply.txt"));
        normalise(&mut expected);

        let mut apply = to_dynamic(&descriptor, &envelope(manifest.clone().into_apply_request()));
        normalise(&mut apply);
        assert_equal(&apply, &expected, &path);

        // The deletion has the same masks, and a state that contains only the version.
        let masks = manifest.update_mask();
        let delete = manifest.into_delete_request();
        assert_eq!(delete.update_mask, masks, "{path:?}");
        let state = delete.new_state.unwrap();
        let desired_state = state.desired_state.clone().unwrap();
        assert_eq!(desired_state.api_version, "v1");
        assert_eq!((desired_state.workloads, desired_state.configs), (None, None), "{path:?}");
        assert_eq!(
            (state.workload_states, state.agents, state.effective_state),
            (None, None, None)
        );
    }
}

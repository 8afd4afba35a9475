//! The recorded and prepared samples under `tests/golden`: what Ankaios sends
//! must decode and turn into the JSON that operators parse, and a manifest must
//! become the message that Ankaios expects.
//!
//! `.bin` is a message without its length prefix, `.txt` the same in protobuf's
//! text format, `.json` the reply.

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

/// The files of a folder under `tests/golden` with this ending, sorted.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
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

fn from_text(descriptor: &MessageDescriptor, path: &Path) -> DynamicMessage {
    let text = fs::read_to_string(path).unwrap();
    DynamicMessage::parse_text_format(descriptor.clone(), &text).unwrap()
}

fn from_message(descriptor: &MessageDescriptor, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice()).unwrap()
}

fn from_ankaios(path: &Path) -> FromAnkaios {
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

/// By way of the text, as the reply takes it.
fn as_json(value: impl Serialize) -> serde_json::Value {
    serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap()
}

/// Sorts the masks, sets the request id and takes out empty messages, which mean
/// the same as absent ones. Items of lists and maps stay, empty or not.
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

fn assert_same(message: &DynamicMessage, expected: &DynamicMessage, path: &Path) {
    assert!(
        message == expected,
        "{}:\n{}\ninstead of\n{}",
        path.display(),
        message.to_text_format(),
        expected.to_text_format()
    );
}

#[test]
fn recorded_messages_decode_completely() {
    let descriptor = descriptor("control_api.FromAnkaios");
    for path in files("recorded", ".bin") {
        let mut message = from_ankaios(&path);
        // The texts were written with a schema that has no effective state yet.
        if let Some(FromAnkaiosEnum::Response(response)) = &mut message.from_ankaios_enum
            && let Some(ResponseContent::CompleteStateResponse(response)) =
                &mut response.response_content
            && let Some(state) = &mut response.complete_state
        {
            state.effective_state = None;
        }
        let expected = from_text(&descriptor, &path.with_extension("txt"));
        assert_same(&from_message(&descriptor, &message), &expected, &path);
    }
}

#[test]
fn recorded_states_and_events_become_json() {
    for path in files("recorded", ".json") {
        let response = state_response(from_ankaios(&path.with_extension("bin")));
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
fn states_become_json() {
    for path in files("states", ".bin") {
        let state = state_response(from_ankaios(&path)).complete_state.unwrap();
        let json = as_json(json::complete_state(&state, StateFormat::Sdk));
        assert_eq!(json, expected_json(&path), "{path:?}");
    }
}

/// What Ankaios' own format gives can be applied again.
#[test]
fn states_survive_ankaios_own_format() {
    let descriptor = descriptor("ank_base.CompleteState");
    let recorded = files("recorded", ".json").into_iter().map(|path| path.with_extension("bin"));
    for path in files("states", ".bin").into_iter().chain(recorded) {
        let state = state_response(from_ankaios(&path)).complete_state.unwrap();
        let json =
            serde_json::to_string(&json::complete_state(&state, StateFormat::Ankaios)).unwrap();
        let read = parse_complete_state(&mut serde_json::Deserializer::from_str(&json));
        let read: CompleteState = read.unwrap_or_else(|error| panic!("{path:?}: {error}"));

        let (mut state, mut read) =
            (from_message(&descriptor, &state), from_message(&descriptor, &read));
        normalise(&mut state);
        normalise(&mut read);
        assert_same(&read, &state, &path);
    }
}

fn to_ankaios(update: UpdateStateRequest) -> ToAnkaios {
    ToAnkaios {
        to_ankaios_enum: Some(ToAnkaiosEnum::Request(Request {
            request_id: "any".to_owned(),
            request_content: Some(RequestContent::UpdateStateRequest(update)),
        })),
    }
}

#[test]
fn manifests_become_requests() {
    let descriptor = descriptor("control_api.ToAnkaios");
    for path in files("manifests", ".yaml") {
        let manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
        let mut expected = from_text(&descriptor, &path.with_extension("apply.txt"));
        normalise(&mut expected);

        let mut apply =
            from_message(&descriptor, &to_ankaios(manifest.clone().into_apply_request()));
        normalise(&mut apply);
        assert_same(&apply, &expected, &path);

        // Deleting: the same masks, and of the state only the version.
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

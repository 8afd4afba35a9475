//! `docs/asyncapi.yaml` describes everything that the code has: operations, topics, error codes and
//! other names. The messages of all other tests are checked by `support::contract`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ankaios_model::json::STATES;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::requests::{EventsRequest, LogsRequest};
use fleet_contract::revision::RollbackMode;
use fleet_contract::topics::{StreamKind, Topics};
use fleet_trust::{Reason, Statement, Vehicles};
use serde_json::{Value, json};

use super::support::contract::{CONTRACT, TEXT, published, violation};

fn schema(name: &str) -> &'static Value {
    &CONTRACT.document["components"]["schemas"][name]
}

/// The values of an enum in the document.
fn values(schema: &'static Value) -> BTreeSet<&'static str> {
    schema["enum"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

/// Whether the channel with this name has this message.
fn check(channel: &str, payload: &[u8]) -> Result<(), String> {
    CONTRACT.check(CONTRACT.channel(channel), payload)
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn each_operation_has_channels_and_an_operation_with_its_reply() {
    let topics = Topics::new("1", Vec::new()).unwrap();
    let operations = CONTRACT.document["operations"].as_object().unwrap();
    for (operation, topic) in Operation::ALL.into_iter().zip(topics.requests()) {
        let request = &CONTRACT.channel_of(&topic).unwrap().name;
        let reply = &CONTRACT.channel_of(&topics.reply(operation.name())).unwrap().name;
        let reference = |name: &str| json!({"$ref": format!("#/channels/{name}")});
        let described = operations.values().find(|it| it["channel"] == reference(request));
        let described = described.unwrap_or_else(|| panic!("{operation} is not in the document"));
        assert_eq!(described["action"], "receive", "{operation}");
        assert_eq!(described["reply"]["channel"], reference(reply), "{operation}");
        let error = ErrorReply::new(ErrorCode::Internal, "why").to_payload();
        check(reply, &error).unwrap();
    }
    let described = operations.values().filter(|operation| operation.get("reply").is_some());
    // One more for `fleet/<FLEET>/who`.
    assert_eq!(described.count(), Operation::ALL.len() + 1);
}

#[test]
fn each_topic_has_a_channel() {
    let topics = Topics::new("1", Vec::new()).unwrap();
    for (topic, channel) in [
        (topics.stream(StreamKind::Events, "x"), "events"),
        (topics.stream(StreamKind::Logs, "x"), "logs"),
        (topics.record(StreamKind::Events, "x"), "eventsSubscription"),
        (topics.record(StreamKind::Logs, "x"), "logsSubscription"),
        (topics.apply_status(), "rollouts"),
        (topics.rollout("x"), "rolloutRecord"),
        (topics.status(), "status"),
        (topics.standby(), "standby"),
        ("fleet/prod-eu/who".into(), "who"),
        (topics.reply("no"), "unknownOperationReply"),
        (topics.reply("no/such"), "unknownGroupedOperationReply"),
    ] {
        let found = CONTRACT.channel_of(&topic).map(|channel| channel.name.as_str());
        assert_eq!(found, Some(channel), "{topic}");
    }
    for unknown in ["vehicle/1/events", "vehicle/1/connector/other", "x"] {
        assert!(CONTRACT.channel_of(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn names_are_those_of_the_code() {
    let codes = ErrorCode::ALL.map(ErrorCode::name);
    assert_eq!(values(schema("ErrorCode")), codes.into());
    let reasons = Reason::ALL.map(Reason::as_str);
    assert_eq!(values(schema("UntrustedReason")), reasons.into());
    let operations = Operation::ALL.map(Operation::name);
    assert_eq!(values(schema("Operation")), operations.into());
    let modes = RollbackMode::ALL.map(RollbackMode::name);
    assert_eq!(values(schema("RollbackMode")), modes.into());
    let states: BTreeSet<_> = STATES.into();
    assert_eq!(values(&schema("WorkloadWaitRequest")["properties"]["state"]), states);
    let with_unknown = states.iter().copied().chain(["UNKNOWN"]).collect();
    assert_eq!(values(schema("ExecutionStateName")), with_unknown);
}

#[test]
fn user_properties_are_those_of_the_readme() {
    let readme = include_str!("../../README.md");
    let table = readme.split("User properties of MQTT 5 requests:\n").nth(1).unwrap();
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let names = rows.map(|row| row.split('`').nth(1).unwrap()).collect::<BTreeSet<_>>();
    let properties = schema("RequestProperties")["properties"].as_object().unwrap();
    assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
}

#[test]
fn the_version_is_that_of_the_connector() {
    assert_eq!(CONTRACT.document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn golden_samples_have_the_described_shape() {
    let mut events = 0;
    let samples = [files("tests/golden/states", "json"), files("tests/golden/recorded", "json")];
    for path in samples.into_iter().flatten() {
        let sample = fs::read(&path).unwrap();
        let json: Value = serde_json::from_slice(&sample).unwrap();
        let is_event = json.get("complete_state").is_some();
        events += usize::from(is_event);
        let channel = if is_event { "events" } else { "stateReply" };
        check(channel, &sample).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert!(events > 2);
    let manifests = [files("tests/golden/manifests", "yaml"), files("manifests", "yaml")];
    for path in manifests.into_iter().flatten() {
        let manifest = fs::read(&path).unwrap();
        check("manifestApplyRequest", &manifest)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn requests_are_as_strict_in_the_document_as_in_the_code() {
    let events = |payload: &[u8]| EventsRequest::parse(payload).is_ok();
    let logs = |payload: &[u8]| LogsRequest::parse(payload).is_ok();
    for payload in [
        &br#"["workloadStates.*.nginx"]"#[..],
        br#"{"field_masks": ["a"], "ttl": "1h 30m", "id": "x-1"}"#,
        br#"{"field_masks": []}"#,
        br#"["a..b"]"#,
        br#"[".a"]"#,
        br#"["a."]"#,
        br#"[""]"#,
        br#"{"field_masks": ["a"], "id": "a/b"}"#,
        br#"{"field_masks": ["a"], "ttl": "soon"}"#,
        br#"{"field_masks": ["a"], "ttl": 3}"#,
        br#"{"field_masks": ["a"], "other": 3}"#,
        b"{}",
        b"3",
        b"",
    ] {
        let text = String::from_utf8_lossy(payload);
        assert_eq!(check("eventsSubscribeRequest", payload).is_ok(), events(payload), "{text}");
    }
    for payload in [
        &br#"{"workloads": ["nginx", {"agent_name": "a", "workload_name": "w", "workload_id": "1"}],
              "follow": true, "tail": 3, "since": "2026-01-31T12:00:00+01:00", "ttl": "0s"}"#[..],
        br#"{"workloads": []}"#,
        br#"{"workloads": ["a.b"]}"#,
        br#"{"workloads": [""]}"#,
        br#"{"workloads": ["a"], "tail": -1}"#,
        br#"{"workloads": ["a"], "tail": 2147483648}"#,
        br#"{"workloads": ["a"], "since": "yesterday"}"#,
        br#"{"workloads": [{"workload_name": "w"}]}"#,
        b"[]",
    ] {
        let text = String::from_utf8_lossy(payload);
        assert_eq!(check("logsSubscribeRequest", payload).is_ok(), logs(payload), "{text}");
    }
}

#[test]
fn a_statement_has_the_described_shape() {
    let statement = Statement {
        operation: "manifest/apply".into(),
        fleet: "prod-eu".into(),
        vehicles: Vehicles::Vins(vec!["1".into()]),
        serial: 7,
        not_before: 1_795_646_059,
        expires: 1_795_646_059 + Duration::from_secs(3600).as_secs() as i64,
        force: true,
        rollback: Some("on-failure".into()),
        release: Some("2026.11".into()),
        payload_sha256: [7; 32],
    };
    for vehicles in [statement.vehicles.clone(), Vehicles::All] {
        let statement = Statement { vehicles, ..statement.clone() };
        CONTRACT.check_schema("Statement", &statement.to_bytes()).unwrap();
    }
    let trust_file = br#"{"fleet": "a", "version": 1, "require": ["state"], "roles": {
        "root": {"threshold": 1, "keys": ["ssh-ed25519 AAAA"]},
        "release": {"threshold": 1, "keys": ["ssh-ed25519 AAAA"]}}}"#;
    CONTRACT.check_schema("TrustFile", trust_file).unwrap();
    assert!(CONTRACT.check_schema("TrustFile", b"{}").is_err());
}

/// Messages of the connector have no other fields than those in the document, and a misspelled field
/// of a request is an error. So each object says whether it may have others.
#[test]
fn each_object_says_whether_it_has_other_fields() {
    // Ankaios ignores unknown fields of manifests, and MQTT clients may set any user property.
    let is_open = |path: &str| {
        path.starts_with("/RequestProperties")
            || path.starts_with("/Manifest")
            || path.contains("/not")
    };
    fn visit(path: &str, schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                let is_object = fields.contains_key("properties") && fields.contains_key("type")
                    || fields.get("type").is_some_and(|kind| kind == "object");
                if is_object && !fields.contains_key("additionalProperties") {
                    found.push(path.to_owned());
                }
                for (name, field) in fields {
                    visit(&format!("{path}/{name}"), field, found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    visit(&format!("{path}/{index}"), item, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    visit("", &CONTRACT.document["components"]["schemas"], &mut found);
    found.retain(|path| !is_open(path));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_message_that_is_not_described_is_found() {
    for (channel, payload) in [
        ("stateReply", &br#"{"added_workloads": [], "deleted_workloads": []}"#[..]),
        ("manifestApplyReply", br#"{"added_workloads": [], "deleted_workloads": [], "x": 1}"#),
        ("manifestApplyReply", br#"{"error": {"code": "other", "message": ""}}"#),
        ("status", br#"{"status": "online", "version": "0.1.0", "since": "2026-11-25T10:00:00Z"}"#),
        ("status", br#"{"status": "offline", "version": "0.1.0", "since": "now"}"#),
        ("logs", br#"{"entries": []}"#),
        ("logs", b""),
        ("logs", b"{"),
    ] {
        let error = check(channel, payload).unwrap_err();
        assert!(error.contains(channel), "{error}");
    }
    check("eventsSubscription", b"").unwrap();
}

#[test]
fn a_message_on_an_unknown_topic_is_found_unless_a_test_has_published_it() {
    let topic = "vehicle/1/no/such/topic";
    let reason = violation(topic, b"{}", false).unwrap();
    assert!(reason.contains(topic), "{reason}");
    published(topic, b"{}");
    assert_eq!(violation(topic, b"{}", false), None);
    // Replies go to any topic, and have user properties.
    assert_eq!(violation(topic, br#"{"revision": 1}"#, true), None);
    assert!(violation(topic, br#"{"revision": -1}"#, true).is_some());
    // That of a known operation has the reply of this operation.
    assert!(violation("vehicle/1/state/resp", br#"{"revision": 1}"#, true).is_some());
}

/// Schemas are found by their names, so each one that is not used is a mistake.
#[test]
fn each_schema_is_used() {
    let parts = &CONTRACT.document["components"];
    for kind in ["schemas", "messages", "parameters", "messageTraits", "operationBindings"] {
        for name in parts[kind].as_object().unwrap().keys() {
            let reference = format!("'#/components/{kind}/{name}'");
            // These are the content of strings.
            let is_content = ["Statement", "TrustFile"].contains(&name.as_str());
            assert!(is_content || TEXT.contains(&reference), "{kind}/{name}");
        }
    }
}

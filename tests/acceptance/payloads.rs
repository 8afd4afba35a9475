//! What people send instead of a manifest or of JSON, and manifests that look odd and are valid.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Scene;

/// Checks that an error has a position, and returns its code, message, line and column.
fn error(reply: &Value) -> (&str, &str, u64, u64) {
    let error = &reply["error"];
    let number = |key: &str| {
        error["details"][key].as_u64().filter(|number| *number > 0).unwrap_or_else(|| {
            panic!("no {key}: {reply}");
        })
    };
    let (code, message) = (error["code"].as_str().unwrap(), error["message"].as_str().unwrap());
    (code, message, number("line"), number("column"))
}

#[tokio::test]
async fn what_is_no_manifest_is_named_with_line_and_column() {
    let scene = Scene::start().await;
    let requests = scene.vehicle.request_count();
    let workload = "apiVersion: v1\nworkloads:\n  door:\n    runtime: podman\n    agent: agent_A\n";
    let field = |field: &str| {
        format!("{workload}    runtimeConfig: 'image: x'\n    {field}\n").into_bytes()
    };
    for (payload, part, line, column) in [
        (&b"# nothing yet\n"[..], "the manifest is empty", 1, 1),
        (b"404: Not Found", "an error message of a web server", 1, 1),
        (b"<!DOCTYPE html>\n<html></html>", "a web page", 1, 1),
        (b"door.yaml", "the name of a file", 1, 1),
        (b"kind: Pod\napiVersion: v1\n", "a Kubernetes object (kind: Pod)", 1, 1),
        (b"services:\n  door:\n    image: x\n", "a file of Docker Compose", 1, 1),
        (b"desiredState:\n  apiVersion: v1\n", "a complete state", 1, 1),
        (b"[workloads.door]\nruntime = \"podman\"\n", "TOML, INI or", 1, 1),
        (b"#!/bin/sh\nank apply x\n", "a script", 1, 1),
        (b"\x1f\x8b\x08\x08", "a gzip file", 1, 1),
        (b"PK\x03\x04\x14", "a zip file", 1, 1),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "(PEM)", 1, 1),
        (b"\x01\x02\x03\x04", "a binary file", 1, 1),
        (b"\xff\xfeA\x41B\x42", "text in UTF-16", 1, 1),
        (b"apiVersion: v1\n# T\xfcr\n", "save it as UTF-8", 2, 4),
        (b"apiVersion: v1\nworkloads:\n\tdoor: {}\n", "a tab in the indentation", 3, 1),
        (b"{\"apiVersion\": \"v1\",\n \"workloads\": []}", "a map from names", 2, 15),
        (&field("tags: {a: {{b}}}"), "must be in quotes", 7, 15),
        (&field("dependencies: [lock]"), "{lock: ADD_COND_RUNNING}", 7, 19),
        (&field("agent: agent_B"), "the first is in line 5", 7, 5),
        (&field("restartPolicy: on-failure"), "here it is ON_FAILURE", 7, 20),
    ] {
        let shown = String::from_utf8_lossy(payload).into_owned();
        for operation in ["manifest/validate", "manifest/apply", "manifest/delete"] {
            let reply = scene.request(operation, payload).await;
            let (code, message, found_line, found_column) = error(&reply);
            let is_text = std::str::from_utf8(payload).is_ok_and(|text| !text.contains('\x04'));
            assert_eq!(code, if is_text { "invalid_manifest" } else { "invalid_payload" });
            assert!(message.contains(part), "{shown}: {message}");
            assert_eq!((found_line, found_column), (line, column), "{shown}: {message}");
        }
    }
    assert_eq!(scene.vehicle.request_count(), requests);
}

#[tokio::test]
async fn errors_in_json_have_a_position_and_no_unknown_field() {
    let state_dir = TempDir::new().unwrap();
    let scene = Scene::with(&[("STATE_DIR", state_dir.path().to_str().unwrap())]).await;
    for operation in [
        "state",
        "state/update",
        "workload/wait",
        "events/subscribe",
        "events/unsubscribe",
        "logs/subscribe",
        "logs/unsubscribe",
        "manifest/history",
        "manifest/rollback",
        "manifest/confirm",
    ] {
        for (payload, part, line, column) in [
            (&b"{bad"[..], "key must be a string", 1, 2),
            (b"\n{bad", "key must be a string", 2, 2),
            (b"{", "close each quote and bracket", 1, 1),
            (b"{'a': 1}", "double quotes", 1, 2),
            (b"{\"a\xff\": 1}", "not UTF-8", 1, 4),
            (b"\x1f\x8b\x08\x08", "a gzip file", 1, 1),
            (b"{\"unknown_\": 1}", "unknown field", 1, 11),
        ] {
            let reply = scene.request(operation, payload).await;
            let (code, message, found_line, found_column) = error(&reply);
            let shown = format!("{operation} {}: {message}", String::from_utf8_lossy(payload));
            assert_eq!(code, "invalid_payload", "{shown}");
            assert!(message.contains(part) && !message.contains("?:"), "{shown}");
            assert!(!message.starts_with(['?', '.', ':']), "{shown}");
            assert_eq!((found_line, found_column), (line, column), "{shown}");
        }
    }
    let payload = "{\"update_mask\": [\"desiredState.workloads.a\"], \"state\": {bad}}";
    let reply = scene.request("state/update", payload).await;
    let (_, message, _, _) = error(&reply);
    assert!(message.starts_with("key must be a string") || message.starts_with("state: key"));
    let payload = "{\"update_mask\": [\"desiredState.workloads.a\"], \"state\":\n {\"desiredState\": \
                   {\"workloads\": {\"a\": {\"agents\": \"x\"}}}}}";
    let reply = scene.request("state/update", payload).await;
    let (_, message, line, _) = error(&reply);
    assert!(message.contains("did you mean agent?"), "{message}");
    assert_eq!(line, 2);
}

/// Manifests as people have them.
const ODD: [(&str, &str); 7] = [
    (
        "an old format with fields that are no more",
        "apiVersion: v0.1\nkind: Workloads\nworkloads:\n  Lock_1:\n    runtime: podman\n    \
         agent: agent_A\n    restart: true\n    updateStrategy: AT_MOST_ONCE\n    accessRights: \
         {allow: [], deny: []}\n    tags:\n      - {key: team, value: body}\n    dependencies:\n    \
         runtimeConfig: |\n       image: lock:1\n    controlInterfaceAccess:\n        allowRules:\n\
         \u{20}         - type: StateRule\n            operation: Read\n            filterMask: ['*']\n",
    ),
    (
        "Windows line ends, a byte order mark and umlauts",
        "\u{feff}# Tür\r\napiVersion: v1\r\nworkloads:\r\n  tuer:\r\n    runtime: podman\r\n    agent: \
         agent_A\r\n    runtimeConfig: |\r\n      image: tuer\r\n      commandOptions: [\"-e\", \
         \"ORT=Köln\"]\r\n",
    ),
    (
        "documents inside of a document, with a template that indents",
        "apiVersion: v1\nworkloads:\n  pod:\n    runtime: podman-kube\n    agent: agent_A\n    configs: \
         {c: page}\n    runtimeConfig: |\n      manifest: |\n        kind: ConfigMap\n        data:\n\
         \u{20}         page: |\n            {{> indent content=c.page}}\n        ---\n        kind: Pod\n\
         configs:\n  page:\n    page: |\n      a {\n      \tb;\n      }\n",
    ),
    (
        "base64 in several lines, and as a template",
        "apiVersion: v1\nworkloads:\n  cam:\n    runtime: podman\n    agent: agent_A\n    configs: {b: b}\n\
         \u{20}   runtimeConfig: |\n      image: cam\n    files:\n      - mountPoint: /a\n        binaryData: |\n\
         \u{20}         AAEC\n          AwQF\n      - {mountPoint: '{{b.path}}', binaryData: '{{b.data}}'}\n\
         configs:\n  b: {path: /b, data: AAEC}\n",
    ),
    (
        "another runtime",
        "apiVersion: v1\nworkloads:\n  unit:\n    runtime: systemd\n    agent: agent_A\n    \
         runtimeConfig: 'unit: door.service'\n",
    ),
    (
        "anchors",
        "apiVersion: v1\nx-defaults: &config |\n  image: door\nworkloads:\n  a: &a\n    runtime: podman\n\
         \u{20}   agent: agent_A\n    runtimeConfig: *config\n  b: *a\n",
    ),
    (
        "numbers and booleans as texts, and an empty document at the end",
        "---\napiVersion: v1\nworkloads:\n  '1':\n    runtime: podman\n    agent: agent_A\n    tags: \
         {version: 1.10, nightly: yes, country: NO, mode: 0644}\n    runtimeConfig: 'image: x'\n---\n",
    ),
];

#[tokio::test]
async fn odd_manifests_are_accepted() {
    let scene = Scene::start().await;
    for (name, manifest) in ODD {
        let reply = scene.request("manifest/validate", manifest).await;
        assert_eq!(reply["valid"], json!(true), "{name}: {reply}");
        let reply = scene.request("manifest/apply", manifest).await;
        assert!(reply["added_workloads"].is_array(), "{name}: {reply}");
    }
    let long: String = (0..2000).map(|index| format!(", \"--env=NAME_{index}=value\"")).collect();
    let manifest = format!(
        "apiVersion: v1\nworkloads:\n  long:\n    runtime: podman\n    agent: agent_A\n    \
         runtimeConfig: |\n      image: x\n      commandOptions: [\"-d\"{long}]\n"
    );
    let reply = scene.request("manifest/apply", &manifest).await;
    assert!(reply["added_workloads"].is_array(), "{reply}");
    let state = scene.request("state", r#"["desiredState.workloads"]"#).await;
    let workloads = &state["desired_state"]["workloads"];
    let config = workloads["tuer"]["runtimeConfig"].as_str().unwrap();
    assert!(config.contains("ORT=Köln") && !config.contains('\r'), "{config}");
    let tags = json!({"version": "1.10", "nightly": "yes", "country": "NO", "mode": "0644"});
    assert_eq!(workloads["1"]["tags"], tags);
    assert_eq!(workloads["Lock_1"]["tags"], json!({"team": "body"}));
    assert_eq!(workloads["b"], workloads["a"]);
}

#[tokio::test]
async fn validation_warns_of_what_ankaios_ignores() {
    let scene = Scene::start().await;
    let manifest = "apiVersion: v1\nworkloads:\n  door:\n    runtime: podman\n    agent: agent_A\n    \
                    restart_policy: ALWAYS\n    runtimeConfig: |\n      image: x\n      \
                    commandoptions: []\n";
    let reply = scene.request("manifest/validate", manifest).await;
    let warnings = json!([
        {
            "message": "workloads.door.restart_policy: Ankaios ignores this field; did you mean \
                        restartPolicy?",
            "line": 6,
            "column": 5,
        },
        {
            "message": "workloads.door.runtimeConfig: the runtime ignores the field \
                        commandoptions; did you mean commandOptions?",
            "line": 9,
            "column": 7,
        },
    ]);
    assert_eq!(reply["valid"], json!(true));
    assert_eq!(reply["warnings"], warnings, "{reply}");
    let good = manifest.replace("restart_policy", "restartPolicy").replace("doptions", "dOptions");
    let reply = scene.request("manifest/validate", &good).await;
    assert_eq!(
        reply,
        json!({
            "valid": true,
            "workloads": ["door"],
            "configs": [],
            "update_mask": ["desiredState.workloads.door"],
        })
    );
}

//! What somebody who holds the broker may try. Nothing of it reaches Ankaios, the reply says why,
//! and the log names the keys.

use fleet_trust::testing::Hash;
use fleet_trust::{Bundle, KeyId, sha256};
use serde_json::json;

use super::*;
use crate::support::{DEADLINE, eventually};

/// A request that must be refused.
struct Attack {
    name: &'static str,
    operation: &'static str,
    request: Vec<u8>,
    reason: &'static str,
    /// The keys that the log must name.
    keys: Vec<KeyId>,
}

/// The attacks so far.
#[derive(Default)]
struct Attacks(Vec<Attack>);

impl Attacks {
    fn add(
        &mut self,
        name: &'static str,
        operation: &'static str,
        request: impl Into<Vec<u8>>,
        reason: &'static str,
        keys: &[&Signer],
    ) {
        let keys = keys.iter().map(|key| key.id()).collect();
        self.0.push(Attack { name, operation, request: request.into(), reason, keys });
    }

    /// Makes each of them. What is there before stays, and so does the number of updates.
    async fn make(self, scene: &Scene) {
        let mut operator = Operator::connect(scene).await;
        let (before, updates_before) = (scene.vehicle.desired_state(), updates(scene));
        for (index, attack) in self.0.into_iter().enumerate() {
            let Attack { name, operation, request, reason, keys } = attack;
            let id = format!("{reason}-{index}-");
            let reply = operator.request(operation, &id, request).await;
            assert_eq!(refusal(&reply), untrusted(reason), "{name}: {reply}");
            assert_eq!(scene.vehicle.desired_state(), before, "{name}");
            assert_eq!(updates(scene), updates_before, "{name}");
            let refused = || {
                let is_it = |line: &String| {
                    line.contains("an untrusted request is refused") && line.contains(&id)
                };
                scene.connector.output().into_iter().filter(is_it).collect::<Vec<_>>()
            };
            // The reply may be faster than the log.
            eventually("it is in the log", DEADLINE, async || refused().first().map(drop)).await;
            let lines = refused();
            let [line] = &lines[..] else { panic!("{name}: {lines:?}") };
            for part in [operation, reason] {
                assert!(line.contains(part), "{name}: {line}");
            }
            assert_eq!(line.matches("SHA256:").count() > 0, !keys.is_empty(), "{name}: {line}");
            for key in keys {
                assert!(line.contains(key.as_str()), "{name}: {key} is missing: {line}");
            }
        }
    }
}

const APPLY: &str = "manifest/apply";

/// The manifest that an attacker wants to have applied.
fn evil() -> String {
    config("door", "open")
}

/// The statement for it, as two people could have signed it.
fn good() -> Statement {
    statement(APPLY, 100)
}

/// A vehicle that has accepted a change with the serial 10, and that change.
async fn scene_with_a_change(trusting: &Trusting) -> (Scene, Vec<u8>) {
    let scene = trusting.start_with(&[("MAX_PAYLOAD_SIZE", "4MiB")]).await;
    let change = trusting.sign(&statement(APPLY, 10), &config("door", "closed"));
    let reply = scene.request(APPLY, &change).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    (scene, change)
}

/// The parts of a bundle with changed fields.
fn edited(bundle: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut fields: Value = serde_json::from_slice(bundle).unwrap();
    edit(&mut fields);
    serde_json::to_vec(&fields).unwrap()
}

/// A bundle whose statement is this text, signed by both release keys.
fn signed_text(trusting: &Trusting, statement: impl Into<Vec<u8>>) -> Vec<u8> {
    let statement = statement.into();
    let signatures = trusting.release.each_ref().map(|key| key.sign(&statement)).into();
    Bundle { statement, payload: evil().into(), signatures }.to_json()
}

/// The text of the statement for [`evil`].
fn good_text() -> String {
    let statement = Statement { payload_sha256: sha256(evil().as_bytes()), ..good() };
    String::from_utf8(statement.to_bytes()).unwrap()
}

#[tokio::test]
async fn keys_and_thresholds() {
    let trusting = Trusting::new();
    let (scene, _) = scene_with_a_change(&trusting).await;
    let ([alice, bob], [carol, dave]) = (trusting.root.each_ref(), trusting.release.each_ref());
    let mallory = Signer::ed25519(66);
    let mut attacks = Attacks::default();
    let update = json!({"update_mask": ["desiredState.configs.door"],
                        "state": {"desiredState": {"configs": {"door": "open"}}}});
    for (operation, payload) in [
        (APPLY, evil()),
        ("manifest/delete", evil()),
        ("manifest/rollback", String::new()),
        ("manifest/rollback", "{}".into()),
        ("state/update", update.to_string()),
    ] {
        attacks.add("without a signature", operation, payload, "unsigned", &[]);
    }
    let signed = |keys: &[&Signer]| bundle(&good(), evil().as_bytes(), keys);
    attacks.add("no key", APPLY, signed(&[]), "threshold", &[]);
    attacks.add("one key", APPLY, signed(&[carol]), "threshold", &[carol]);
    attacks.add("one key twice", APPLY, signed(&[carol, carol]), "threshold", &[carol]);
    let mut other_hash = Signer::ed25519(3);
    other_hash.hash = Hash::Sha256;
    assert_eq!(other_hash.id(), carol.id());
    let both = signed(&[carol, &other_hash]);
    attacks.add("one key with two hash algorithms", APPLY, both, "threshold", &[carol]);
    let nonces = signed(&[dave, dave]);
    attacks.add("one ECDSA key with two nonces", APPLY, nonces, "threshold", &[dave]);
    let in_hardware = Signer::ed25519(3).in_authenticator("ssh:", 1);
    let both = signed(&[carol, &in_hardware]);
    attacks.add("one key as another kind", APPLY, both, "unknown_key", &[&in_hardware]);
    attacks.add("keys of root", APPLY, signed(&[alice, bob]), "unknown_key", &[alice]);
    attacks.add("a key of root", APPLY, signed(&[carol, bob]), "unknown_key", &[bob]);
    attacks.add("an unknown key", APPLY, signed(&[carol, &mallory]), "unknown_key", &[&mallory]);
    let and_unknown = signed(&[carol, dave, &mallory]);
    attacks.add("an unknown key too many", APPLY, and_unknown, "unknown_key", &[&mallory]);
    for namespace in ["file", "fleet-connector/v10", "", "Fleet-connector/v1"] {
        let mut wrong = Signer::ed25519(3);
        wrong.namespace = namespace.into();
        let request = signed(&[&wrong, dave]);
        attacks.add("another namespace", APPLY, request, "malformed", &[carol]);
    }
    attacks.make(&scene).await;
}

#[tokio::test]
async fn statements_for_something_else() {
    let trusting = Trusting::new();
    let (scene, change) = scene_with_a_change(&trusting).await;
    let [carol, dave] = trusting.release.each_ref();
    let keys = [carol, dave];
    let mut attacks = Attacks::default();
    let mut add = |name, statement: Statement, reason| {
        attacks.add(name, APPLY, trusting.sign(&statement, &evil()), reason, &keys);
    };
    let vehicles = |vins: &[&str]| Vehicles::Vins(vins.iter().map(|&vin| vin.into()).collect());
    add("another vehicle", Statement { vehicles: vehicles(&["2"]), ..good() }, "wrong_vehicle");
    let similar = vehicles(&["11", "1 ", "", "vehicle/1"]);
    add("similar vehicles", Statement { vehicles: similar, ..good() }, "wrong_vehicle");
    add("no vehicle", Statement { vehicles: vehicles(&[]), ..good() }, "malformed");
    let all = Statement { fleet: "prod-us".into(), vehicles: Vehicles::All, ..good() };
    add("all of another fleet", all, "wrong_fleet");
    add("another fleet", Statement { fleet: "PROD-EU".into(), ..good() }, "wrong_fleet");
    for operation in ["manifest/delete", "manifest/validate", "trust/update", "", "Manifest/apply"]
    {
        add(
            "another operation",
            Statement { operation: operation.into(), ..good() },
            "wrong_operation",
        );
    }
    let (past, future) = (now() - 7200, now() + 7200);
    let expired = Statement { not_before: past, expires: now() - 1, ..good() };
    add("expired", expired, "expired");
    let early = Statement { not_before: future, expires: future + 60, ..good() };
    add("not yet valid", early, "not_yet_valid");
    let long = Statement { expires: good().not_before + 30 * 24 * 3600 + 1, ..good() };
    add("valid for longer than 30 days", long, "malformed");
    let never = Statement { expires: good().not_before, ..good() };
    add("expires when it becomes valid", never, "malformed");
    for serial in [0, 9] {
        add("an older serial", Statement { serial, ..good() }, "replayed");
    }
    add("another request with the same serial", Statement { serial: 10, ..good() }, "replayed");
    add("a serial that is too large", Statement { serial: u64::MAX, ..good() }, "malformed");

    let signed = trusting.sign(&good(), &evil());
    for operation in ["manifest/delete", "manifest/rollback", "state/update"] {
        attacks.add("to another topic", operation, &*signed, "wrong_operation", &keys);
        attacks.add("an old one to another topic", operation, &*change, "wrong_operation", &keys);
    }
    // The payload of one request with the statement of another one.
    let mixed = |field: &str, from: &[u8], to: &[u8]| {
        let from: Value = serde_json::from_slice(from).unwrap();
        edited(to, |fields| fields[field] = from[field].clone())
    };
    let payload = mixed("payload", &signed, &change);
    attacks.add("a mixed payload", APPLY, payload, "digest", &keys);
    let empty = edited(&signed, |fields| fields["payload"] = json!(""));
    attacks.add("without its payload", APPLY, empty, "digest", &keys);
    let of_change = mixed("statement", &change, &signed);
    attacks.add("a mixed statement", APPLY, of_change, "malformed", &[carol]);
    let signatures = mixed("signatures", &change, &signed);
    attacks.add("the signatures of another statement", APPLY, signatures, "malformed", &[carol]);
    let other: Value = serde_json::from_slice(&change).unwrap();
    let one = edited(&signed, |fields| fields["signatures"][1] = other["signatures"][1].clone());
    attacks.add("one signature of another statement", APPLY, one, "malformed", &[dave]);
    attacks.make(&scene).await;
    // The change itself is still a redelivery.
    let reply = scene.request(APPLY, change).await;
    assert_eq!(reply["revision"], 1, "{reply}");
}

#[tokio::test]
async fn bundles_and_statements_of_another_form() {
    let trusting = Trusting::new();
    let (scene, _) = scene_with_a_change(&trusting).await;
    let keys = trusting.release.each_ref();
    let signed = trusting.sign(&good(), &evil());
    let text = String::from_utf8(signed.clone()).unwrap();
    let mut attacks = Attacks::default();
    let mut add = |name, request: Vec<u8>| attacks.add(name, APPLY, request, "malformed", &[]);

    let repeated = |field: &str| {
        let fields: Value = serde_json::from_slice(&signed).unwrap();
        text.replacen('{', &format!("{{{field:?}:{},", fields[field]), 1)
    };
    for field in ["payloadType", "statement", "payload", "signatures"] {
        add("a field twice", repeated(field).into());
        add(
            "without a field",
            edited(&signed, |fields| {
                if field != "payloadType" {
                    fields.as_object_mut().unwrap().remove(field);
                } else {
                    fields[field] = json!("application/vnd.fleet-connector.bundle.v2+json");
                }
            }),
        );
        add("a field of another type", edited(&signed, |fields| fields[field] = json!({"a": 1})));
        add("null as a field", edited(&signed, |fields| fields[field] = Value::Null));
    }
    add("an unknown field", edited(&signed, |fields| fields["force"] = json!(true)));
    add("something behind it", format!("{text}{text}").into());
    add("half of it", text[..text.len() / 2].into());
    add("an empty signature", edited(&signed, |fields| fields["signatures"] = json!([""])));
    add(
        "signatures as a text",
        edited(&signed, |fields| {
            fields["signatures"] = fields["signatures"][0].clone();
        }),
    );
    let only_armour = "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n";
    add("only armour", edited(&signed, |fields| fields["signatures"][1] = json!(only_armour)));
    for count in [9, 1000] {
        add(
            "too many signatures",
            edited(&signed, |fields| {
                fields["signatures"] = vec![fields["signatures"][0].clone(); count].into();
            }),
        );
    }
    add(
        "a signature over a megabyte",
        edited(&signed, |fields| {
            fields["signatures"][0] = "A".repeat(1 << 20).into();
        }),
    );
    add("no Base64", edited(&signed, |fields| fields["payload"] = json!("%%%")));
    add(
        "Base64 with line breaks",
        edited(&signed, |fields| {
            let payload = fields["payload"].as_str().unwrap().to_owned();
            fields["payload"] = (payload[..4].to_owned() + "\n" + &payload[4..]).into();
        }),
    );
    let nested = format!(r#"{{"payloadType": {}"#, "[".repeat(100_000));
    add("nested lists", nested.into());
    let nested = format!(r#"{{"payloadType": "", "signatures": {}"#, r#"{"a":"#.repeat(100_000));
    add("nested objects", nested.into());
    let mut not_utf8 = signed.clone();
    let position = text.find("vnd").unwrap();
    not_utf8[position] = 0xff;
    add("bytes that are not UTF-8", not_utf8);
    add("a statement over a megabyte", signed_text(&trusting, " ".repeat(1 << 20) + &good_text()));

    // What both have signed.
    let mut add = |name, statement: Vec<u8>| {
        let request = signed_text(&trusting, statement);
        attacks.add(name, APPLY, request, "malformed", &keys);
    };
    let text = good_text();
    let with = |field: &str| text.replacen('{', &format!("{{{field},"), 1).into_bytes();
    add("an unknown field in the statement", with(r#""exec": "sh""#));
    for field in [
        r#""operation": "manifest/delete""#,
        r#""fleet": "prod-eu""#,
        r#""vehicles": "*""#,
        r#""serial": 1"#,
        r#""expires": "2099-01-01T00:00:00Z""#,
        r#""force": true"#,
        r#""payload_sha256": """#,
    ] {
        add("a field of the statement twice", with(field));
    }
    add("an empty statement", Vec::new());
    add("a statement that is no object", b"[]".to_vec());
    add("a statement that is not UTF-8", b"\xff".to_vec());
    add("half a statement", text[..text.len() / 2].into());
    add("nested lists in a statement", with(&format!(r#""a": {}"#, "[".repeat(20_000))));
    add("another type", text.replace("statement/v1", "statement/v2").into());
    add("a list as a serial", text.replace("\"serial\":100", "\"serial\":[100]").into());
    add("a negative serial", text.replace("\"serial\":100", "\"serial\":-1").into());
    add("all vehicles in a list", text.replace(r#"["1"]"#, r#"["*"]"#).into());
    attacks.make(&scene).await;

    // The key that says that it is a bundle in other words: it is not one, and so not signed.
    let mut attacks = Attacks::default();
    let text = String::from_utf8(signed).unwrap();
    for name in ["payloadtype", "PayloadType", "payloadType ", "payload_type"] {
        let request = text.replacen("payloadType", name, 1);
        attacks.add("another name", APPLY, request, "unsigned", &[]);
    }
    attacks.add("nothing", APPLY, "", "unsigned", &[]);
    attacks.add("in a list", APPLY, format!("[{text}]"), "unsigned", &[]);
    let with_yaml = format!("{}# {text}\n", evil());
    attacks.add("as a comment of a manifest", APPLY, with_yaml, "unsigned", &[]);
    attacks.make(&scene).await;
    // The same bundle is accepted: it was not the reason.
    let reply = scene.request(APPLY, text).await;
    assert_eq!(reply["revision"], 2, "{reply}");
}

#[tokio::test]
async fn a_bundle_in_a_bundle_is_no_manifest() {
    let trusting = Trusting::new();
    let (scene, _) = scene_with_a_change(&trusting).await;
    let before = updates(&scene);
    let inner = trusting.sign(&good(), &evil());
    let outer = trusting.sign(&statement(APPLY, 101), &String::from_utf8(inner).unwrap());
    let reply = scene.request(APPLY, outer).await;
    assert!(reply["error"]["code"].is_string(), "{reply}");
    assert_eq!(updates(&scene), before);
    assert!(value_of(&scene, "door").unwrap().contains("closed"));
}

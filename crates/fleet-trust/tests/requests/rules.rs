//! Each rule, with the attack that it is for.

use crate::common::{NOW, PAYLOAD, bundle_of, open, parse, purpose, refused, statement, trust};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use fleet_trust::testing::{self, Hash, Signer, bundle};
use fleet_trust::{Purpose, Reason, Serials, Statement, Vehicles, is_bundle, sha256};

#[test]
fn what_enough_keys_have_signed_is_opened() {
    let (alice, bob) = (Signer::ed25519(1), Signer::ecdsa_p256());
    let trust = trust(2, &[&Signer::ed25519(9)], &[&alice, &bob, &Signer::ed25519(3)]);
    let statement = Statement { force: true, release: Some("7".into()), ..statement() };
    let bytes = bundle(&statement, PAYLOAD, &[&alice, &bob]);
    assert!(is_bundle(&bytes));
    let opened = open(&bytes, &trust).unwrap();
    assert_eq!(opened.statement, statement);
    assert_eq!(opened.payload, PAYLOAD);
    assert_eq!(opened.digest, sha256(&statement.to_bytes()));
    let mut signed_by = [alice.id(), bob.id()];
    signed_by.sort();
    assert_eq!(opened.signed_by, signed_by);
    // Also for all vehicles, and in another order.
    let all = Statement { vehicles: Vehicles::All, ..statement };
    open(&bundle(&all, PAYLOAD, &[&bob, &alice]), &trust).unwrap();
    open(&bundle(&all, b"", &[&bob, &alice]), &trust).unwrap();
}

#[test]
fn all_kinds_of_keys_can_sign_with_both_hashes() {
    let mut signers = vec![
        Signer::ed25519(1),
        Signer::ecdsa_p256(),
        Signer::ed25519(2).in_authenticator("ssh:", 1),
        // User verification and backup, in addition to presence.
        Signer::ecdsa_p256().in_authenticator("ssh:fleet", 0x1d),
    ];
    for hash in [Hash::Sha256, Hash::Sha512] {
        for signer in &mut signers {
            signer.hash = hash;
            let trust = trust(1, &[signer], &[signer]);
            open(&bundle(&statement(), PAYLOAD, &[signer]), &trust).unwrap();
        }
        let all: Vec<_> = signers.iter().collect();
        open(&bundle(&statement(), PAYLOAD, &all), &trust(4, &all, &all)).unwrap();
    }
}

#[test]
fn threshold_not_reached() {
    let (alice, bob) = (Signer::ed25519(1), Signer::ed25519(2));
    let trust = trust(2, &[&alice, &bob], &[&alice, &bob]);
    let refusal =
        refused(Reason::Threshold, open(&bundle(&statement(), PAYLOAD, &[&alice]), &trust));
    assert_eq!(refusal.keys, [alice.id()]);
    assert_eq!(refusal.message, "1 key has signed, and the role release needs 2");
    let refusal = refused(Reason::Threshold, open(&bundle(&statement(), PAYLOAD, &[]), &trust));
    assert_eq!(refusal.message, "the bundle has no signatures");
}

#[test]
fn one_key_counted_twice() {
    let (alice, bob) = (Signer::ed25519(1), Signer::ecdsa_p256());
    let trust = trust(2, &[&alice, &bob], &[&alice, &bob]);
    for signer in [&alice, &bob] {
        // The signatures of ECDSA are different.
        let twice = bundle(&statement(), PAYLOAD, &[signer, signer]);
        let refusal = refused(Reason::Threshold, open(&twice, &trust));
        assert_eq!(refusal.keys, [signer.id()]);
    }
    let mut other_hash = Signer::ed25519(1);
    other_hash.hash = Hash::Sha256;
    let twice = bundle(&statement(), PAYLOAD, &[&alice, &other_hash]);
    refused(Reason::Threshold, open(&twice, &trust));
}

#[test]
fn key_of_another_role() {
    let (root, release) = (Signer::ed25519(1), Signer::ed25519(2));
    let trust = trust(1, &[&root], &[&release]);
    let refusal =
        refused(Reason::UnknownKey, open(&bundle(&statement(), PAYLOAD, &[&root]), &trust));
    assert_eq!(refusal.keys, [root.id()]);
    let expected =
        format!("signature 1 is by {}, which is not a key of the role release", root.id());
    assert!(refusal.message.starts_with(&expected), "{refusal}");
    // Also beside one that is enough.
    let both = bundle(&statement(), PAYLOAD, &[&release, &root]);
    refused(Reason::UnknownKey, open(&both, &trust));
}

#[test]
fn statement_over_a_megabyte() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    for (size, is_accepted) in [(64 << 10, true), ((64 << 10) + 1, false), (2 << 20, false)] {
        // Signed or not, it is not looked at.
        let mut bytes = statement().to_bytes();
        bytes.resize(size, b' ');
        let result = open(&bundle_of(&bytes, PAYLOAD, &[&alice]), &trust);
        match is_accepted {
            true => drop(result.unwrap()),
            false => {
                let refusal = refused(Reason::Malformed, result);
                assert_eq!(refusal.message, "the statement has more than 64 KiB");
            }
        }
    }
}

#[test]
fn unknown_fields_and_duplicate_keys() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let signed = |text: &str| open(&bundle_of(text.as_bytes(), PAYLOAD, &[&alice]), &trust);
    let text = String::from_utf8(statement().to_bytes()).unwrap();
    signed(&text).unwrap();
    for field in ["\"extra\":1", "\"serial\":1", "\"s\\u0065rial\":1", "\"type\":\"x\""] {
        let refusal =
            refused(Reason::Malformed, signed(&text.replacen('{', &format!("{{{field},"), 1)));
        assert_eq!(refusal.keys, [alice.id()], "{field}");
    }

    let json = String::from_utf8(bundle(&statement(), PAYLOAD, &[&alice])).unwrap();
    open(json.as_bytes(), &trust).unwrap();
    open(format!("\u{feff} {json}\n").as_bytes(), &trust).unwrap();
    let empty = STANDARD.encode("");
    for field in [
        "\"extra\":1".to_owned(),
        "\"payloadType\":\"x\"".to_owned(),
        format!("\"payload\":\"{empty}\""),
        format!("\"statement\":\"{empty}\""),
        "\"signatures\":[]".to_owned(),
        "\"\\u0073ignatures\":[]".to_owned(),
    ] {
        for wrong in [
            json.replacen('{', &format!("{{{field},"), 1),
            json.trim_end_matches('}').to_owned() + "," + &field + "}",
        ] {
            assert!(is_bundle(wrong.as_bytes()));
            refused(Reason::Malformed, open(wrong.as_bytes(), &trust));
        }
    }
}

#[test]
fn a_bundle_has_exactly_one_form() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let json = String::from_utf8(bundle(&statement(), PAYLOAD, &[&alice])).unwrap();
    let payload = STANDARD.encode(PAYLOAD);
    assert!(payload.ends_with('='));
    for (from, to) in [
        ("v1+json", "v2+json"),
        ("\"payloadType\"", "\"payloadtype\""),
        (&payload, STANDARD_NO_PAD.encode(PAYLOAD).as_str()),
        (&payload, &format!("{payload}=")),
        (&payload, &format!("{payload}\\n")),
        (&payload, &format!("{}\\n{}", &payload[..8], &payload[8..])),
        (&payload, URL_SAFE.encode(b"\xff\xff\xff").as_str()),
        // The last bits, which Base64 does not use.
        (&payload, &payload.replace("g==", "h==")),
        (&format!("\"{payload}\""), "null"),
        (&format!("\"{payload}\""), "1"),
        ("\"signatures\":[", "\"signatures\":[null,"),
        ("\"signatures\":[", "\"signatures\":[[],"),
        ("}", ""),
        ("}", "} x"),
        ("}", "}}"),
    ] {
        let wrong = json.replacen(from, to, 1);
        assert_ne!(wrong, json, "{from}");
        refused(Reason::Malformed, open(wrong.as_bytes(), &trust));
    }
    for wrong in ["", "null", "[]", "{}", "\"payloadType\"", "{\"payloadType\": \u{7f}}"] {
        refused(Reason::Malformed, open(wrong.as_bytes(), &trust));
    }
    // The values in their order, without their names.
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names = ["payloadType", "statement", "payload", "signatures"];
    let array = serde_json::to_vec(&names.map(|name| &object[name])).unwrap();
    let refusal = refused(Reason::Malformed, open(&array, &trust));
    assert_eq!(refusal.message, "the bundle is not a JSON object");
    refused(Reason::Malformed, open(b"{\"payloadType\": \"\xff\"}", &trust));
}

#[test]
fn nothing_of_a_statement_is_parsed_before_its_signatures_are_verified() {
    let (alice, mallory) = (Signer::ed25519(1), Signer::ed25519(2));
    let trust = trust(1, &[&alice], &[&alice]);
    refused(Reason::UnknownKey, open(&bundle_of(b"nonsense", PAYLOAD, &[&mallory]), &trust));
    let refusal =
        refused(Reason::Malformed, open(&bundle_of(b"nonsense", PAYLOAD, &[&alice]), &trust));
    assert_eq!(refusal.message, "the statement is not a JSON object");
    assert_eq!(refusal.keys, [alice.id()]);
}

#[test]
fn other_operation_other_fleet_other_vehicle() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let check = |statement: &Statement| open(&bundle(statement, PAYLOAD, &[&alice]), &trust);
    for operation in ["manifest/delete", "manifest/apply ", "", "trust/update"] {
        let other = Statement { operation: operation.into(), ..statement() };
        let refusal = refused(Reason::WrongOperation, check(&other));
        assert_eq!(refusal.keys, [alice.id()]);
    }
    for fleet in ["prod-us", "", "prod-eu "] {
        let other = Statement { fleet: fleet.into(), vehicles: Vehicles::All, ..statement() };
        refused(Reason::WrongFleet, check(&other));
    }
    for vin in ["WDB0413", "WDB041", "WDB04120", "wdb0412", "WDB0*", ""] {
        let other = Statement { vehicles: Vehicles::Vins(vec![vin.into()]), ..statement() };
        refused(Reason::WrongVehicle, check(&other));
    }
    // The first rule that is broken counts.
    let all_wrong = Statement {
        operation: "x".into(),
        fleet: "x".into(),
        vehicles: Vehicles::Vins(vec!["x".into()]),
        not_before: 0,
        expires: 1,
        ..statement()
    };
    refused(Reason::WrongOperation, check(&all_wrong));
}

#[test]
fn expired_not_yet_valid_and_a_clock_that_is_set_back() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let bytes = bundle(&statement(), PAYLOAD, &[&alice]);
    let at = |now: i64, clock_is_plausible: bool| {
        fleet_trust::open(&bytes, &trust, &Purpose { now, clock_is_plausible, ..purpose() })
    };
    let Statement { not_before, expires, .. } = statement();
    at(not_before, true).unwrap();
    at(expires - 1, true).unwrap();
    for now in [not_before - 1, 0, i64::MIN] {
        let refusal = refused(Reason::NotYetValid, at(now, true));
        assert!(refusal.message.contains("valid from 2026-11-25T"), "{refusal}");
    }
    for now in [expires, i64::MAX] {
        let refusal = refused(Reason::Expired, at(now, true));
        assert!(refusal.message.contains("sign a new one"), "{refusal}");
    }
    for now in [0, NOW, i64::MAX] {
        let refusal = refused(Reason::NotYetValid, at(now, false));
        assert!(refusal.message.contains("does not know the time"), "{refusal}");
    }
}

#[test]
fn mixed_payload() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let mixed = |payload: &[u8]| bundle_of(&statement().to_bytes(), payload, &[&alice]);
    open(&mixed(PAYLOAD), &trust).unwrap();
    for payload in [&b""[..], b"apiVersion: v1\nconfigs: {a: c}\n", &PAYLOAD[1..]] {
        let refusal = refused(Reason::Digest, open(&mixed(payload), &trust));
        assert_eq!(refusal.keys, [alice.id()]);
    }
}

#[test]
fn replay_and_old_serial() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let sign = |serial| bundle(&Statement { serial, ..statement() }, PAYLOAD, &[&alice]);
    let mut serials = Serials::new(trust.min_serial());
    let mut execute = |bytes: &[u8]| {
        let opened = open(bytes, &trust).unwrap();
        serials.accept(&["configs.a"], opened.statement.serial, opened.digest)
    };
    let (old, new) = (sign(5), sign(6));
    execute(&old).unwrap();
    execute(&old).unwrap();
    execute(&new).unwrap();
    refused(Reason::Replayed, execute(&old));
    execute(&new).unwrap();
    // Another request with the same serial.
    let statement = Statement { serial: 6, force: true, ..statement() };
    refused(Reason::Replayed, execute(&bundle(&statement, PAYLOAD, &[&alice])));
}

/// A lost store does not open the door for everything: `min_serial` is left.
#[test]
fn store_deleted() {
    let alice = Signer::ed25519(1);
    let text = testing::trust_file(1, &[&alice], &[&alice]);
    let trust = parse(&text.replace("min_serial: 0", "min_serial: 6"));
    let serials = Serials::new(trust.min_serial());
    refused(Reason::Replayed, serials.check(&["configs.a"], 5, [0; 32]));
    serials.check(&["configs.a"], 6, [0; 32]).unwrap();
}

//! Each rule, with the attack that it is for.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use common::{NOW, OPERATIONS, PAYLOAD, open, parse, purpose, refused, statement, trust};
use fleet_trust::testing::{self, Hash, Signer, armour, bundle};
use fleet_trust::{
    Bundle, Purpose, Reason, Role, Serials, Statement, TRUST_UPDATE, TrustFile, Vehicles,
    is_bundle, sha256,
};

/// A bundle whose statement is not that of [`Statement::to_bytes`].
fn bundle_of(statement: &[u8], payload: &[u8], signers: &[&Signer]) -> Vec<u8> {
    let signatures = signers.iter().map(|signer| signer.sign(statement)).collect();
    Bundle { statement: statement.into(), payload: payload.into(), signatures }.to_json()
}

fn with_signatures(signatures: Vec<String>) -> Vec<u8> {
    Bundle { statement: statement().to_bytes(), payload: PAYLOAD.into(), signatures }.to_json()
}

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

    let next = testing::trust_file(1, &[&release], &[&release]).replace("version: 1", "version: 2");
    let bytes = update(&next, &[&release]);
    let refusal = refused(Reason::UnknownKey, apply(&bytes, &trust));
    assert!(refusal.message.contains("role root"), "{refusal}");
}

#[test]
fn a_wrong_signature_is_never_treated_as_none() {
    let (alice, bob) = (Signer::ed25519(1), Signer::ed25519(2));
    let trust = trust(1, &[&alice, &bob], &[&alice, &bob]);
    let good = alice.sign(&statement().to_bytes());
    open(&with_signatures(vec![good.clone()]), &trust).unwrap();
    for wrong in [
        String::new(),
        " ".into(),
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n".into(),
        "-----BEGIN SSH SIGNATURE----------END SSH SIGNATURE-----".into(),
        good.replace("SSH SIGNATURE", "SIGNATURE"),
        good.replace("END SSH", "END  SSH"),
        format!("-----BEGIN X-----\n-----END X-----\n{good}"),
        format!("{good}{good}"),
        armour(b""),
        armour(b"SSHSIG"),
        // Of another statement.
        bob.sign(b"{}"),
    ] {
        for signatures in [vec![wrong.clone()], vec![good.clone(), wrong.clone()]] {
            refused(Reason::Malformed, open(&with_signatures(signatures), &trust));
        }
    }
    let refusal =
        refused(Reason::Malformed, open(&with_signatures(vec![good, bob.sign(b"{}")]), &trust));
    assert_eq!(refusal.keys, [bob.id()]);
    assert!(refusal.message.starts_with("signature 2, by SHA256:"), "{refusal}");
}

/// In particular no bits of the parts are without meaning, and no lengths that are too large.
#[test]
fn each_bit_of_a_signature_counts() {
    let signers = [
        Signer::ed25519(1),
        Signer::ecdsa_p256(),
        Signer::ed25519(2).in_authenticator("ssh:", 1),
        Signer::ecdsa_p256().in_authenticator("ssh:", 1),
    ];
    for signer in &signers {
        let trust = trust(1, &[signer], &[signer]);
        let blob = signer.sign_blob(&statement().to_bytes());
        let check = |blob: &[u8]| open(&with_signatures(vec![armour(blob)]), &trust);
        check(&blob).unwrap();
        for bit in 0..8 * blob.len() {
            let mut changed = blob.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refusal = check(&changed).err().unwrap_or_else(|| panic!("bit {bit} of {blob:x?}"));
            assert!(matches!(refusal.reason, Reason::Malformed | Reason::UnknownKey), "{refusal}");
        }
        for position in 0..=blob.len() {
            let mut longer = blob.clone();
            longer.insert(position, 0);
            assert!(check(&longer).is_err(), "byte at {position} of {blob:x?}");
            assert!(position == blob.len() || check(&blob[..position]).is_err());
        }
    }
}

/// What the key does not sign must not carry anything: nobody could tell who has added it.
#[test]
fn what_is_not_signed_must_be_as_openssh_writes_it() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let blob = alice.sign_blob(&statement().to_bytes());
    let check = |blob: Vec<u8>| open(&with_signatures(vec![armour(&blob)]), &trust);
    check(blob.clone()).unwrap();

    // Between the namespace and the hash algorithm is the reserved part.
    let hash = blob.windows(6).position(|window| window == b"sha512").unwrap() - 4;
    let reserved = [&blob[..hash - 4], &[0, 0, 0, 1, 7], &blob[hash..]].concat();
    let refusal = refused(Reason::Malformed, check(reserved));
    assert!(refusal.message.contains("reserved"), "{refusal}");

    // The signature is the last part, and ends with its 64 bytes.
    let bytes = &blob[blob.len() - 64..];
    let label = b"rsa-sha2-256";
    let part = [&[0, 0, 0, 12][..], label, &[0, 0, 0, 64], bytes].concat();
    let before = hash + 4 + 6;
    let relabelled = [&blob[..before], &[0, 0, 0, part.len() as u8], &part].concat();
    let refusal = refused(Reason::Malformed, check(relabelled));
    assert!(refusal.message.contains("the algorithm is not that of the key"), "{refusal}");
}

#[test]
fn line_breaks_of_the_armour_do_not_matter_and_other_characters_do() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let good = alice.sign(&statement().to_bytes());
    let check = |armoured: String| open(&with_signatures(vec![armoured]), &trust);
    check(good.replace('\n', "\r\n")).unwrap();
    check(good.trim_end().to_owned()).unwrap();
    let base64 = STANDARD.encode(alice.sign_blob(&statement().to_bytes()));
    let lines = |base64: &str| {
        format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----")
    };
    check(lines(&base64)).unwrap();
    check(lines(&base64.replace('U', "U\n"))).unwrap();
    for wrong in [
        base64.replacen('U', "U ", 1),
        base64.replacen('U', "U\u{a0}", 1),
        base64.trim_end_matches('=').to_owned(),
        format!("{base64}="),
        format!("Comment: x\n\n{base64}"),
    ] {
        assert_ne!(wrong, base64);
        refused(Reason::Malformed, check(lines(&wrong)));
    }
}

#[test]
fn wrong_namespace() {
    for namespace in ["file", "git", "", "fleet-connector/v2", "fleet-connector/v1\0"] {
        let mut alice = Signer::ed25519(1);
        alice.namespace = namespace.to_owned();
        let trust = trust(1, &[&alice], &[&alice]);
        let refusal =
            refused(Reason::Malformed, open(&bundle(&statement(), PAYLOAD, &[&alice]), &trust));
        let hint = "sign with ssh-keygen -Y sign -n fleet-connector/v1";
        assert!(namespace.is_empty() || refusal.message.contains(hint), "{refusal}");
    }
}

#[test]
fn an_authenticator_must_have_been_touched_for_the_application_of_the_key() {
    for key in [|| Signer::ed25519(1), || Signer::ecdsa_p256()] {
        for flags in [0, 4, 0xfe] {
            let untouched = key().in_authenticator("ssh:", flags);
            let trust = trust(1, &[&untouched], &[&untouched]);
            let bytes = bundle(&statement(), PAYLOAD, &[&untouched]);
            let refusal = refused(Reason::Malformed, open(&bytes, &trust));
            assert!(refusal.message.contains("without a touch"), "{refusal}");
        }
    }
    // The same private key, for another application and without an authenticator.
    let touched = Signer::ed25519(1).in_authenticator("ssh:", 1);
    let trust = trust(1, &[&touched], &[&touched]);
    for other in [Signer::ed25519(1).in_authenticator("ssh:other", 1), Signer::ed25519(1)] {
        refused(Reason::UnknownKey, open(&bundle(&statement(), PAYLOAD, &[&other]), &trust));
    }
    // A signature for another application, sent as one of the key.
    let other = Signer::ed25519(1).in_authenticator("ssx:", 1);
    let blob = other.sign_blob(&statement().to_bytes());
    let application = blob.windows(4).position(|window| window == b"ssx:").unwrap();
    let forged = [&blob[..application], b"ssh:", &blob[application + 4..]].concat();
    let refusal = refused(Reason::Malformed, open(&with_signatures(vec![armour(&forged)]), &trust));
    assert!(refusal.message.contains("is not one of this statement"), "{refusal}");
}

#[test]
fn a_thousand_signatures() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let good = alice.sign(&statement().to_bytes());
    open(&with_signatures(vec![good.clone(); 8]), &trust).unwrap();
    for count in [9, 1000] {
        let refusal =
            refused(Reason::Malformed, open(&with_signatures(vec![good.clone(); count]), &trust));
        assert!(refusal.message.contains("more than 8 signatures"), "{refusal}");
    }
    let long = vec![good.replacen('\n', &"\n".repeat(5000), 1)];
    let refusal = refused(Reason::Malformed, open(&with_signatures(long), &trust));
    assert!(refusal.message.contains("more than 4096 bytes"), "{refusal}");
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

/// A bundle with a trust file as payload.
fn update(next: &str, signers: &[&Signer]) -> Vec<u8> {
    let statement = Statement { operation: TRUST_UPDATE.into(), ..statement() };
    bundle(&statement, next.as_bytes(), signers)
}

fn apply(
    bytes: &[u8],
    current: &TrustFile,
) -> Result<(fleet_trust::Opened, TrustFile), fleet_trust::Refusal> {
    let purpose = Purpose { operation: TRUST_UPDATE, role: Role::of(TRUST_UPDATE), ..purpose() };
    fleet_trust::open_update(bytes, current, &purpose, &OPERATIONS)
}

#[test]
fn a_rotation_needs_the_thresholds_of_both_files() {
    let [a, b, c, d] = [1, 2, 3, 4].map(Signer::ed25519);
    let current = trust(2, &[&a, &b], &[&d, &c]);
    let next = testing::trust_file(2, &[&b, &c], &[&d, &a]).replace("version: 1", "version: 2");
    for signers in [&[&a, &b, &c][..], &[&c, &b, &a], &[&b, &a, &c, &c]] {
        let (opened, file) = apply(&update(&next, signers), &current).unwrap();
        assert_eq!(file, parse(&next));
        assert_eq!(file.version(), 2);
        let mut signed_by = vec![a.id(), b.id(), c.id()];
        signed_by.sort();
        assert_eq!(opened.signed_by, signed_by);
    }
    // Delivered again, with a signature of a key that is no longer one of root.
    let bytes = update(&next, &[&a, &b, &c]);
    let (opened, file) = apply(&bytes, &parse(&next)).unwrap();
    assert_eq!(file, parse(&next));
    let mut signed_by = [b.id(), c.id()];
    signed_by.sort();
    assert_eq!(opened.signed_by, signed_by);

    let refusal = refused(Reason::Threshold, apply(&update(&next, &[&a, &b]), &current));
    assert!(refusal.message.starts_with("of the new trust file: 1 key has"), "{refusal}");
    refused(Reason::Threshold, apply(&update(&next, &[&b, &c]), &current));
    refused(Reason::Threshold, apply(&update(&next, &[&a, &a, &b]), &current));
    refused(Reason::UnknownKey, apply(&update(&next, &[&c]), &current));
    // A key of neither, and a wrong signature by one that only the next file has.
    let refusal = refused(Reason::UnknownKey, apply(&update(&next, &[&a, &b, &c, &d]), &current));
    assert_eq!(refusal.keys, [d.id()]);
    let mut json = Bundle::parse(&update(&next, &[&a, &b])).unwrap();
    json.signatures.push(c.sign(b"something else"));
    refused(Reason::Malformed, apply(&json.to_json(), &current));
    // An update is not a request of the role release, and no other operation is an update.
    let bytes = update(&next, &[&a, &b, &c]);
    refused(Reason::UnknownKey, open(&bytes, &current));
    let other = bundle(&statement(), next.as_bytes(), &[&a, &b, &c]);
    refused(Reason::WrongOperation, apply(&other, &current));
}

#[test]
fn a_trust_file_is_replaced_only_by_the_next_one() {
    let root = Signer::ed25519(1);
    let version = |version: u64| {
        let text = testing::trust_file(1, &[&root], &[&root]);
        text.replace("version: 1", &format!("version: {version}"))
    };
    let current = parse(&version(3));
    let apply = |text: &str| apply(&update(text, &[&root]), &current);
    assert_eq!(apply(&version(4)).unwrap().1.version(), 4);
    for older in [1, 2] {
        let refusal = refused(Reason::Replayed, apply(&version(older)));
        assert_eq!(refusal.keys, [root.id()]);
    }
    // Delivered again, it is no error; another file with the same version is.
    assert_eq!(apply(&version(3)).unwrap().1, current);
    refused(Reason::Replayed, apply(&version(3).replace("state/update", "state")));
    let refusal = refused(Reason::Malformed, apply(&version(5)));
    assert!(refusal.message.contains("send version 4 first"), "{refusal}");

    let current = parse(&version(3).replace("min_serial: 0", "min_serial: 9"));
    let result = self::apply(&update(&version(4), &[&root]), &current);
    refused(Reason::Malformed, result);
}

#[test]
fn a_half_written_trust_file_is_refused_with_its_mistakes() {
    let root = Signer::ed25519(1);
    let current = trust(1, &[&root], &[&root]);
    let next = testing::trust_file(1, &[&root], &[&root]).replace("version: 1", "version: 2");
    for end in 0..next.trim_end().len() {
        let bytes = update(next.get(..end).unwrap(), &[&root]);
        let refusal = refused(Reason::Malformed, apply(&bytes, &current));
        assert!(refusal.message.contains("line "), "{refusal}");
        assert_eq!(refusal.keys, [root.id()]);
    }
    apply(&update(&next, &[&root]), &current).unwrap();
}

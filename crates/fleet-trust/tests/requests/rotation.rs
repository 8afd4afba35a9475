//! Rotation: how a trust file is replaced.

use crate::common::{OPERATIONS, open, parse, purpose, refused, statement, trust};
use fleet_trust::testing::{self, Signer, bundle};
use fleet_trust::{
    Bundle, Opened, Purpose, Reason, Refusal, Role, Statement, TRUST_UPDATE, TrustFile,
};

/// A bundle with a trust file as payload.
fn update(next: &str, signers: &[&Signer]) -> Vec<u8> {
    let statement = Statement { operation: TRUST_UPDATE.into(), ..statement() };
    bundle(&statement, next.as_bytes(), signers)
}

fn apply(bytes: &[u8], current: &TrustFile) -> Result<(Opened, TrustFile), Refusal> {
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

#[test]
fn a_key_of_release_cannot_sign_a_trust_file() {
    let (root, release) = (Signer::ed25519(1), Signer::ed25519(2));
    let trust = trust(1, &[&root], &[&release]);
    let next = testing::trust_file(1, &[&release], &[&release]).replace("version: 1", "version: 2");
    let bytes = update(&next, &[&release]);
    let refusal = refused(Reason::UnknownKey, apply(&bytes, &trust));
    assert!(refusal.message.contains("role root"), "{refusal}");
}

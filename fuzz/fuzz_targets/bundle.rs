//! Bundles: parsing does not panic, each bundle is recognized as one, and nothing is opened but
//! what was signed.

#![no_main]

use std::sync::LazyLock;

use fleet_trust::testing::{self, Signer};
use fleet_trust::{
    Bundle, Purpose, Role, Statement, TrustFile, Vehicles, is_bundle, open, open_update, sha256,
};
use libfuzzer_sys::fuzz_target;

const PAYLOAD: &[u8] = b"apiVersion: v1\nconfigs: {a: b}\n";

static PURPOSE: Purpose<'_> = Purpose {
    operation: "manifest/apply",
    vin: "WDB0412",
    role: Role::Release,
    now: 1_795_646_059,
    clock_is_plausible: true,
};

static STATEMENT: LazyLock<Statement> = LazyLock::new(|| Statement {
    operation: PURPOSE.operation.into(),
    fleet: "prod-eu".into(),
    vehicles: Vehicles::Vins(vec![PURPOSE.vin.into()]),
    serial: 7,
    not_before: PURPOSE.now,
    expires: PURPOSE.now + 60,
    force: false,
    rollback: Some("on-failure".into()),
    release: Some("7".into()),
    payload_sha256: sha256(PAYLOAD),
});

static TRUST: LazyLock<TrustFile> = LazyLock::new(|| {
    let (alice, bob) = (Signer::ed25519(1), Signer::ed25519(2));
    let text = testing::trust_file(2, &[&alice, &bob], &[&alice, &bob]);
    TrustFile::parse(text.as_bytes(), &fleet_trust::DEFAULT_REQUIRE).unwrap()
});

static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    testing::bundle(&STATEMENT, PAYLOAD, &[&Signer::ed25519(1), &Signer::ed25519(2)])
});

fuzz_target!(|input: &[u8]| {
    // The input itself, or changes of a bundle.
    let bundle = match input.strip_prefix(b"{") {
        Some(_) => input.to_vec(),
        None => edit(&BUNDLE, input),
    };
    let is_recognized = is_bundle(&bundle);
    let parsed = Bundle::parse(&bundle);
    if let Ok(parsed) = &parsed {
        assert!(is_recognized);
        assert_eq!(Bundle::parse(&parsed.to_json()).as_ref(), Ok(parsed));
    }
    match open(&bundle, &TRUST, &PURPOSE) {
        Ok(opened) => {
            assert_eq!(opened.statement, *STATEMENT);
            assert_eq!(opened.payload, PAYLOAD);
            assert_eq!(opened.digest, sha256(&parsed.unwrap().statement));
            assert_eq!(opened.signed_by.len(), 2);
        }
        Err(refusal) => {
            assert!(!refusal.message.is_empty() && !refusal.message.contains(char::is_control));
        }
    }
    assert!(open_update(&bundle, &TRUST, &PURPOSE, &[]).is_err());
});

/// Applies changes of four bytes each: position, kind of change, byte.
fn edit(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes.chunks_exact(4) {
        let position = usize::from(u16::from_le_bytes([change[0], change[1]])) % (bytes.len() + 1);
        match (change[2] % 4, bytes.get_mut(position)) {
            (0, Some(byte)) => *byte = change[3],
            (1, Some(_)) => drop(bytes.remove(position)),
            (2, Some(_)) => bytes.truncate(position),
            _ => bytes.insert(position, change[3]),
        }
    }
    bytes
}

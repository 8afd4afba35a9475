//! Signatures: parsing does not panic, and no other bytes than those of the signer are accepted.

#![no_main]

use std::sync::LazyLock;

use fleet_trust::testing::{Signer, armour, trust_file};
use fleet_trust::{Bundle, PublicKey, Purpose, Reason, Role, Statement, TrustFile, Vehicles, open};
use libfuzzer_sys::fuzz_target;

const PURPOSE: Purpose<'_> = Purpose {
    operation: "state",
    vin: "V",
    role: Role::Release,
    now: 100,
    clock_is_plausible: true,
};

/// A trust file with one key, a statement, and its signature by the key.
struct Signed {
    trust: TrustFile,
    statement: Vec<u8>,
    signature: Vec<u8>,
}

/// Of each kind of key. The keys of ECDSA differ from run to run.
static SIGNED: LazyLock<Vec<Signed>> = LazyLock::new(|| {
    let signers = [
        Signer::ed25519(1),
        Signer::ed25519(2).in_authenticator("ssh:", 1),
        Signer::ecdsa_p256(),
        Signer::ecdsa_p256().in_authenticator("ssh:", 1),
    ];
    let statement = Statement {
        operation: PURPOSE.operation.into(),
        fleet: "prod-eu".into(),
        vehicles: Vehicles::All,
        serial: 1,
        not_before: 100,
        expires: 200,
        force: false,
        rollback: None,
        release: None,
        payload_sha256: fleet_trust::sha256(b""),
    }
    .to_bytes();
    let signed = |signer: &Signer| Signed {
        trust: TrustFile::parse(
            trust_file(1, &[signer], &[signer]).as_bytes(),
            &fleet_trust::DEFAULT_REQUIRE,
        )
        .unwrap(),
        statement: statement.clone(),
        signature: signer.sign_blob(&statement),
    };
    signers.iter().map(signed).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((&selector, input)) = input.split_first() else { return };
    let Signed { trust, statement, signature } = &SIGNED[usize::from(selector) % SIGNED.len()];
    let (armoured, is_same) = match selector / 4 % 3 {
        0 => {
            let edited = edit(signature, input);
            (armour(&edited), edited == *signature)
        }
        1 => (armour(input), input == signature),
        _ => {
            let text = String::from_utf8_lossy(input).into_owned();
            let _ = PublicKey::parse(&text);
            (text, false)
        }
    };
    let bundle =
        Bundle { statement: statement.clone(), payload: vec![], signatures: vec![armoured] };
    match open(&bundle.to_json(), trust, &PURPOSE) {
        Ok(_) => assert!(is_same),
        Err(refusal) => {
            assert!(!is_same);
            assert!(matches!(refusal.reason, Reason::Malformed | Reason::UnknownKey));
        }
    }
});

/// Applies changes of three bytes each: position, kind of change, byte.
fn edit(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes.chunks_exact(3) {
        let position = usize::from(change[0]) % (bytes.len() + 1);
        match (change[1] % 4, bytes.get_mut(position)) {
            (0, Some(byte)) => *byte = change[2],
            (1, Some(_)) => drop(bytes.remove(position)),
            (2, Some(_)) => bytes.truncate(position),
            _ => bytes.insert(position, change[2]),
        }
    }
    bytes
}

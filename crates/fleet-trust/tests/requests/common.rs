//! What the tests share: a statement, a purpose, and trust files.

use fleet_trust::testing::{self, Signer};
use fleet_trust::{Bundle, Opened, Purpose, Reason, Refusal, Role, Statement, TrustFile, Vehicles};

/// The time of the tests.
pub(crate) const NOW: i64 = 1_795_646_059;

pub(crate) const VIN: &str = "WDB0412";

pub(crate) const OPERATIONS: [&str; 5] =
    ["manifest/apply", "manifest/delete", "manifest/rollback", "state", "state/update"];

pub(crate) const PAYLOAD: &[u8] = b"apiVersion: v1\nconfigs: {a: b}\n";

/// A statement that is valid now, for [`PAYLOAD`] and [`VIN`].
pub(crate) fn statement() -> Statement {
    Statement {
        operation: "manifest/apply".into(),
        fleet: "prod-eu".into(),
        vehicles: Vehicles::Vins(vec!["WDB0411".into(), VIN.into()]),
        serial: NOW.unsigned_abs(),
        not_before: NOW - 60,
        expires: NOW + 3600,
        force: false,
        rollback: None,
        release: None,
        payload_sha256: fleet_trust::sha256(PAYLOAD),
    }
}

pub(crate) fn purpose() -> Purpose<'static> {
    Purpose {
        operation: "manifest/apply",
        vin: VIN,
        role: Role::Release,
        now: NOW,
        clock_is_plausible: true,
    }
}

/// A trust file with these keys and this threshold for both roles.
pub(crate) fn trust(threshold: usize, root: &[&Signer], release: &[&Signer]) -> TrustFile {
    parse(&testing::trust_file(threshold, root, release))
}

pub(crate) fn parse(text: &str) -> TrustFile {
    TrustFile::parse(text.as_bytes(), &OPERATIONS).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

pub(crate) fn open(bundle: &[u8], trust: &TrustFile) -> Result<Opened, Refusal> {
    fleet_trust::open(bundle, trust, &purpose())
}

/// Asserts that a bundle is refused, and returns the refusal.
#[track_caller]
pub(crate) fn refused(reason: Reason, result: Result<impl Sized, Refusal>) -> Refusal {
    let refusal = result.err().expect("it is accepted");
    assert_eq!(refusal.reason, reason, "{refusal}");
    refusal
}

/// A bundle whose statement is not that of [`Statement::to_bytes`].
pub(crate) fn bundle_of(statement: &[u8], payload: &[u8], signers: &[&Signer]) -> Vec<u8> {
    let signatures = signers.iter().map(|signer| signer.sign(statement)).collect();
    Bundle { statement: statement.into(), payload: payload.into(), signatures }.to_json()
}

/// A bundle of [`statement`] with these signatures.
pub(crate) fn with_signatures(signatures: Vec<String>) -> Vec<u8> {
    Bundle { statement: statement().to_bytes(), payload: PAYLOAD.into(), signatures }.to_json()
}

//! Signed requests: what a vehicle does only because enough people have signed it, for this
//! vehicle, and now. Whoever holds the broker, or an operator's password, can delay, drop and read
//! such requests, and nothing else.
//!
//! ```text
//!  payload of a request ── is_bundle ──► no: without signatures; refused if TrustFile::requires
//!            │ yes
//!            ▼
//!  Bundle { statement, payload, signatures }        TrustFile: fleet, roles, keys, thresholds
//!            │                                            │
//!            └────────────────► open ◄────────────────────┘◄── Purpose: operation, vehicle, now
//!                                │
//!            Refusal ◄───────────┤
//!                                ▼
//!  Opened { statement, payload, digest, signed_by } ─► Serials::accept ─► Serials, to be stored
//!                                                              │           before it takes effect
//!                                                   Refusal ◄──┘
//! ```
//!
//! # Rules
//!
//! [`open`] checks these in this order, and the first that is broken is the [`Reason`]:
//!
//! | | rule | reason |
//! |---|---|---|
//! | 1 | The bundle is JSON of exactly one form, its statement has at most [`MAX_STATEMENT`] bytes, and it has at most [`MAX_SIGNATURES`] signatures. | `malformed` |
//! | 2 | Each signature is one of OpenSSH's for the [`NAMESPACE`], by a key that is listed in the role ([`Role::Release`], or [`Role::Root`] for [`TRUST_UPDATE`]), and is a signature of this statement. | `malformed`, `unknown_key` |
//! | 3 | The threshold of the role is reached, counting each key once. | `threshold` |
//! | 4 | Only now, the statement is parsed. It has no unknown fields, none twice, and is valid for at most 30 days. | `malformed` |
//! | 5 | The statement is about the operation, the fleet and the vehicle, it is valid now, and the payload has its hash. | `wrong_operation`, `wrong_fleet`, `wrong_vehicle`, `not_yet_valid`, `expired`, `digest` |
//! | 6 | For each item that the request changes, it is not older than what was accepted before. [`Serials`] checks this, because the items are in the payload. | `replayed` |
//!
//! One signature that breaks a rule is enough to refuse a bundle whose other signatures would do: a
//! wrong signature is never treated as none.
//!
//! Accepted keys are Ed25519, ECDSA with P-256, and both in FIDO authenticators that somebody has
//! touched for the signature. RSA, other curves and certificates are refused.
//!
//! # Rotation
//!
//! [`open_update`] opens a bundle whose payload is the next [`TrustFile`]. Its version is one
//! higher, and the threshold of root is reached in the old file *and* in the new one: nobody can
//! install keys alone, and a file that nobody could ever replace is not accepted.
//!
//! # Time
//!
//! A statement is valid from `not_before` until `expires`. The caller decides what the time is, and
//! says so if the clock cannot be right, because it shows a time before the program was built. Until
//! the clock is set, no statement is valid.
//!
//! # What this crate is not
//!
//! It reads no files and no clock, keeps nothing, and knows neither MQTT nor manifests: the caller
//! brings bytes, time and serials, and stores what changes. It has no private keys; operators sign
//! with `ssh-keygen -Y sign -n fleet-connector/v1`, which also uses agents and hardware keys.
//! `ssh-key` parses keys and signatures, and `ring` verifies them. The feature `testing` adds a
//! signer in software for tests and benchmarks.
//!
//! # Example
//!
//! Two of two people sign a rollout, with the signer of the feature `testing`:
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fleet_trust::testing::Signer;
//! use fleet_trust::{Bundle, Purpose, Role, Serials, Statement, TrustFile, Vehicles};
//!
//! let (alice, bob) = (Signer::ed25519(1), Signer::ed25519(2));
//! let keys = format!("{:?}", [alice.public_key_line(), bob.public_key_line()]);
//! let file = format!(
//!     "fleet: prod-eu\n\
//!      version: 1\n\
//!      roles:\n  \
//!        root: {{threshold: 2, keys: {keys}}}\n  \
//!        release: {{threshold: 2, keys: {keys}}}\n"
//! );
//! let operations = ["manifest/apply", "manifest/delete", "manifest/rollback", "state/update"];
//! let trust = TrustFile::parse(file.as_bytes(), &operations).map_err(|it| format!("{it:?}"))?;
//! assert!(trust.requires("manifest/apply"));
//!
//! // The operators.
//! let now = 1_795_646_059;
//! let payload = b"apiVersion: v1\nworkloads: {}\n".to_vec();
//! let statement = Statement {
//!     operation: "manifest/apply".into(),
//!     fleet: "prod-eu".into(),
//!     vehicles: Vehicles::Vins(vec!["WDB0412".into()]),
//!     serial: 1_795_646_059,
//!     not_before: now,
//!     expires: now + 14 * 24 * 3600,
//!     force: false,
//!     rollback: Some("on-failure".into()),
//!     release: Some("2026.11.2".into()),
//!     payload_sha256: fleet_trust::sha256(&payload),
//! }
//! .to_bytes();
//! let signatures = vec![alice.sign(&statement), bob.sign(&statement)];
//! let request = Bundle { statement, payload, signatures }.to_json();
//!
//! // The vehicle.
//! assert!(fleet_trust::is_bundle(&request));
//! let purpose = Purpose {
//!     operation: "manifest/apply",
//!     vin: "WDB0412",
//!     role: Role::of("manifest/apply"),
//!     now: now + 60,
//!     clock_is_plausible: true,
//! };
//! let opened = fleet_trust::open(&request, &trust, &purpose)?;
//! assert_eq!(opened.signed_by.len(), 2);
//! let mut serials = Serials::new(trust.min_serial());
//! serials.accept(&["workloads.nginx"], opened.statement.serial, opened.digest)?;
//! // `serials` are stored and synced here; then the request takes effect.
//! # assert_eq!(serials.len(), 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```

#![forbid(unsafe_code)]

mod bundle;
mod hex;
mod key;
mod open;
mod recognize;
mod refusal;
mod serials;
mod sshsig;
mod statement;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod trust_file;

pub use bundle::{Bundle, MAX_SIGNATURE, MAX_SIGNATURES, PAYLOAD_TYPE};
pub use key::{KeyId, PublicKey};
pub use open::{Opened, Purpose, open, open_update};
pub use recognize::is_bundle;
pub use refusal::{Reason, Refusal};
pub use serials::{MAX_ITEMS, Serial, Serials};
pub use statement::{
    MAX_SERIAL, MAX_STATEMENT, MAX_VALIDITY, STATEMENT_TYPE, Statement, Vehicles, sha256,
};
pub use trust_file::{
    DEFAULT_REQUIRE, Keyring, MAX_TRUST_FILE, Mistake, NamedKey, Role, TRUST_UPDATE, TrustFile,
};

/// The namespace of the signatures: `ssh-keygen -Y sign -n fleet-connector/v1`.
pub const NAMESPACE: &str = "fleet-connector/v1";

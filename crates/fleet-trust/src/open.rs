//! The rules for bundles, in their order.

use std::collections::BTreeSet;

use crate::bundle::Bundle;
use crate::key::{KeyId, PublicKey};
use crate::refusal::{Reason, Refusal};
use crate::sshsig::Signature;
use crate::statement::{Statement, sha256};
use crate::time;
use crate::trust_file::{Keyring, Role, TrustFile};

/// What a bundle must be for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The operation of the topic.
    pub operation: &'a str,
    /// The vehicle.
    pub vin: &'a str,
    /// The role whose keys must have signed: [`Role::of`] the operation.
    pub role: Role,
    /// The time in Unix seconds, not earlier than what the vehicle knows to be past.
    pub now: i64,
    /// Whether the clock can be right. Without the time, no statement is valid.
    pub clock_is_plausible: bool,
}

/// A bundle that may be executed, if its serial is accepted. Contains only what was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The statement.
    pub statement: Statement,
    /// The payload of the operation.
    pub payload: Vec<u8>,
    /// The SHA-256 hash of the bytes of the statement, which contain the hash of the payload:
    /// two bundles with the same digest differ in their signatures at most.
    pub digest: [u8; 32],
    /// The keys that have signed, each once, sorted.
    pub signed_by: Vec<KeyId>,
}

/// Opens a bundle: verifies the signatures, then the statement, then the payload. The serial is
/// left to [`Serials`](crate::Serials), because the items depend on the payload.
///
/// # Errors
/// The first rule that the bundle breaks, in the order of [`crate`]'s list.
pub fn open(bundle: &[u8], trust: &TrustFile, purpose: &Purpose<'_>) -> Result<Opened, Refusal> {
    let bundle = Bundle::parse(bundle)?;
    let signatures = signatures(&bundle)?;
    let keyring = trust.keyring(purpose.role);
    let mut signed_by = BTreeSet::new();
    for (number, signature) in &signatures {
        let Some(key) = keyring.find(&signature.key) else {
            return Err(unknown_key(*number, signature, keyring.role()));
        };
        verify(*number, signature, key, &bundle.statement)?;
        signed_by.insert(signature.key.clone());
    }
    check_threshold(keyring, &signed_by)?;
    check(bundle, trust, purpose, signed_by)
}

/// Opens the bundle of a [`TRUST_UPDATE`](crate::TRUST_UPDATE), whose payload is the next trust
/// file. Its version is one more than that of the current one, `min_serial` is not lower, and the
/// thresholds of root of both files are reached. `operations` are those that `require` may name.
///
/// A bundle whose payload is the current file is accepted, too: it was applied, and is delivered
/// again. Whoever stores trust files compares the versions.
///
/// # Errors
/// The first rule that the bundle breaks: those of [`open`] first.
pub fn open_update(
    bundle: &[u8],
    current: &TrustFile,
    purpose: &Purpose<'_>,
    operations: &[&str],
) -> Result<(Opened, TrustFile), Refusal> {
    let bundle = Bundle::parse(bundle)?;
    let signatures = signatures(&bundle)?;
    let statement = bundle.statement.clone();
    let keyring = current.keyring(Role::Root);
    let mut signed_by = BTreeSet::new();
    // Those of keys that only the next file may know.
    let mut others = Vec::new();
    for (number, signature) in &signatures {
        match keyring.find(&signature.key) {
            Some(key) => {
                verify(*number, signature, key, &statement)?;
                signed_by.insert(signature.key.clone());
            }
            None => others.push((*number, signature)),
        }
    }
    if let Err(refusal) = check_threshold(keyring, &signed_by) {
        return Err(match others.first() {
            Some((number, signature)) if signed_by.is_empty() => {
                unknown_key(*number, signature, keyring.role())
            }
            _ => refusal,
        });
    }
    let purpose = Purpose { role: Role::Root, ..*purpose };
    let mut opened = check(bundle, current, &purpose, signed_by.clone())?;
    let next = TrustFile::parse(&opened.payload, operations).map_err(|mistakes| {
        // The message has room for a few.
        let mistakes: Vec<_> = mistakes.iter().take(10).map(ToString::to_string).collect();
        Refusal::malformed(format!("the new trust file cannot be used: {}", mistakes.join("; ")))
            .with_keys(signed_by.clone())
    })?;
    if next == *current {
        return Ok((opened, next));
    }
    check_succession(current, &next).map_err(|refusal| refusal.with_keys(signed_by.clone()))?;

    let keyring = next.keyring(Role::Root);
    let mut of_next: BTreeSet<_> =
        signed_by.iter().filter(|key| keyring.find(key).is_some()).cloned().collect();
    for (number, signature) in others {
        let Some(key) = keyring.find(&signature.key) else {
            return Err(unknown_key(number, signature, keyring.role()));
        };
        verify(number, signature, key, &statement)?;
        of_next.insert(signature.key.clone());
    }
    check_threshold(keyring, &of_next).map_err(|refusal| Refusal {
        message: format!("of the new trust file: {}", refusal.message),
        ..refusal
    })?;
    signed_by.append(&mut of_next);
    opened.signed_by = signed_by.into_iter().collect();
    Ok((opened, next))
}

/// Checks that a trust file may follow another one.
fn check_succession(current: &TrustFile, next: &TrustFile) -> Result<(), Refusal> {
    let (version, expected) = (next.version(), current.version().saturating_add(1));
    if version < expected {
        return Err(Refusal::new(
            Reason::Replayed,
            format!(
                "the new trust file has version {version}, and the vehicle already has version {}",
                current.version()
            ),
        ));
    }
    if version > expected {
        return Err(Refusal::malformed(format!(
            "the new trust file has version {version}, and the vehicle has version {}; send \
             version {expected} first",
            current.version()
        )));
    }
    if next.min_serial() < current.min_serial() {
        return Err(Refusal::malformed(format!(
            "the new trust file lowers min_serial from {} to {}",
            current.min_serial(),
            next.min_serial()
        )));
    }
    Ok(())
}

/// The signatures with their numbers, from 1. The numbers are for messages.
fn signatures(bundle: &Bundle) -> Result<Vec<(usize, Signature)>, Refusal> {
    if bundle.signatures.is_empty() {
        return Err(Refusal::new(Reason::Threshold, "the bundle has no signatures"));
    }
    let parse = |(number, armoured): (usize, &String)| match Signature::parse(armoured) {
        Ok(signature) => Ok((number, signature)),
        Err(refusal) => {
            Err(Refusal { message: format!("signature {number}: {}", refusal.message), ..refusal })
        }
    };
    (1..).zip(&bundle.signatures).map(parse).collect()
}

fn verify(
    number: usize,
    signature: &Signature,
    key: &PublicKey,
    statement: &[u8],
) -> Result<(), Refusal> {
    signature.verify(key, statement).map_err(|problem| {
        let key = &signature.key;
        Refusal::malformed(format!("signature {number}, by {key}, {problem}"))
            .with_keys([key.clone()])
    })
}

fn unknown_key(number: usize, signature: &Signature, role: Role) -> Refusal {
    let key = &signature.key;
    Refusal::new(
        Reason::UnknownKey,
        format!(
            "signature {number} is by {key}, which is not a key of the role {role} in the trust \
             file of the vehicle"
        ),
    )
    .with_keys([key.clone()])
}

fn check_threshold(keyring: &Keyring, signed_by: &BTreeSet<KeyId>) -> Result<(), Refusal> {
    let (count, threshold) = (signed_by.len(), keyring.threshold());
    if count >= threshold {
        return Ok(());
    }
    let (role, keys) = (keyring.role(), if count == 1 { "key has" } else { "different keys have" });
    let message = format!("{count} {keys} signed, and the role {role} needs {threshold}");
    Err(Refusal::new(Reason::Threshold, message).with_keys(signed_by.iter().cloned()))
}

/// Checks the statement, whose signatures are verified, and the payload.
fn check(
    bundle: Bundle,
    trust: &TrustFile,
    purpose: &Purpose<'_>,
    signed_by: BTreeSet<KeyId>,
) -> Result<Opened, Refusal> {
    let Bundle { statement: bytes, payload, .. } = bundle;
    let result = Statement::parse(&bytes)
        .map_err(|problem| Refusal::malformed(format!("the statement {problem}")))
        .and_then(|statement| {
            check_binding(&statement, trust, purpose)?;
            check_time(&statement, purpose)?;
            if sha256(&payload) != statement.payload_sha256 {
                return Err(Refusal::new(
                    Reason::Digest,
                    "the payload is not the one that was signed: its SHA-256 hash is not \
                     payload_sha256",
                ));
            }
            Ok(statement)
        });
    match result {
        Err(refusal) => Err(refusal.with_keys(signed_by)),
        Ok(statement) => Ok(Opened {
            statement,
            payload,
            digest: sha256(&bytes),
            signed_by: signed_by.into_iter().collect(),
        }),
    }
}

/// Checks what the statement is for.
fn check_binding(
    statement: &Statement,
    trust: &TrustFile,
    purpose: &Purpose<'_>,
) -> Result<(), Refusal> {
    let Statement { operation, fleet, vehicles, .. } = statement;
    if operation != purpose.operation {
        return Err(Refusal::new(
            Reason::WrongOperation,
            format!("the statement is for {operation:?}, not for {:?}", purpose.operation),
        ));
    }
    if fleet != trust.fleet() {
        return Err(Refusal::new(
            Reason::WrongFleet,
            format!("the statement is for the fleet {fleet:?}, not for {:?}", trust.fleet()),
        ));
    }
    if !vehicles.contains(purpose.vin) {
        return Err(Refusal::new(
            Reason::WrongVehicle,
            format!("the statement does not name the vehicle {:?}", purpose.vin),
        ));
    }
    Ok(())
}

fn check_time(statement: &Statement, purpose: &Purpose<'_>) -> Result<(), Refusal> {
    let Statement { not_before, expires, .. } = *statement;
    let now = purpose.now;
    if !purpose.clock_is_plausible {
        return Err(Refusal::new(
            Reason::NotYetValid,
            "the vehicle does not know the time: its clock is earlier than the build of the \
             connector or than a request that was accepted; send the request again when the clock \
             is set",
        ));
    }
    if now < not_before {
        return Err(Refusal::new(
            Reason::NotYetValid,
            format!(
                "the statement is valid from {} on, and for the vehicle it is {}",
                time::format(not_before),
                time::format(now)
            ),
        ));
    }
    if now >= expires {
        return Err(Refusal::new(
            Reason::Expired,
            format!(
                "the statement has expired at {}, and for the vehicle it is {}; sign a new one",
                time::format(expires),
                time::format(now)
            ),
        ));
    }
    Ok(())
}

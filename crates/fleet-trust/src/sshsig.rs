//! Signatures in the format of OpenSSH (`PROTOCOL.sshsig`): their armour and their parts.
//!
//! ```text
//!  -----BEGIN SSH SIGNATURE-----     "SSHSIG", version, public key, namespace, reserved,
//!  Base64                         ─► hash algorithm, signature: algorithm, bytes,
//!  -----END SSH SIGNATURE-----                                  for FIDO: flags, counter
//! ```
//!
//! `ssh-key` parses the parts. It accepts more than one encoding of the same parts, for example
//! with other lengths; here only the one that OpenSSH writes is accepted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA512, digest};
use ssh_encoding::{Decode, Encode};
use ssh_key::{Algorithm, HashAlg, SshSig};

use crate::NAMESPACE;
use crate::key::{KeyId, PublicKey, check_kind};
use crate::refusal::{Reason, Refusal};

pub(crate) const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
pub(crate) const END: &str = "-----END SSH SIGNATURE-----";
pub(crate) const MAGIC: &[u8] = b"SSHSIG";

/// Length of flags and counter.
const TRAILER: usize = 5;

/// A signature by a key of a supported kind, in the namespace of this program. Not verified.
pub(crate) struct Signature {
    /// The fingerprint of the key.
    pub(crate) key: KeyId,
    hash: HashAlg,
    bytes: Vec<u8>,
    trailer: Vec<u8>,
}

impl Signature {
    /// Parses an armoured signature.
    pub(crate) fn parse(armoured: &str) -> Result<Self, Refusal> {
        let malformed = |text: &str| Refusal::malformed(text);
        let blob = remove_armour(armoured)?;
        let (kind, key) = key_of(&blob).ok_or_else(|| malformed("it is not an SSH signature"))?;
        check_kind(&kind).map_err(|message| {
            Refusal::new(Reason::UnknownKey, message).with_keys([key.clone()])
        })?;
        let invalid = |error: &dyn std::fmt::Display| {
            malformed(&format!("it is not a valid SSH signature: {error}")).with_keys([key.clone()])
        };
        let mut rest = blob.as_slice();
        let parts = SshSig::decode(&mut rest).map_err(|error| invalid(&error))?;
        let is_sk =
            matches!(parts.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
        let bytes = parts.signature_bytes();
        let (bytes, trailer) = bytes
            .split_at_checked(bytes.len().saturating_sub(if is_sk { TRAILER } else { 0 }))
            .ok_or_else(|| invalid(&"it is too short"))?;
        if encode(&parts, bytes, trailer).is_none_or(|canonical| canonical != blob) {
            return Err(invalid(&"there are more bytes than its parts have"));
        }
        if parts.version() != SshSig::VERSION {
            return Err(invalid(&format_args!("it has version {}", parts.version())));
        }
        if parts.namespace() != NAMESPACE {
            return Err(malformed(&format!(
                "it was made for the namespace {:?}; sign with ssh-keygen -Y sign -n {NAMESPACE}",
                parts.namespace()
            ))
            .with_keys([key]));
        }
        if !parts.reserved().is_empty() {
            return Err(invalid(&"the reserved part is not empty"));
        }
        if parts.algorithm() != parts.public_key().algorithm() {
            return Err(invalid(&"the algorithm is not that of the key"));
        }
        let (hash, bytes, trailer) = (parts.hash_alg(), bytes.to_vec(), trailer.to_vec());
        Ok(Self { key, hash, bytes, trailer })
    }

    /// Verifies that the key has signed the message.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with "the signature".
    pub(crate) fn verify(&self, key: &PublicKey, message: &[u8]) -> Result<(), &'static str> {
        key.verify(&signed_data(NAMESPACE, self.hash, message), &self.bytes, &self.trailer)
    }
}

/// What the key signs: the hash of the message with the namespace.
pub(crate) fn signed_data(namespace: &str, hash: HashAlg, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        HashAlg::Sha256 => &SHA256,
        _ => &SHA512,
    };
    let mut data = MAGIC.to_vec();
    let hashed = digest(algorithm, message);
    for part in [namespace.as_bytes(), b"", hash.as_str().as_bytes(), hashed.as_ref()] {
        push(&mut data, part);
    }
    data
}

/// Appends a part with its length.
pub(crate) fn push(data: &mut Vec<u8>, part: &[u8]) {
    // Fails only for parts of 4 GiB.
    let _ = part.encode(data);
}

/// The bytes between the lines of the armour. Line breaks may be anywhere, because programs other
/// than OpenSSH write lines of another length.
fn remove_armour(armoured: &str) -> Result<Vec<u8>, Refusal> {
    let text = armoured.trim_ascii();
    let lines = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let lines = lines.filter(|lines| lines.starts_with(['\r', '\n']) && lines.ends_with('\n'));
    let Some(lines) = lines else {
        return Err(Refusal::malformed(format!(
            "it does not begin with the line {BEGIN} and end with the line {END}"
        )));
    };
    let base64: String = lines.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD
        .decode(base64)
        .map_err(|error| Refusal::malformed(format!("its lines are not Base64: {error}")))
}

/// The kind and the fingerprint of the key, also of a kind that `ssh-key` cannot parse.
fn key_of(blob: &[u8]) -> Option<(String, KeyId)> {
    let mut rest = blob.strip_prefix(MAGIC)?;
    u32::decode(&mut rest).ok()?;
    let key = take(&mut rest)?;
    let kind = take(&mut &*key)?;
    Some((String::from_utf8(kind.to_vec()).ok()?, KeyId::of(key)))
}

/// Takes a part with its length.
fn take<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::decode(data).ok()?;
    let (part, rest) = data.split_at_checked(length)?;
    *data = rest;
    Some(part)
}

/// The one encoding of a signature. That of `ssh-key` itself is wrong for ECDSA with FIDO keys: it
/// adds flags and counter to the bytes.
fn encode(parts: &SshSig, bytes: &[u8], trailer: &[u8]) -> Option<Vec<u8>> {
    let mut blob = MAGIC.to_vec();
    parts.version().encode(&mut blob).ok()?;
    parts.public_key().encode_prefixed(&mut blob).ok()?;
    push(&mut blob, parts.namespace().as_bytes());
    push(&mut blob, parts.reserved());
    push(&mut blob, parts.hash_alg().as_str().as_bytes());
    let mut signature = Vec::new();
    push(&mut signature, parts.algorithm().as_str().as_bytes());
    push(&mut signature, bytes);
    signature.extend_from_slice(trailer);
    push(&mut blob, &signature);
    Some(blob)
}

//! Public keys of the supported kinds, and the verification of their signatures with `ring`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use ssh_encoding::{Decode, Encode, Reader};
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Mpint, PublicKey as SshPublicKey};

/// The kinds of keys that are supported, for messages.
pub(crate) const KINDS: &str = "ssh-ed25519, ecdsa-sha2-nistp256, sk-ssh-ed25519@openssh.com and \
                                sk-ecdsa-sha2-nistp256@openssh.com";

/// The flag of a FIDO signature for which somebody has touched the authenticator.
const USER_PRESENT: u8 = 0x01;

/// The fingerprint of a public key, as `ssh-keygen -l` prints it: `SHA256:…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The fingerprint of a public key in SSH's binary format.
    pub(crate) fn of(blob: &[u8]) -> Self {
        Self(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, blob))))
    }

    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A public key of a supported kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    point: Point,
    /// The application of a FIDO key, which its authenticator signs, too.
    application: Option<String>,
}

/// The point on the curve: what belongs to one private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Point {
    Ed25519([u8; 32]),
    /// The uncompressed point.
    P256([u8; 65]),
}

impl PublicKey {
    /// Parses a line of a `.pub` file: kind, Base64 and, optionally, a comment.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split(' ');
        let (kind, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if line.contains(char::is_control) || kind.is_empty() || base64.is_empty() {
            return Err("it is not a public key; write it as a line of a .pub file, for example \
                        \"ssh-ed25519 AAAA… alice\""
                .to_owned());
        }
        if !KINDS.split([' ', ',']).any(|it| it == kind) {
            return Err(format!("keys of the kind {kind:?} are not supported; use {KINDS}"));
        }
        let blob =
            STANDARD.decode(base64).map_err(|error| format!("its key is not Base64: {error}"))?;
        let key = SshPublicKey::from_openssh(line)
            .map_err(|error| format!("it is not a valid key of the kind {kind}: {error}"))?;
        Self::new(key.key_data(), &blob)
    }

    /// `blob` is what the key was parsed from.
    fn new(key: &KeyData, blob: &[u8]) -> Result<Self, String> {
        // The parser does not report bytes that are left at the end of a part.
        let mut canonical = Vec::with_capacity(blob.len());
        if key.encode(&mut canonical).is_err() || canonical != blob {
            return Err("it is not a valid key: there are more bytes than its parts have".into());
        }
        let (point, application) = match key {
            KeyData::Ed25519(key) => (Point::Ed25519(key.0), None),
            KeyData::SkEd25519(key) => {
                (Point::Ed25519(key.public_key().0), Some(key.application()))
            }
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => (p256(point.as_bytes())?, None),
            KeyData::SkEcdsaSha2NistP256(key) => {
                (p256(key.ec_point().as_bytes())?, Some(key.application()))
            }
            other => {
                let kind = other.algorithm().to_string();
                return Err(format!("keys of the kind {kind:?} are not supported; use {KINDS}"));
            }
        };
        if matches!(point, Point::Ed25519(point) if has_small_order(point)) {
            return Err("it is a weak key: everybody can sign with it".into());
        }
        let application = application.map(str::to_owned);
        Ok(Self { id: KeyId::of(blob), point, application })
    }

    /// The fingerprint.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Whether one private key belongs to both. That is the case for keys whose comment,
    /// or whose application, is different.
    pub(crate) fn has_same_point(&self, other: &Self) -> bool {
        self.point == other.point
    }

    /// The name of the kind, for example `ssh-ed25519`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.point, &self.application) {
            (Point::Ed25519(_), None) => "ssh-ed25519",
            (Point::Ed25519(_), Some(_)) => "sk-ssh-ed25519@openssh.com",
            (Point::P256(_), None) => "ecdsa-sha2-nistp256",
            (Point::P256(_), Some(_)) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// Verifies a signature of `message`. `trailer` is what follows a FIDO signature: flags and
    /// counter.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with "the signature".
    pub(crate) fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        trailer: &[u8],
    ) -> Result<(), &'static str> {
        let authenticated;
        let message = match &self.application {
            None => message,
            Some(application) => {
                if trailer.first().is_none_or(|flags| flags & USER_PRESENT == 0) {
                    return Err(
                        "was made without a touch of the authenticator (no-touch-required)",
                    );
                }
                let application = digest(&SHA256, application.as_bytes());
                let hash = digest(&SHA256, message);
                authenticated = [application.as_ref(), trailer, hash.as_ref()].concat();
                &authenticated
            }
        };
        let is_valid = match &self.point {
            Point::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
            }
            Point::P256(point) => {
                let signature = fixed(signature).ok_or("has numbers that are out of range")?;
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, &signature)
                    .is_ok()
            }
        };
        if is_valid { Ok(()) } else { Err("is not one of this statement") }
    }
}

/// A point of the curve P-256.
fn p256(point: &[u8]) -> Result<Point, String> {
    let uncompressed = point.try_into().map(Point::P256);
    uncompressed.map_err(|_| "its point is compressed, which OpenSSH does not support".to_owned())
}

/// Two numbers of SSH as the two of a fixed length that `ring` takes.
fn fixed(mut signature: &[u8]) -> Option<[u8; 64]> {
    let mut numbers = [0; 64];
    for half in numbers.chunks_exact_mut(32) {
        let number = Mpint::decode(&mut signature).ok()?;
        let bytes = number.as_positive_bytes()?;
        half.get_mut(32_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    }
    signature.is_finished().then_some(numbers)
}

/// Whether the point is one of the eight whose multiples are only themselves. For each message
/// there are signatures of these "keys" that need no private key.
fn has_small_order(mut point: [u8; 32]) -> bool {
    // y of the points of order 8; their negatives have the same.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    // The highest bit is the sign of x.
    point[31] &= 0x7f;
    // The others have y = 0, 1 or -1, also written as p, p + 1 and p - 1, with p = 2^255 - 19.
    let is_small = |first: u8, middle: u8, last: u8| {
        point[0] == first && point[31] == last && point[1..31].iter().all(|byte| *byte == middle)
    };
    ORDER_8.contains(&point)
        || is_small(0, 0, 0)
        || is_small(1, 0, 0)
        || (0xec..=0xee).any(|first| is_small(first, 0xff, 0x7f))
}

//! Public keys of the supported kinds, and the verification of their signatures with `ring`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use ssh_encoding::{Decode, Encode, Reader};
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Mpint, PublicKey as SshPublicKey};

/// The kinds of keys that are supported.
const KINDS: [&str; 4] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The flag of a FIDO signature for which somebody has touched the authenticator.
const USER_PRESENT: u8 = 0x01;

/// The fingerprint of a public key, as `ssh-keygen -l` prints it: `SHA256:…`. Serialized, it is
/// that text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
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
        check_kind(kind)?;
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
            other => return Err(not_supported(other.algorithm().as_str())),
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

/// Refuses other kinds of keys.
pub(crate) fn check_kind(kind: &str) -> Result<(), String> {
    if KINDS.contains(&kind) { Ok(()) } else { Err(not_supported(kind)) }
}

fn not_supported(kind: &str) -> String {
    format!("keys of the kind {kind:?} are not supported; use one of {}", KINDS.join(", "))
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

/// y of the points of order 8, of which there are two for each.
const ORDER_8: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether the point is one of the eight whose multiples are only themselves. For each message
/// there are signatures of these "keys" that need no private key.
fn has_small_order(mut point: [u8; 32]) -> bool {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::sshsig::push;
    use crate::testing::Signer;

    fn line(kind: &str, parts: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for part in parts {
            push(&mut blob, part);
        }
        format!("{kind} {}", STANDARD.encode(blob))
    }

    fn problem(line: &str) -> String {
        PublicKey::parse(line).unwrap_err()
    }

    #[test]
    fn keys_are_parsed_with_and_without_a_comment() {
        let signers = [
            Signer::ed25519(1),
            Signer::ecdsa_p256(),
            Signer::ed25519(1).in_authenticator("ssh:", 1),
            Signer::ecdsa_p256().in_authenticator("ssh:", 1),
        ];
        for (signer, kind) in signers.iter().zip(KINDS) {
            let line = signer.public_key_line();
            let key = PublicKey::parse(&line).unwrap();
            assert_eq!(key.kind(), kind);
            assert_eq!(key.id(), &signer.id());
            assert_eq!(PublicKey::parse(line.trim_end_matches(" test")).unwrap(), key);
            assert_eq!(PublicKey::parse(&format!("{line} at home, é")).unwrap(), key);
        }
    }

    #[test]
    fn what_is_not_exactly_a_key_is_refused() {
        let point = [7; 32];
        let good = line("ssh-ed25519", &[b"ssh-ed25519", &point]);
        PublicKey::parse(&good).unwrap();
        for wrong in
            ["", " ", "ssh-ed25519", "ssh-ed25519 ", &format!("{good}\nx"), &format!(" {good}")]
        {
            assert!(problem(wrong).contains("a line of a .pub file"), "{wrong}");
        }
        for kind in
            ["ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp384", "ssh-ed25519-cert-v01@openssh.com", "and"]
        {
            assert!(problem(&format!("{kind} AAAA")).contains("not supported"), "{kind}");
        }
        assert!(problem(&good.replace("ssh-ed25519 ", "ssh-ed25519 !")).contains("not Base64"));
        for wrong in [
            line("ssh-ed25519", &[b"ssh-ed25519", &point[1..]]),
            line("ssh-ed25519", &[b"ssh-ed25519", &[7; 33]]),
            line("ssh-ed25519", &[b"ssh-ed25519", &point, b""]),
            line("ssh-ed25519", &[b"ssh-ed25519"]),
            line("ssh-ed25519", &[b"ecdsa-sha2-nistp256", &point]),
            line("ecdsa-sha2-nistp256", &[b"ssh-ed25519", &point]),
            line("ecdsa-sha2-nistp256", &[b"ecdsa-sha2-nistp256", b"nistp384", &[4; 97]]),
            line("ecdsa-sha2-nistp256", &[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 64]]),
            line("sk-ssh-ed25519@openssh.com", &[b"sk-ssh-ed25519@openssh.com", &point]),
        ] {
            let problem = problem(&wrong);
            assert!(problem.starts_with("it is not a valid key"), "{problem}");
        }
        let compressed = [&[2][..], &[7; 32]].concat();
        let wrong =
            line("ecdsa-sha2-nistp256", &[b"ecdsa-sha2-nistp256", b"nistp256", &compressed]);
        assert!(problem(&wrong).contains("compressed"));
    }

    /// `ssh-key` does not compare the lengths of the parts with their content.
    #[test]
    fn a_length_that_is_too_large_is_refused() {
        for (kind, application) in
            [("ssh-ed25519", None), ("sk-ssh-ed25519@openssh.com", Some(b"ssh:"))]
        {
            let mut blob = Vec::new();
            push(&mut blob, kind.as_bytes());
            let length = blob.len() + 3;
            push(&mut blob, &[7; 32]);
            application.into_iter().for_each(|it| push(&mut blob, it));
            PublicKey::parse(&format!("{kind} {}", STANDARD.encode(&blob))).unwrap();
            blob[length] += 1;
            let problem = problem(&format!("{kind} {}", STANDARD.encode(&blob)));
            assert!(problem.contains("more bytes than its parts have"), "{problem}");
        }
    }

    #[test]
    fn numbers_of_a_signature_get_a_fixed_length() {
        let signature = |numbers: &[&[u8]]| {
            let mut signature = Vec::new();
            numbers.iter().for_each(|number| push(&mut signature, number));
            fixed(&signature)
        };
        let large = [&[0][..], &[0xff; 32]].concat();
        let numbers = signature(&[&[1, 2], &large]).unwrap();
        assert_eq!(numbers[..32], [&[0; 30][..], &[1, 2]].concat());
        assert_eq!(numbers[32..], [0xff; 32]);
        for wrong in [
            &[&[1][..]][..],
            &[&[1], &[2], &[3]],
            &[&[1], &[0x80]],
            &[&[1], &[]],
            &[&[1], &[0, 1]],
            &[&[1], &[1; 33]],
        ] {
            assert_eq!(signature(wrong), None, "{wrong:x?}");
        }
    }

    #[test]
    fn keys_with_which_everybody_can_sign_are_refused() {
        // The neutral element: S = 0 and R = the key is a signature of each message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let signature = [neutral, [0; 32]].concat();
        for message in [&b"a"[..], b"b"] {
            UnparsedPublicKey::new(&ED25519, neutral).verify(message, &signature).unwrap();
        }
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for point in [[0; 32], neutral, minus_one, ORDER_8[0], ORDER_8[1]] {
            for sign in [0, 0x80] {
                let mut point = point;
                point[31] |= sign;
                let wrong = line("ssh-ed25519", &[b"ssh-ed25519", &point]);
                assert!(problem(&wrong).contains("everybody can sign"), "{point:x?}");
                let kind = "sk-ssh-ed25519@openssh.com";
                let wrong = line(kind, &[kind.as_bytes(), &point, b"ssh:"]);
                assert!(problem(&wrong).contains("everybody can sign"), "{point:x?}");
            }
        }
    }
}

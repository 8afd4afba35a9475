//! Kinds of keys: which can be used, and why the others cannot.

use der::Tag;

use super::der::{Element, bits, elements, sequence};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The smallest and the largest RSA keys that can be used, in bits. The signatures of others
/// may have up to 8192.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
pub(super) const MIN_RSA_BITS: usize = 2048;

/// How to create a key that can be used.
const NEW_KEY: &str = "create a key of P-256, and a certificate for it: `openssl genpkey \
                       -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key`";

/// The public key of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// Its kind, such as `P-256` or `RSA with 2048 bits`.
    pub(super) name: String,
    /// The number of bits if it is an RSA key.
    pub(super) rsa_bits: Option<usize>,
}

impl PublicKey {
    /// Reads the content of a SubjectPublicKeyInfo.
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        let mut fields = elements(content);
        let (algorithm, key) = (fields.next()?, fields.next()?);
        if (algorithm.tag, key.tag) != (Tag::Sequence, Tag::BitString) {
            return None;
        }
        let [oid, parameters] = algorithm_of(algorithm.content)?;
        if oid != RSA {
            return Some(Self { name: name(oid, parameters), rsa_bits: None });
        }
        let bits = bits(sequence(key.content.get(1..)?)?.first()?.content);
        Some(Self { name: format!("RSA with {bits} bits"), rsa_bits: Some(bits) })
    }
}

/// The content of the object identifier, and that of the parameters.
fn algorithm_of(content: &[u8]) -> Option<[&[u8]; 2]> {
    let mut parts = elements(content);
    let oid = parts.next().filter(|oid| oid.tag == Tag::ObjectIdentifier)?;
    Some([oid.content, parts.next().map_or(&[], |parameters| parameters.content)])
}

/// What kind of key an algorithm is.
fn name(oid: &[u8], parameters: &[u8]) -> String {
    let curve = match parameters {
        P256 => "P-256",
        P384 => "P-384",
        [0x2b, 0x81, 4, 0, 0x23] => "P-521",
        [0x2b, 0x81, 4, 0, 0x21] => "P-224",
        [0x2b, 0x81, 4, 0, 0x0a] => "secp256k1",
        [0x2b, 0x24, 3, 3, 2, 8, 1, 1, ..] => "brainpool",
        [0x2a, 0x81, 0x1c, 0xcf, 0x55, ..] => "SM2",
        // The parameters are those of the curve, instead of its name.
        [2, ..] => "EC with explicit parameters",
        _ => "an unknown curve",
    };
    match oid {
        EC => curve,
        RSA => "RSA",
        ED25519 => "Ed25519",
        [0x2b, 0x65, 0x71] => "Ed448",
        [0x2b, 0x65, 0x6e | 0x6f] => "X25519 or X448, which cannot sign",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10] => "RSA-PSS",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 3, 1] => "Diffie-Hellman, which cannot sign",
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1] => "DSA",
        [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x11..=0x13] => "ML-DSA",
        other => return format!("unknown, {}", object_identifier(other)),
    }
    .into()
}

/// An object identifier with dots, such as `1.2.840.113549.1.1.5`.
pub(super) fn object_identifier(content: &[u8]) -> String {
    let (mut numbers, mut number) = (Vec::new(), 0_u64);
    for byte in content.iter().take(32) {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            match numbers.is_empty() {
                true => numbers.extend([(number / 40).min(2), number - 40 * (number / 40).min(2)]),
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// What a signature algorithm is called, by the content of its AlgorithmIdentifier or its
/// object identifier; and what is wrong with it.
pub(super) fn signature_algorithm(content: &[u8]) -> String {
    let oid = elements(content).next().filter(|first| first.tag == Tag::ObjectIdentifier);
    let oid = oid.map_or(content, |oid| oid.content);
    match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last] => match last {
            2 | 4 => "RSA with MD5, which is not secure",
            5 => "RSA with SHA-1, which is not secure",
            10 => "RSA-PSS with parameters that are not supported",
            14 => "RSA with SHA-224",
            _ => "RSA",
        },
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => "ECDSA with SHA-1, which is not secure",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last] => match last {
            1 => "ECDSA with SHA-224",
            4 => "ECDSA with SHA-512",
            _ => "ECDSA",
        },
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3] => "DSA with SHA-1",
        [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 1..=4] => "DSA",
        [0x2b, 0x65, 0x71] => "Ed448",
        other => return object_identifier(other),
    }
    .into()
}

/// A private key in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PrivateKey<'a> {
    /// RSA (PKCS#1): modulus and public exponent.
    Rsa { modulus: &'a [u8], exponent: &'a [u8] },
    /// EC (SEC 1): the content of the curve's parameters, if they are in it, and whether the
    /// public key is in it.
    Ec { curve: Option<&'a [u8]>, has_public: bool },
    /// DSA, as OpenSSL wrote it before version 1.0.
    Dsa,
    /// Any kind (PKCS#8): the algorithm and its parameters, and the key in its own encoding.
    Pkcs8 { oid: &'a [u8], parameters: &'a [u8], key: &'a [u8] },
    /// Encrypted (PKCS#8).
    Encrypted,
}

impl<'a> PrivateKey<'a> {
    /// Recognizes a private key.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let fields = sequence(der)?;
        let tags: Vec<_> = fields.iter().map(|field| field.tag).collect();
        Some(match (tags.as_slice(), fields.as_slice()) {
            ([Tag::Integer, Tag::Sequence, Tag::OctetString, ..], [_, algorithm, key, ..]) => {
                let [oid, parameters] = algorithm_of(algorithm.content)?;
                Self::Pkcs8 { oid, parameters, key: key.content }
            }
            ([Tag::Sequence, Tag::OctetString], [algorithm, _]) => {
                algorithm_of(algorithm.content)?;
                Self::Encrypted
            }
            ([Tag::Integer, Tag::OctetString, ..], [_, _, rest @ ..]) => {
                let tagged = |number| {
                    let is = |field: &&Element<'a>| field.tag.number().value() == number;
                    rest.iter().filter(|field| field.tag.is_context_specific()).find(is)
                };
                let curve = tagged(0).and_then(|field| elements(field.content).next());
                let curve = curve.map(|curve| curve.content);
                Self::Ec { curve, has_public: tagged(1).is_some() }
            }
            ([Tag::Integer, ..], fields) if tags.iter().all(|tag| *tag == Tag::Integer) => {
                match fields {
                    [_, _, _, _, _, _] => Self::Dsa,
                    [_, modulus, exponent, _, _, _, _, _, _] => {
                        Self::Rsa { modulus: modulus.content, exponent: exponent.content }
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// Why the key cannot be used, and what to do. `file` is the name of its file in a shell.
    pub(super) fn why_unusable(&self, file: &str) -> String {
        let kind = match *self {
            Self::Rsa { modulus, exponent } => {
                let bits = bits(modulus);
                if RSA_BITS.contains(&bits) && exponent.len() < 3 {
                    "RSA with a public exponent below 65537".into()
                } else {
                    format!(
                        "RSA with {bits} bits, and only {} to {} can be used",
                        RSA_BITS.start(),
                        RSA_BITS.end()
                    )
                }
            }
            Self::Ec { curve: Some(curve), .. } if ![P256, P384].contains(&curve) => {
                name(EC, curve)
            }
            Self::Ec { has_public: false, .. } => {
                return format!(
                    "the key has no public part, which is needed; add it: `openssl ec -in {file} \
                     -out new.key`"
                );
            }
            Self::Dsa => "DSA".into(),
            Self::Pkcs8 { oid, parameters, key } => match (oid, Self::read(key)) {
                (RSA, Some(key @ Self::Rsa { .. })) => return key.why_unusable(file),
                (EC, Some(key @ Self::Ec { .. })) if [P256, P384].contains(&parameters) => {
                    return key.why_unusable(file);
                }
                _ => name(oid, parameters),
            },
            Self::Encrypted => return "it is encrypted".into(),
            Self::Ec { .. } => "EC, and damaged".into(),
        };
        if kind.contains("explicit parameters") {
            return format!(
                "the key has the parameters of its curve instead of the name; write the name: \
                 `openssl ec -in {file} -param_enc named_curve -out new.key`"
            );
        }
        format!(
            "a key of this kind cannot be used: {kind}. RSA of 2048 to 4096 bits, P-256, P-384 and \
             Ed25519 can; {NEW_KEY}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_have_dots() {
        for (content, expected) in [
            (RSA, "1.2.840.113549.1.1.1"),
            (ED25519, "1.3.101.112"),
            (&[0x88, 0x37], "2.999"),
            (&[0x60, 0x86], "2.16"),
            (&[], ""),
        ] {
            assert_eq!(object_identifier(content), expected);
        }
        assert_eq!(object_identifier(&[0xff; 100]), "");
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_one() {
        for der in [&[][..], &[0x30, 0], &[0x30, 3, 2, 1, 0], &[0x30, 2, 0x30, 0], &[0x05, 0]] {
            assert_eq!(PrivateKey::read(der), None, "{der:?}");
        }
    }
}

//! Signs in software, for tests and benchmarks. Not for operators: their keys belong in an agent
//! or an authenticator, and `ssh-keygen -Y sign` uses those.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use ssh_key::{HashAlg, Mpint};

use crate::key::KeyId;
use crate::sshsig::{BEGIN, END, MAGIC, push, signed_data};
use crate::{Bundle, NAMESPACE, Statement};

/// The hash algorithm of a signature.
pub use ssh_key::HashAlg as Hash;

/// A key pair that signs.
pub struct Signer {
    pair: Pair,
    fido: Option<Fido>,
    /// The namespace of its signatures.
    pub namespace: String,
    /// The hash algorithm of its signatures.
    pub hash: Hash,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// What an authenticator adds.
struct Fido {
    application: String,
    flags: u8,
    counter: u32,
}

impl Signer {
    /// A key of the kind `ssh-ed25519`, which is always the same for a seed.
    #[must_use]
    pub fn ed25519(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("the length is right");
        Self::new(Pair::Ed25519(pair))
    }

    /// A new key of the kind `ecdsa-sha2-nistp256`.
    #[must_use]
    pub fn ecdsa_p256() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("there is randomness");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random);
        Self::new(Pair::P256(pair.expect("it was just generated")))
    }

    fn new(pair: Pair) -> Self {
        Self { pair, fido: None, namespace: NAMESPACE.to_owned(), hash: HashAlg::Sha512 }
    }

    /// The same key pair in an authenticator: of the kind `sk-…@openssh.com`. It signs with these
    /// flags; 1 is for user presence.
    #[must_use]
    pub fn in_authenticator(mut self, application: &str, flags: u8) -> Self {
        self.fido = Some(Fido { application: application.to_owned(), flags, counter: 7 });
        self
    }

    fn kind(&self) -> &'static str {
        match (&self.pair, &self.fido) {
            (Pair::Ed25519(_), None) => "ssh-ed25519",
            (Pair::Ed25519(_), Some(_)) => "sk-ssh-ed25519@openssh.com",
            (Pair::P256(_), None) => "ecdsa-sha2-nistp256",
            (Pair::P256(_), Some(_)) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The public key in SSH's binary format.
    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        push(&mut blob, self.kind().as_bytes());
        match &self.pair {
            Pair::Ed25519(pair) => push(&mut blob, pair.public_key().as_ref()),
            Pair::P256(pair) => {
                push(&mut blob, b"nistp256");
                push(&mut blob, pair.public_key().as_ref());
            }
        }
        if let Some(fido) = &self.fido {
            push(&mut blob, fido.application.as_bytes());
        }
        blob
    }

    /// The line for a trust file.
    #[must_use]
    pub fn public_key_line(&self) -> String {
        format!("{} {} test", self.kind(), STANDARD.encode(self.blob()))
    }

    /// The fingerprint.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.blob())
    }

    /// Signs a statement, as `ssh-keygen -Y sign` does.
    #[must_use]
    pub fn sign(&self, statement: &[u8]) -> String {
        armour(&self.sign_blob(statement))
    }

    /// The signature without its armour.
    #[must_use]
    pub fn sign_blob(&self, statement: &[u8]) -> Vec<u8> {
        let message = signed_data(&self.namespace, self.hash, statement);
        let mut trailer = Vec::new();
        let message = match &self.fido {
            None => message,
            Some(Fido { application, flags, counter }) => {
                trailer.push(*flags);
                trailer.extend(counter.to_be_bytes());
                let application = digest(&SHA256, application.as_bytes());
                [application.as_ref(), &trailer, digest(&SHA256, &message).as_ref()].concat()
            }
        };
        let mut signature = Vec::new();
        push(&mut signature, self.kind().as_bytes());
        push(&mut signature, &self.sign_message(&message));
        signature.extend(trailer);

        let mut blob = MAGIC.to_vec();
        blob.extend(1_u32.to_be_bytes());
        for part in [
            &self.blob()[..],
            self.namespace.as_bytes(),
            b"",
            self.hash.as_str().as_bytes(),
            &signature,
        ] {
            push(&mut blob, part);
        }
        blob
    }

    fn sign_message(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).expect("ring signs");
                let mut numbers = Vec::new();
                for half in signature.as_ref().chunks(32) {
                    let number = Mpint::from_positive_bytes(half).expect("it is positive");
                    push(&mut numbers, number.as_bytes());
                }
                numbers
            }
        }
    }
}

/// Puts the armour around a signature.
#[must_use]
pub fn armour(blob: &[u8]) -> String {
    let base64 = STANDARD.encode(blob);
    let mut text = format!("{BEGIN}\n");
    for line in base64.as_bytes().chunks(70) {
        text += &String::from_utf8_lossy(line);
        text.push('\n');
    }
    text + END + "\n"
}

/// A bundle of a statement, with the hash of the payload put in, signed by all signers.
#[must_use]
pub fn bundle(statement: &Statement, payload: &[u8], signers: &[&Signer]) -> Vec<u8> {
    let statement = Statement { payload_sha256: crate::sha256(payload), ..statement.clone() };
    let statement = statement.to_bytes();
    let signatures = signers.iter().map(|signer| signer.sign(&statement)).collect();
    Bundle { statement, payload: payload.to_vec(), signatures }.to_json()
}

/// A trust file of the fleet `prod-eu` with version 1. The threshold of each role is `threshold`,
/// or the number of its keys, if that is lower.
#[must_use]
pub fn trust_file(threshold: usize, root: &[&Signer], release: &[&Signer]) -> String {
    let keys = |signers: &[&Signer]| {
        let lines: Vec<_> = signers.iter().map(|signer| signer.public_key_line()).collect();
        format!("{{threshold: {}, keys: {lines:?}}}", threshold.min(lines.len()))
    };
    format!(
        "fleet: prod-eu\nversion: 1\nmin_serial: 0\nrequire: [manifest/apply, manifest/delete, \
         manifest/rollback, state/update]\nroles:\n  root: {}\
         \n  release: {}\n",
        keys(root),
        keys(release)
    )
}

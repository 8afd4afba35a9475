//! Keys and signatures of the real `ssh-keygen`, made while the tests run. In the other direction,
//! it verifies the signatures of the software authenticator, since no hardware is at hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{PAYLOAD, open, parse, refused, statement};
use fleet_trust::testing::{Hash, Signer};
use fleet_trust::{Bundle, NAMESPACE, PublicKey, Reason, TrustFile};
use tempfile::TempDir;

/// Keys in a directory of their own.
struct Keys(TempDir);

/// Keys, or `None` without `ssh-keygen`. Says so then, and panics if `FAIL_ON_SKIP` is set.
fn keys(test: &str) -> Option<Keys> {
    if Command::new("ssh-keygen").arg("-?").output().is_ok() {
        return Some(Keys(tempfile::tempdir().unwrap()));
    }
    let message = format!("\nSKIPPED {test}: ssh-keygen is not installed\n");
    assert!(std::env::var_os("FAIL_ON_SKIP").is_none(), "{message}(FAIL_ON_SKIP is set)");
    // Past the output capture of the test harness.
    let _ = std::io::stderr().write_all(message.as_bytes());
    None
}

fn run(command: &mut Command, input: &[u8]) -> Result<String, String> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // It may end before it reads all of its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

impl Keys {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a key pair, and returns the line of its public key.
    fn generate(&self, name: &str, options: &[&str]) -> String {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", name, "-f"]).arg(self.path(name)).args(options);
        run(&mut command, b"").unwrap();
        let line = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        line.trim_end().to_owned()
    }

    fn sign(&self, file: &str, namespace: &str, options: &[&str], message: &[u8]) -> String {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "sign", "-n", namespace, "-f"]).arg(self.path(file)).args(options);
        run(&mut command, message).unwrap()
    }
}

fn trust(lines: &[&str]) -> TrustFile {
    let keys = format!("{lines:?}");
    let count = lines.len();
    parse(&format!(
        "fleet: prod-eu\nversion: 1\nroles:\n  root: {{threshold: {count}, keys: {keys}}}\n  \
         release: {{threshold: {count}, keys: {keys}}}\n"
    ))
}

fn bundle(signatures: Vec<String>) -> Vec<u8> {
    Bundle { statement: statement().to_bytes(), payload: PAYLOAD.into(), signatures }.to_json()
}

/// What `ssh-keygen -l` prints for a file.
fn fingerprint(path: &Path) -> String {
    let mut command = Command::new("ssh-keygen");
    let line = run(command.arg("-lf").arg(path), b"").unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn signatures_of_ed25519_and_p256_are_accepted_with_both_hashes() {
    let Some(keys) = keys("signatures_of_ed25519_and_p256_are_accepted_with_both_hashes") else {
        return;
    };
    let alice = keys.generate("alice", &["-t", "ed25519"]);
    let bob = keys.generate("bob", &["-t", "ecdsa", "-b", "256"]);
    let trust = trust(&[&alice, &bob]);
    let bytes = statement().to_bytes();
    for options in [&[][..], &["-O", "hashalg=sha256"], &["-O", "hashalg=sha512"]] {
        let signatures = ["alice", "bob"].map(|name| keys.sign(name, NAMESPACE, options, &bytes));
        let opened = open(&bundle(signatures.to_vec()), &trust).unwrap();
        let mut expected = ["alice.pub", "bob.pub"].map(|file| fingerprint(&keys.path(file)));
        expected.sort();
        let signed_by: Vec<_> = opened.signed_by.iter().map(ToString::to_string).collect();
        assert_eq!(signed_by, expected);
    }
    // The numbers of ECDSA have different lengths.
    for _ in 0..50 {
        let signatures = ["alice", "bob"].map(|name| keys.sign(name, NAMESPACE, &[], &bytes));
        open(&bundle(signatures.to_vec()), &trust).unwrap();
    }
}

#[test]
fn signatures_for_another_namespace_are_refused() {
    let Some(keys) = keys("signatures_for_another_namespace_are_refused") else { return };
    let alice = keys.generate("alice", &["-t", "ed25519"]);
    let signature = keys.sign("alice", "file", &[], &statement().to_bytes());
    let refusal = refused(Reason::Malformed, open(&bundle(vec![signature]), &trust(&[&alice])));
    assert!(refusal.message.contains("made for the namespace \"file\""), "{refusal}");
}

#[test]
fn other_kinds_of_keys_are_refused() {
    let Some(keys) = keys("other_kinds_of_keys_are_refused") else { return };
    let alice = keys.generate("alice", &["-t", "ed25519"]);
    for (name, kind, options) in [
        ("rsa", "ssh-rsa", &["-t", "rsa", "-b", "2048"][..]),
        ("p384", "ecdsa-sha2-nistp384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", "ecdsa-sha2-nistp521", &["-t", "ecdsa", "-b", "521"]),
    ] {
        let line = keys.generate(name, options);
        let problem = PublicKey::parse(&line).unwrap_err();
        assert!(problem.contains(&format!("{kind:?} are not supported; use one of ")), "{problem}");

        let signature = keys.sign(name, NAMESPACE, &[], &statement().to_bytes());
        let refusal =
            refused(Reason::UnknownKey, open(&bundle(vec![signature]), &trust(&[&alice])));
        let message =
            format!("signature 1: keys of the kind {kind:?} are not supported; use one of ");
        assert!(refusal.message.starts_with(&message), "{refusal}");
        let id = refusal.keys.first().unwrap().to_string();
        assert_eq!(id, fingerprint(&keys.path(&format!("{name}.pub"))));
    }
}

/// A certificate says for whom an authority has signed a key. The trust file says that here.
#[test]
fn certificates_are_refused() {
    let Some(keys) = keys("certificates_are_refused") else { return };
    let alice = keys.generate("alice", &["-t", "ed25519"]);
    keys.generate("authority", &["-t", "ed25519"]);
    let mut command = Command::new("ssh-keygen");
    command.arg("-q").arg("-s").arg(keys.path("authority")).args(["-I", "alice", "-n", "alice"]);
    run(command.arg(keys.path("alice.pub")), b"").unwrap();
    let line = std::fs::read_to_string(keys.path("alice-cert.pub")).unwrap();
    let problem = PublicKey::parse(line.trim_end()).unwrap_err();
    assert!(problem.contains("ssh-ed25519-cert-v01@openssh.com"), "{problem}");

    let signature = keys.sign("alice-cert.pub", NAMESPACE, &[], &statement().to_bytes());
    let refusal = refused(Reason::UnknownKey, open(&bundle(vec![signature]), &trust(&[&alice])));
    assert!(refusal.message.contains("ssh-ed25519-cert-v01@openssh.com"), "{refusal}");
}

/// OpenSSH verifies the signatures of the signer of the tests, also those of its authenticator:
/// so the tests with FIDO keys use the format of OpenSSH.
#[test]
fn ssh_keygen_verifies_the_signatures_of_the_software_authenticator() {
    let Some(keys) = keys("ssh_keygen_verifies_the_signatures_of_the_software_authenticator")
    else {
        return;
    };
    let mut signers = [
        Signer::ed25519(1),
        Signer::ecdsa_p256(),
        Signer::ed25519(2).in_authenticator("ssh:", 1),
        Signer::ecdsa_p256().in_authenticator("ssh:fleet", 5),
    ];
    let message = statement().to_bytes();
    for signer in &mut signers {
        let line = signer.public_key_line();
        std::fs::write(keys.path("key.pub"), &line).unwrap();
        std::fs::write(keys.path("allowed"), format!("test {line}\n")).unwrap();
        assert_eq!(fingerprint(&keys.path("key.pub")), signer.id().to_string());
        assert_eq!(PublicKey::parse(&line).unwrap().id(), &signer.id());
        for hash in [Hash::Sha256, Hash::Sha512] {
            signer.hash = hash;
            std::fs::write(keys.path("signature"), signer.sign(&message)).unwrap();
            let verify = |message: &[u8]| {
                let mut command = Command::new("ssh-keygen");
                command.args(["-Y", "verify", "-I", "test", "-n", NAMESPACE]);
                command.arg("-f").arg(keys.path("allowed")).arg("-s").arg(keys.path("signature"));
                run(&mut command, message)
            };
            let output = verify(&message).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(output.starts_with("Good "), "{output}");
            assert!(verify(b"{}").is_err());
        }
    }
}

//! Signatures: only what the signer has made is accepted, and only as OpenSSH writes it.

use crate::common::{PAYLOAD, open, refused, statement, trust, with_signatures};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet_trust::Reason;
use fleet_trust::testing::{Signer, armour, bundle};

#[test]
fn a_wrong_signature_is_never_treated_as_none() {
    let (alice, bob) = (Signer::ed25519(1), Signer::ed25519(2));
    let trust = trust(1, &[&alice, &bob], &[&alice, &bob]);
    let good = alice.sign(&statement().to_bytes());
    open(&with_signatures(vec![good.clone()]), &trust).unwrap();
    for wrong in [
        String::new(),
        " ".into(),
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n".into(),
        "-----BEGIN SSH SIGNATURE----------END SSH SIGNATURE-----".into(),
        good.replace("SSH SIGNATURE", "SIGNATURE"),
        good.replace("END SSH", "END  SSH"),
        format!("-----BEGIN X-----\n-----END X-----\n{good}"),
        format!("{good}{good}"),
        armour(b""),
        armour(b"SSHSIG"),
        // Of another statement.
        bob.sign(b"{}"),
    ] {
        for signatures in [vec![wrong.clone()], vec![good.clone(), wrong.clone()]] {
            refused(Reason::Malformed, open(&with_signatures(signatures), &trust));
        }
    }
    let refusal =
        refused(Reason::Malformed, open(&with_signatures(vec![good, bob.sign(b"{}")]), &trust));
    assert_eq!(refusal.keys, [bob.id()]);
    assert!(refusal.message.starts_with("signature 2, by SHA256:"), "{refusal}");
}

/// In particular no bits of the parts are without meaning, and no lengths that are too large.
#[test]
fn each_bit_of_a_signature_counts() {
    let signers = [
        Signer::ed25519(1),
        Signer::ecdsa_p256(),
        Signer::ed25519(2).in_authenticator("ssh:", 1),
        Signer::ecdsa_p256().in_authenticator("ssh:", 1),
    ];
    for signer in &signers {
        let trust = trust(1, &[signer], &[signer]);
        let blob = signer.sign_blob(&statement().to_bytes());
        let check = |blob: &[u8]| open(&with_signatures(vec![armour(blob)]), &trust);
        check(&blob).unwrap();
        for bit in 0..8 * blob.len() {
            let mut changed = blob.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refusal = check(&changed).err().unwrap_or_else(|| panic!("bit {bit} of {blob:x?}"));
            assert!(matches!(refusal.reason, Reason::Malformed | Reason::UnknownKey), "{refusal}");
        }
        for position in 0..=blob.len() {
            let mut longer = blob.clone();
            longer.insert(position, 0);
            assert!(check(&longer).is_err(), "byte at {position} of {blob:x?}");
            assert!(position == blob.len() || check(&blob[..position]).is_err());
        }
    }
}

/// What the key does not sign must not carry anything: nobody could tell who has added it.
#[test]
fn what_is_not_signed_must_be_as_openssh_writes_it() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let blob = alice.sign_blob(&statement().to_bytes());
    let check = |blob: Vec<u8>| open(&with_signatures(vec![armour(&blob)]), &trust);
    check(blob.clone()).unwrap();

    // Between the namespace and the hash algorithm is the reserved part.
    let hash = blob.windows(6).position(|window| window == b"sha512").unwrap() - 4;
    let reserved = [&blob[..hash - 4], &[0, 0, 0, 1, 7], &blob[hash..]].concat();
    let refusal = refused(Reason::Malformed, check(reserved));
    assert!(refusal.message.contains("reserved"), "{refusal}");

    // The signature is the last part, and ends with its 64 bytes.
    let bytes = &blob[blob.len() - 64..];
    let label = b"rsa-sha2-256";
    let part = [&[0, 0, 0, 12][..], label, &[0, 0, 0, 64], bytes].concat();
    let before = hash + 4 + 6;
    let relabelled = [&blob[..before], &[0, 0, 0, part.len() as u8], &part].concat();
    let refusal = refused(Reason::Malformed, check(relabelled));
    assert!(refusal.message.contains("the algorithm is not that of the key"), "{refusal}");
}

#[test]
fn line_breaks_of_the_armour_do_not_matter_and_other_characters_do() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let good = alice.sign(&statement().to_bytes());
    let check = |armoured: String| open(&with_signatures(vec![armoured]), &trust);
    check(good.replace('\n', "\r\n")).unwrap();
    check(good.trim_end().to_owned()).unwrap();
    let base64 = STANDARD.encode(alice.sign_blob(&statement().to_bytes()));
    let lines = |base64: &str| {
        format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----")
    };
    check(lines(&base64)).unwrap();
    check(lines(&base64.replace('U', "U\n"))).unwrap();
    for wrong in [
        base64.replacen('U', "U ", 1),
        base64.replacen('U', "U\u{a0}", 1),
        base64.trim_end_matches('=').to_owned(),
        format!("{base64}="),
        format!("Comment: x\n\n{base64}"),
    ] {
        assert_ne!(wrong, base64);
        refused(Reason::Malformed, check(lines(&wrong)));
    }
}

#[test]
fn wrong_namespace() {
    for namespace in ["file", "git", "", "fleet-connector/v2", "fleet-connector/v1\0"] {
        let mut alice = Signer::ed25519(1);
        alice.namespace = namespace.to_owned();
        let trust = trust(1, &[&alice], &[&alice]);
        let refusal =
            refused(Reason::Malformed, open(&bundle(&statement(), PAYLOAD, &[&alice]), &trust));
        let hint = "sign with ssh-keygen -Y sign -n fleet-connector/v1";
        assert!(namespace.is_empty() || refusal.message.contains(hint), "{refusal}");
    }
}

#[test]
fn an_authenticator_must_have_been_touched_for_the_application_of_the_key() {
    for key in [|| Signer::ed25519(1), || Signer::ecdsa_p256()] {
        for flags in [0, 4, 0xfe] {
            let untouched = key().in_authenticator("ssh:", flags);
            let trust = trust(1, &[&untouched], &[&untouched]);
            let bytes = bundle(&statement(), PAYLOAD, &[&untouched]);
            let refusal = refused(Reason::Malformed, open(&bytes, &trust));
            assert!(refusal.message.contains("without a touch"), "{refusal}");
        }
    }
    // The same private key, for another application and without an authenticator.
    let touched = Signer::ed25519(1).in_authenticator("ssh:", 1);
    let trust = trust(1, &[&touched], &[&touched]);
    for other in [Signer::ed25519(1).in_authenticator("ssh:other", 1), Signer::ed25519(1)] {
        refused(Reason::UnknownKey, open(&bundle(&statement(), PAYLOAD, &[&other]), &trust));
    }
    // A signature for another application, sent as one of the key.
    let other = Signer::ed25519(1).in_authenticator("ssx:", 1);
    let blob = other.sign_blob(&statement().to_bytes());
    let application = blob.windows(4).position(|window| window == b"ssx:").unwrap();
    let forged = [&blob[..application], b"ssh:", &blob[application + 4..]].concat();
    let refusal = refused(Reason::Malformed, open(&with_signatures(vec![armour(&forged)]), &trust));
    assert!(refusal.message.contains("is not one of this statement"), "{refusal}");
}

#[test]
fn a_thousand_signatures() {
    let alice = Signer::ed25519(1);
    let trust = trust(1, &[&alice], &[&alice]);
    let good = alice.sign(&statement().to_bytes());
    open(&with_signatures(vec![good.clone(); 8]), &trust).unwrap();
    for count in [9, 1000] {
        let refusal =
            refused(Reason::Malformed, open(&with_signatures(vec![good.clone(); count]), &trust));
        assert!(refusal.message.contains("more than 8 signatures"), "{refusal}");
    }
    let long = vec![good.replacen('\n', &"\n".repeat(5000), 1)];
    let refusal = refused(Reason::Malformed, open(&with_signatures(long), &trust));
    assert!(refusal.message.contains("more than 4096 bytes"), "{refusal}");
}

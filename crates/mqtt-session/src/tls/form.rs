//! What a file is that does not contain what is looked for, and how to convert it.

use der::Tag;

use super::der::sequence;
use super::keys::PrivateKey;
use super::pem::Block;
use super::x509::Certificate;

/// What is looked for in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Certificates of authorities.
    Authorities,
    /// The client certificate.
    Certificate,
    /// Its private key.
    Key,
}

/// What a file, or a block of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Certificate,
    /// A certificate with OpenSSL's own settings of trust.
    TrustedCertificate,
    Request,
    RevocationList,
    PrivateKey,
    EncryptedKey,
    PublicKey,
    Pkcs7,
    Pkcs12,
    SshKey,
    SshPublicKey,
    PuttyKey,
    JavaKeyStore,
    Parameters,
    TpmKey,
    Pgp,
    WebPage,
    Json,
    Archive,
}

const MIN_BASE64: usize = 64;

impl Wanted {
    /// What the file does not contain.
    pub(super) fn missing(self) -> &'static str {
        match self {
            Self::Authorities | Self::Certificate => "it contains no certificate in PEM format",
            Self::Key => "it contains no private key in PEM format",
        }
    }
}

/// The line and the reason if a file has no block that is looked for. `file` is its name in a
/// shell.
pub(super) fn instead(
    content: &[u8],
    blocks: &[Block<'_>],
    file: &str,
    wanted: Wanted,
) -> (Option<usize>, String) {
    let missing = wanted.missing();
    let said = |line, what: String| (line, format!("{missing}: {what}"));
    if content.trim_ascii().is_empty() {
        return said(None, "the file is empty; copy it again".into());
    }
    if is_utf_16(content) {
        let convert = format!("`iconv -f UTF-16 -t UTF-8 {file} > new.pem`");
        return said(None, format!("it is encoded in UTF-16; convert it to UTF-8: {convert}"));
    }
    if let Some(block) = blocks.first() {
        let Some(kind) = of_label(block.label) else {
            let what =
                format!("a block {:?} is not what is needed here; {}", block.label, ask(wanted));
            return said(None, what);
        };
        return said(None, advice(kind, false, file, wanted));
    }
    if let Some(kind) = of_der(content) {
        return said(None, advice(kind, true, file, wanted));
    }
    let text = String::from_utf8_lossy(content);
    if let Some((line, what)) = damaged_begin(&text) {
        return said(Some(line), what);
    }
    if let Some(kind) = of_first_bytes(content) {
        return said(None, advice(kind, true, file, wanted));
    }
    if content.starts_with(&[0x30, 0x82]) || content.starts_with(&[0x30, 0x81]) {
        let what = "it is a binary file (DER) that is cut off or damaged; copy it again";
        return said(None, what.into());
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    if content.starts_with(b"MI") && content.len() > MIN_BASE64 && content.iter().all(is_base64) {
        let label = if wanted == Wanted::Key { "PRIVATE KEY" } else { "CERTIFICATE" };
        let what = format!(
            "its BEGIN and END lines are missing; add them: `(echo '-----BEGIN {label}-----'; fold \
             -w 64 {file}; echo; echo '-----END {label}-----') > new.pem`"
        );
        return said(Some(1), what);
    }
    said(None, format!("it has no BEGIN line; {}", ask(wanted)))
}

/// What a certificate block contains if that is no certificate.
pub(super) fn instead_of_certificate(der: &[u8], file: &str, wanted: Wanted) -> String {
    match of_der(der).filter(|kind| *kind != Kind::Certificate) {
        Some(kind) => {
            let wrong = "it is called a certificate, but is something else";
            // OpenSSL refuses the wrong name as well.
            let decoded = format!(
                "decode it first: `sed '/-----/d' {file} | openssl base64 -d -out new.der`"
            );
            format!("{wrong}; {decoded}; {}", advice(kind, true, "new.der", wanted))
        }
        None => "its content is not a certificate, or is cut off; copy the file again".into(),
    }
}

/// The advice for an encrypted private key.
pub(super) fn encrypted(file: &str) -> String {
    advice(Kind::EncryptedKey, false, file, Wanted::Key)
}

/// The advice for a certificate with OpenSSL's settings of trust.
pub(super) fn trusted(block: &Block<'_>, file: &str, wanted: Wanted) -> Option<String> {
    let kind = of_label(block.label).filter(|kind| *kind == Kind::TrustedCertificate)?;
    Some(advice(kind, false, file, wanted))
}

/// Which file to name.
fn ask(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Authorities => "MQTT_CA_FILE must be the certificate of the broker's CA",
        Wanted::Certificate => "MQTT_CERT_FILE must be the certificate of this vehicle",
        Wanted::Key => "MQTT_KEY_FILE must be the private key that the certificate is for",
    }
}

/// What to do about a file of this kind, in PEM or `binary`.
fn advice(kind: Kind, binary: bool, file: &str, wanted: Wanted) -> String {
    let is_key = wanted == Wanted::Key;
    let form = if binary { "-inform DER " } else { "" };
    let what = match kind {
        Kind::Certificate if is_key => {
            "but a certificate; are MQTT_CERT_FILE and MQTT_KEY_FILE swapped?"
        }
        Kind::Certificate => {
            return format!(
                "it is a certificate in DER, a binary format; convert it: `openssl x509 {form}-in \
                 {file} -out new.pem`"
            );
        }
        Kind::TrustedCertificate if is_key => "but a certificate",
        Kind::TrustedCertificate => {
            return format!(
                "it has OpenSSL's own format TRUSTED CERTIFICATE; convert it: `openssl x509 -in \
                 {file} -out new.pem`"
            );
        }
        Kind::Request => {
            return format!(
                "but a request for a certificate (CSR); {}",
                if is_key {
                    "the key is in the file that was created with it"
                } else {
                    "the CA creates the certificate from it: `openssl x509 -req -in request.pem -CA \
                     ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile vehicle.ext -out \
                     new.pem`"
                }
            );
        }
        Kind::RevocationList => "but a list of revoked certificates (CRL)",
        Kind::PrivateKey if is_key => {
            return format!(
                "it is a private key in DER, a binary format; convert it: `openssl pkey {form}-in \
                 {file} -out new.key`"
            );
        }
        Kind::PrivateKey if wanted == Wanted::Certificate => {
            "but a private key; are MQTT_CERT_FILE and MQTT_KEY_FILE swapped?"
        }
        Kind::PrivateKey | Kind::EncryptedKey if !is_key => "but a private key",
        Kind::PrivateKey | Kind::EncryptedKey => {
            return format!(
                "the private key is encrypted, and nobody can type its password on a vehicle; \
                 decrypt it, and protect the file by its mode: `openssl pkey {form}-in {file} -out \
                 new.key`"
            );
        }
        Kind::PublicKey => "but a public key",
        Kind::Pkcs7 if is_key => "but PKCS#7, which has certificates only",
        Kind::Pkcs7 => {
            return format!(
                "it is PKCS#7, certificates in another container; extract them: `openssl pkcs7 \
                 {form}-in {file} -print_certs -out new.pem`"
            );
        }
        Kind::Pkcs12 => {
            let (what, options, out) = match wanted {
                Wanted::Authorities => ("the CA certificates", "-cacerts -nokeys", "new.pem"),
                Wanted::Certificate => ("the certificate", "-clcerts -nokeys", "new.pem"),
                Wanted::Key => ("the key", "-nocerts -nodes", "new.key"),
            };
            return format!(
                "it is PKCS#12 (PFX), which has certificate and key in a binary file; extract \
                 {what}: `openssl pkcs12 -in {file} {options} -out {out}` (an old file also needs \
                 -legacy)"
            );
        }
        Kind::SshKey if is_key => {
            return format!(
                "it is a key of OpenSSH; if a certificate was made for it, convert it in place: \
                 `ssh-keygen -p -m PKCS8 -N '' -f {file}`; {}",
                ask(wanted)
            );
        }
        Kind::SshKey => "but a key of OpenSSH",
        Kind::SshPublicKey => "but a public key of OpenSSH",
        Kind::PuttyKey => "but a key of PuTTY",
        Kind::JavaKeyStore => {
            return format!(
                "it is a key store of Java; convert it, and extract from new.p12 with `openssl \
                 pkcs12`: `keytool -importkeystore -srckeystore {file} -destkeystore new.p12 \
                 -deststoretype PKCS12`"
            );
        }
        Kind::Parameters => "but only parameters of keys, which are public",
        Kind::TpmKey => {
            "but a key that only a TPM can use, which is not supported; it needs a key in the file"
        }
        Kind::Pgp => "but something of PGP",
        Kind::WebPage => "but a web page; the download has failed",
        Kind::Json => "but JSON; write the value of the certificate or key alone to the file",
        Kind::Archive => "but a compressed file or an archive; extract it",
    };
    format!("{what}; {}", ask(wanted))
}

/// What the label of a PEM block says.
fn of_label(label: &str) -> Option<Kind> {
    Some(match label {
        "CERTIFICATE" => Kind::Certificate,
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => Kind::TrustedCertificate,
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Kind::Request,
        "X509 CRL" => Kind::RevocationList,
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "EC PUBLIC KEY" | "DSA PUBLIC KEY" => Kind::PublicKey,
        "ENCRYPTED PRIVATE KEY" => Kind::EncryptedKey,
        "OPENSSH PRIVATE KEY" | "SSH2 ENCRYPTED PRIVATE KEY" => Kind::SshKey,
        "TSS2 PRIVATE KEY" | "TSS PRIVATE KEY" => Kind::TpmKey,
        "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => Kind::Pkcs7,
        "PKCS12" => Kind::Pkcs12,
        other if other.starts_with("PGP ") => Kind::Pgp,
        other if other.ends_with("PARAMETERS") => Kind::Parameters,
        other if other.ends_with("PRIVATE KEY") => Kind::PrivateKey,
        _ => return None,
    })
}

/// What a binary file is.
fn of_der(der: &[u8]) -> Option<Kind> {
    /// PKCS#7 with signed data.
    const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let fields = sequence(der)?;
    let tags: Vec<_> = fields.iter().map(|field| field.tag).collect();
    let first = fields.first()?;
    if first.content == SIGNED_DATA {
        return Some(Kind::Pkcs7);
    }
    Some(match tags.as_slice() {
        [Tag::Integer, Tag::Sequence] | [Tag::Integer, Tag::Sequence, Tag::Sequence]
            if first.content == [3] =>
        {
            Kind::Pkcs12
        }
        [Tag::Sequence, Tag::BitString] => Kind::PublicKey,
        [Tag::Integer, Tag::Integer] => Kind::PublicKey,
        [Tag::Sequence, Tag::Sequence, Tag::BitString] => {
            let inner: Vec<_> =
                super::der::elements(first.content).map(|field| field.tag).collect();
            match inner.as_slice() {
                _ if Certificate::read(der).is_some() => Kind::Certificate,
                [Tag::Integer, Tag::Sequence, Tag::Sequence, ..] if inner.len() <= 4 => {
                    Kind::Request
                }
                _ => Kind::RevocationList,
            }
        }
        _ => match PrivateKey::read(der)? {
            PrivateKey::Encrypted => Kind::EncryptedKey,
            _ => Kind::PrivateKey,
        },
    })
}

/// What the first bytes say.
fn of_first_bytes(content: &[u8]) -> Option<Kind> {
    let text = content.trim_ascii_start();
    let starts = |starts: &[&[u8]]| starts.iter().any(|start| text.starts_with(start));
    Some(match () {
        () if starts(&[&[0xfe, 0xed, 0xfe, 0xed]]) => Kind::JavaKeyStore,
        // The indefinite lengths of BER: some programs write PKCS#12 with them.
        () if starts(&[&[0x30, 0x80]]) => Kind::Pkcs12,
        () if starts(&[b"PuTTY-User-Key-File"]) => Kind::PuttyKey,
        () if starts(&[b"ssh-", b"ecdsa-sha2-", b"---- BEGIN SSH2"]) => Kind::SshPublicKey,
        () if starts(&[b"<"]) => Kind::WebPage,
        () if starts(&[b"{", b"["]) => Kind::Json,
        () if starts(&[b"PK\x03\x04", &[0x1f, 0x8b], b"BZh", b"\xfd7zXZ"]) => Kind::Archive,
        () => return None,
    })
}

/// A line that looks like BEGIN and is not.
fn damaged_begin(text: &str) -> Option<(usize, String)> {
    const LABELS: [&str; 4] = ["CERTIFICATE", "PRIVATE KEY", "PUBLIC KEY", "PKCS7"];
    let found = text.lines().zip(1..).find_map(|(line, number)| {
        let label = LABELS.iter().find(|label| line.contains(*label))?;
        line.to_uppercase().contains("BEGIN").then_some((number, *label))
    });
    let (line, label) = found?;
    let what = format!(
        "this line must be exactly {:?}, with five hyphens on each side; copy the file again",
        format!("-----BEGIN {label}-----")
    );
    Some((line, what))
}

fn is_utf_16(content: &[u8]) -> bool {
    content.starts_with(&[0xff, 0xfe])
        || content.starts_with(&[0xfe, 0xff])
        || content.starts_with(b"-\0-\0")
        || content.starts_with(b"\0-\0-")
}

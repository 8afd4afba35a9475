//! Files of certificates and keys as people have them, made by `openssl`: what is wrong with
//! each, and that the command in the message corrects it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::process::Command;

use mqtt_session::{Identity, Tls};
use tempfile::TempDir;

/// A folder with the files of a CA, `ca.pem`, and of a vehicle, `car.pem` and `car.key`.
struct Files(TempDir);

/// The files of the settings `MQTT_CA_FILE`, `MQTT_CERT_FILE` and `MQTT_KEY_FILE`.
const RIGHT: [&str; 3] = ["ca.pem", "car.pem", "car.key"];

const CREATE: &str = "
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=Fleet \
        -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=1 \
        -keyout car.key -out car.csr
    echo basicConstraints=CA:FALSE > vehicle.ext
    openssl x509 -req -in car.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
        -extfile vehicle.ext -out car.pem
    openssl ecparam -name prime256v1 -genkey -noout -out other.key";

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new().unwrap());
        files.run(CREATE);
        files
    }

    /// Runs commands of a shell in the folder.
    fn run(&self, commands: &str) {
        let output =
            Command::new("sh").args(["-ec", commands]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{commands}\n{output:?}");
    }

    /// The mistakes in these files.
    fn mistakes(&self, [ca, cert, key]: [&str; 3]) -> Vec<(&'static str, String)> {
        let path = |name: &str| -> PathBuf { self.0.path().join(name) };
        let identity = Identity { cert_file: path(cert), key_file: path(key) };
        let mistakes = Tls::new(Some(path(ca)), Some(identity), Vec::new()).check();
        let folder = format!("{}/", self.0.path().display());
        let text = |error: mqtt_session::TlsError| error.to_string().replace(&folder, "");
        mistakes.into_iter().map(|(setting, error)| (setting, text(error))).collect()
    }

    /// The only mistake, which must be in the setting at `index` of [`RIGHT`].
    fn mistake(&self, index: usize, file: &str) -> String {
        let mut names = RIGHT;
        names[index] = file;
        let mistakes = self.mistakes(names);
        let setting = ["MQTT_CA_FILE", "MQTT_CERT_FILE", "MQTT_KEY_FILE"][index];
        let [(found, text)] = mistakes.as_slice() else { panic!("{file}: {mistakes:?}") };
        assert_eq!(*found, setting, "{text}");
        assert!(text.starts_with(file), "{text}");
        text.clone()
    }

    /// Runs the commands in a message, in backticks, with the password of the tests. Afterwards
    /// `new.pem` or `new.key` can be used.
    fn repair(&self, index: usize, text: &str) {
        let commands: Vec<_> = text.split('`').skip(1).step_by(2).collect();
        let pass = |tool: &str| format!("{tool} -passin pass:x");
        for command in &commands {
            let command = command.replace("openssl pkey", &pass("openssl pkey"));
            self.run(&command.replace("openssl pkcs12", &pass("openssl pkcs12")));
        }
        let new = ["new.key", "new.pem"].into_iter().find(|new| self.0.path().join(new).exists());
        let mut names = RIGHT;
        names[index] = new.unwrap_or_else(|| panic!("{text}"));
        assert_eq!(self.mistakes(names), [], "{text}");
        for new in ["new.key", "new.pem", "new.der"] {
            let _ = std::fs::remove_file(self.0.path().join(new));
        }
    }
}

const CA: usize = 0;
const CERT: usize = 1;
const KEY: usize = 2;

#[test]
fn these_can_be_used() {
    let files = Files::new();
    assert_eq!(files.mistakes(RIGHT), []);
    for (index, file, commands) in [
        (KEY, "sec1.key", "openssl ec -in car.key -out sec1.key"),
        (KEY, "params.key", "(openssl ecparam -name prime256v1; cat sec1.key) > params.key"),
        (KEY, "crlf.key", "sed 's/$/\\r/' car.key > crlf.key"),
        (KEY, "bom.key", "(printf '\\357\\273\\277'; cat car.key) > bom.key"),
        (KEY, "text.key", "(echo 'Bag \\377 Attributes'; cat car.key; echo end) > text.key"),
        (KEY, "spaces.key", "sed 's/$/  /' car.key > spaces.key"),
        (KEY, "last.key", "printf %s \"$(cat car.key)\" > last.key"),
        (KEY, "both.pem", "cat car.pem car.key > both.pem"),
        // The name of the block is that of another encoding.
        (KEY, "named.key", "sed 's/EC PRIVATE/PRIVATE/' sec1.key > named.key"),
        (CERT, "both.pem", ":"),
        (CERT, "chain.pem", "cat car.pem ca.pem > chain.pem"),
        (CERT, "crlf.pem", "sed 's/$/\\r/' car.pem > crlf.pem"),
        (CERT, "bom.pem", "(printf '\\357\\273\\277'; cat car.pem) > bom.pem"),
        (CERT, "text.pem", "openssl x509 -in car.pem -text > text.pem"),
        (CERT, "car name's.pem", "cp car.pem \"car name's.pem\""),
        (CA, "many.pem", "cat car.pem ca.pem > many.pem"),
        (CA, "crlf-ca.pem", "sed 's/$/\\r/' ca.pem > crlf-ca.pem"),
        (
            CA,
            "bom-ca.pem",
            "(printf '\\357\\273\\277'; openssl x509 -in ca.pem -text) > bom-ca.pem",
        ),
        // A self-signed certificate of a broker, which is its own CA.
        (
            CA,
            "self.pem",
            "openssl req -x509 -key other.key -days 9 -subj /CN=b -addext basicConstraints=CA:FALSE \
             -out self.pem",
        ),
        // A root of version 1, as old CAs have it.
        (
            CA,
            "v1.pem",
            "openssl req -new -key other.key -subj /CN=old -out old.csr; openssl x509 -req -in \
             old.csr -signkey other.key -days 9 -out v1.pem",
        ),
    ] {
        files.run(commands);
        let mut names = RIGHT;
        names[index] = file;
        assert_eq!(files.mistakes(names), [], "{file}");
    }
    for key in
        ["RSA -pkeyopt rsa_keygen_bits:2048", "EC -pkeyopt ec_paramgen_curve:P-384", "ED25519"]
    {
        files.run(&format!(
            "openssl genpkey -algorithm {key} -out k.key; openssl req -x509 -key k.key -subj /CN=1 \
             -days 9 -out k.pem; openssl rsa -in k.key -traditional -out k.key || true"
        ));
        assert_eq!(files.mistakes(["ca.pem", "k.pem", "k.key"]), [], "{key}");
    }
}

#[test]
fn the_command_in_the_message_converts_a_key() {
    let files = Files::new();
    for (file, expected, commands) in [
        (
            "encrypted.key",
            "line 1: the private key is encrypted",
            "openssl pkcs8 -topk8 -v2 aes256 -passout pass:x -in car.key -out encrypted.key",
        ),
        (
            "encrypted.old.key",
            "line 1: the private key is encrypted",
            "openssl ec -aes128 -passout pass:x -in car.key -out encrypted.old.key",
        ),
        (
            "encrypted.der",
            "the private key is encrypted",
            "openssl pkcs8 -topk8 -passout pass:x -in car.key -outform DER -out encrypted.der",
        ),
        (
            "der.key",
            "is a private key in DER",
            "openssl pkey -in car.key -outform DER -out der.key",
        ),
        (
            "sec1.der",
            "is a private key in DER",
            "openssl ec -in car.key -outform DER -out sec1.der",
        ),
        (
            "indented.key",
            "line 5: its lines are indented",
            "sed 's/^/    /' car.key > indented.key",
        ),
        ("tabs.key", "its lines are indented", "sed 's/^/\\t/' car.key > tabs.key"),
        (
            "car.p12",
            "it is PKCS#12 (PFX)",
            "openssl pkcs12 -export -inkey car.key -in car.pem -passout pass:x -out car.p12",
        ),
        (
            "escaped.key",
            "separated by \\n as in JSON",
            "printf '\"%s\\\\n\"' \"$(sed 's/$/\\\\n/' car.key | tr -d '\\n')\" > escaped.key",
        ),
        ("one-line.key", "its line ends are missing", "tr '\\n' ' ' < car.key > one-line.key"),
        ("joined.key", "its line ends are missing", "tr -d '\\n' < car.key > joined.key"),
        ("utf16.key", "encoded in UTF-16", "iconv -f UTF-8 -t UTF-16 car.key > utf16.key"),
        (
            "utf16be.key",
            "encoded in UTF-16",
            "(printf '\\376\\377'; iconv -f UTF-8 -t UTF-16BE car.key) > utf16be.key",
        ),
        ("bare.key", "its BEGIN and END lines are missing", "sed '/-----/d' car.key > bare.key"),
        (
            "no-public.key",
            "the key has no public part",
            "openssl ec -in car.key -no_public -out no-public.key",
        ),
        (
            "explicit.key",
            "the parameters of its curve instead of the name",
            "openssl ec -in car.key -param_enc explicit -out explicit.key",
        ),
        ("with space.p12", "it is PKCS#12", "cp car.p12 'with space.p12'"),
    ] {
        files.run(commands);
        let text = files.mistake(KEY, file);
        assert!(text.contains(expected), "{text}");
        files.repair(KEY, &text);
    }
}

#[test]
fn the_command_in_the_message_converts_a_certificate() {
    let files = Files::new();
    for (file, expected, commands) in [
        (
            "der.pem",
            "it is a certificate in DER",
            "openssl x509 -in car.pem -outform DER -out der.pem",
        ),
        (
            "trusted.pem",
            "line 1: it has OpenSSL's own format TRUSTED CERTIFICATE",
            "openssl x509 -in car.pem -trustout -out trusted.pem",
        ),
        ("indented.pem", "its lines are indented", "sed 's/^/    /' car.pem > indented.pem"),
        (
            "quoted.pem",
            "its lines are indented, or have other text in front",
            "sed 's/^/> /' car.pem > quoted.pem",
        ),
        (
            "car.p12",
            "it is PKCS#12 (PFX)",
            "openssl pkcs12 -export -inkey car.key -in car.pem -certfile ca.pem -passout pass:x -out car.p12",
        ),
        (
            "car.p7b",
            "car.p7b: it contains no certificate in PEM format: it is PKCS#7",
            "openssl crl2pkcs7 -nocrl -certfile car.pem -out car.p7b",
        ),
        (
            "der.p7b",
            "it is PKCS#7",
            "openssl crl2pkcs7 -nocrl -certfile car.pem -outform DER -out der.p7b",
        ),
        (
            "escaped.pem",
            "separated by \\n as in JSON",
            "sed 's/$/\\\\n/' car.pem | tr -d '\\n' > escaped.pem",
        ),
        ("one-line.pem", "its line ends are missing", "tr '\\n' ' ' < car.pem > one-line.pem"),
        ("utf16.pem", "encoded in UTF-16", "iconv -f UTF-8 -t UTF-16 car.pem > utf16.pem"),
        ("bare.pem", "its BEGIN and END lines are missing", "sed '/-----/d' car.pem > bare.pem"),
        (
            "called.pem",
            "it is called a certificate, but is something else",
            "openssl crl2pkcs7 -nocrl -certfile car.pem | sed 's/PKCS7/CERTIFICATE/' > called.pem",
        ),
    ] {
        files.run(commands);
        let text = files.mistake(CERT, file);
        assert!(text.contains(expected), "{text}");
        files.repair(CERT, &text);
    }
    for (file, expected, commands) in [
        (
            "ca.der",
            "it is a certificate in DER",
            "openssl x509 -in ca.pem -outform DER -out ca.der",
        ),
        ("ca.trusted", "TRUSTED CERTIFICATE", "openssl x509 -in ca.pem -trustout -out ca.trusted"),
        (
            "ca.p12",
            "extract the CA certificates",
            "openssl pkcs12 -export -inkey car.key -in car.pem -certfile ca.pem -passout pass:x -out ca.p12",
        ),
    ] {
        files.run(commands);
        let text = files.mistake(CA, file);
        assert!(text.contains(expected), "{text}");
        files.repair(CA, &text);
    }
}

#[test]
fn a_chain_that_does_not_begin_with_the_own_certificate_is_named() {
    let files = Files::new();
    files.run("cat ca.pem car.pem > ca-first.pem; cat car.pem ca.pem > intermediate.pem");
    let line = std::fs::read_to_string(files.0.path().join("ca.pem")).unwrap().lines().count() + 1;
    let text = files.mistake(CERT, "ca-first.pem");
    assert!(
        text.contains(&format!("is not the first one, but that in line {line}, of CN=1")),
        "{text}"
    );
    files.run("cp car.pem vehicle.pem; cp ca.pem intermediate.pem");
    files.repair(CERT, &text);
}

#[test]
fn a_certificate_that_was_changed_is_damaged() {
    let files = Files::new();
    files.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj \
         /CN=Fleet -addext basicConstraints=critical,CA:TRUE -keyout new.key -out new-ca.pem
         cp car.key own.key
         openssl req -x509 -key own.key -days 30 -subj /CN=1 -out own.pem",
    );
    let read = |name: &str| std::fs::read_to_string(files.0.path().join(name)).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(files.0.path().join(name), text).unwrap();
    };
    // A character of the signature.
    let change = |pem: &str| {
        let mut lines: Vec<_> = pem.lines().map(str::to_owned).collect();
        let last = lines.len() - 2;
        let other = if lines[last].get(3..4) == Some("A") { "B" } else { "A" };
        lines[last].replace_range(3..4, other);
        lines.join("\n")
    };
    for (name, content, ca) in [
        ("by-known-ca.pem", change(&read("car.pem")), "ca.pem"),
        ("with-chain.pem", change(&read("car.pem")) + "\n" + &read("ca.pem"), "new-ca.pem"),
        ("self-signed.pem", change(&read("own.pem")), "new-ca.pem"),
    ] {
        write(name, &content);
        let mistakes = files.mistakes([ca, name, "car.key"]);
        let [("MQTT_CERT_FILE", text)] = mistakes.as_slice() else {
            panic!("{name}: {mistakes:?}")
        };
        assert!(text.starts_with(&format!("{name}, line 1: ")), "{text}");
        assert!(text.contains("is damaged: its signature is not that of CN="), "{text}");
    }
    // A CA that was created again with the same name, and nothing that tells whose certificate it is.
    assert_eq!(files.mistakes(["new-ca.pem", "car.pem", "car.key"]), []);
    assert_eq!(files.mistakes(["new-ca.pem", "own.pem", "own.key"]), []);
}

#[test]
fn a_second_key_that_fits_is_named() {
    let files = Files::new();
    files.run("cat other.key car.key > two.key; cat car.key other.key > own-first.key");
    let line = files.0.path().join("other.key");
    let line = std::fs::read_to_string(line).unwrap().lines().count() + 1;
    let text = files.mistake(KEY, "two.key");
    assert!(text.contains("its first private key does not match"), "{text}");
    assert!(text.contains(&format!("that in line {line} does; leave only that one")), "{text}");
    assert_eq!(files.mistakes(["ca.pem", "car.pem", "own-first.key"]), []);
}

#[test]
fn a_certificate_of_version_1_is_created_again() {
    let files = Files::new();
    files.run(
        "cp car.csr vehicle.csr; openssl x509 -req -in car.csr -CA ca.pem -CAkey ca.key \
         -CAcreateserial -days 9 -out old.pem",
    );
    let text = files.mistake(CERT, "old.pem");
    assert!(text.contains("version 3 certificate: it has version 1"), "{text}");
    let (before, command) = text.rsplit_once(": `").unwrap();
    assert!(before.contains("openssl x509 -req"), "{text}");
    files.repair(CERT, &format!("`{command}"));
}

#[test]
fn what_cannot_be_converted_is_named() {
    let files = Files::new();
    for (index, file, expected, commands) in [
        (KEY, "car.pem", "but a certificate; are MQTT_CERT_FILE and MQTT_KEY_FILE swapped?", ":"),
        (CERT, "car.key", "but a private key; are MQTT_CERT_FILE and MQTT_KEY_FILE swapped?", ":"),
        (CA, "car.key", "but a private key; MQTT_CA_FILE must be", ":"),
        (CA, "car.pem", "no certificate of a CA, but one of CN=1, which CN=Fleet has issued", ":"),
        (KEY, "public.key", "but a public key", "openssl pkey -in car.key -pubout -out public.key"),
        (
            KEY,
            "public.der",
            "but a public key",
            "openssl pkey -in car.key -pubout -outform DER -out public.der",
        ),
        (KEY, "car.csr", "but a request for a certificate (CSR); the key is in the file", ":"),
        (CERT, "car.csr", "but a request for a certificate (CSR); the CA creates", ":"),
        (
            CERT,
            "csr.der",
            "but a request for a certificate (CSR)",
            "openssl req -in car.csr -outform DER -out csr.der",
        ),
        (
            KEY,
            "der.pem",
            "but a certificate;",
            "openssl x509 -in car.pem -outform DER -out der.pem",
        ),
        (
            KEY,
            "car.p7b",
            "but PKCS#7, which has certificates only",
            "openssl crl2pkcs7 -nocrl -certfile car.pem -out car.p7b",
        ),
        (
            KEY,
            "params.pem",
            "but only parameters of keys",
            "openssl ecparam -name prime256v1 -out params.pem",
        ),
        (CERT, "params.pem", "but only parameters of keys", ":"),
        (
            KEY,
            "dh.pem",
            "but only parameters of keys",
            "(echo '-----BEGIN DH PARAMETERS-----'; echo MAA=; echo '-----END DH PARAMETERS-----') > dh.pem",
        ),
        (
            KEY,
            "ssh.key",
            "it is a key of OpenSSH",
            "(echo '-----BEGIN OPENSSH PRIVATE KEY-----'; echo MAA=; echo '-----END OPENSSH PRIVATE KEY-----') > ssh.key",
        ),
        (
            KEY,
            "ssh.pub",
            "but a public key of OpenSSH",
            "echo 'ssh-ed25519 AAAAC3Nza me@host' > ssh.pub",
        ),
        (
            KEY,
            "putty.ppk",
            "but a key of PuTTY",
            "echo 'PuTTY-User-Key-File-3: ssh-ed25519' > putty.ppk",
        ),
        (
            KEY,
            "tpm.key",
            "only a TPM can use",
            "(echo '-----BEGIN TSS2 PRIVATE KEY-----'; echo MAA=; echo '-----END TSS2 PRIVATE KEY-----') > tpm.key",
        ),
        (
            CERT,
            "store.jks",
            "it is a key store of Java",
            "printf '\\376\\355\\376\\355\\0\\0\\0\\2' > store.jks",
        ),
        (CERT, "page.pem", "but a web page", "echo '<!DOCTYPE html><html>' > page.pem"),
        (CERT, "values.json", "but JSON", "echo '{\"a\": 1}' > values.json"),
        (
            CERT,
            "files.zip",
            "but a compressed file or an archive",
            "printf 'PK\\003\\004zip' > files.zip",
        ),
        (CERT, "ber.p12", "it is PKCS#12", "printf '\\060\\200\\002\\001\\003' > ber.p12"),
        (CERT, "empty.pem", "the file is empty", ": > empty.pem"),
        (KEY, "empty.pem", "the file is empty", ":"),
        (CA, "blank.pem", "the file is empty", "echo > blank.pem"),
        (CERT, "cut.pem", "line 1: its END line is missing", "sed '$d' car.pem > cut.pem"),
        (KEY, "cut.key", "line 1: its END line is missing", "head -2 car.key > cut.key"),
        (
            CERT,
            "half.pem",
            "line 1: its content is not a certificate, or is cut off",
            "sed 3,5d car.pem > half.pem",
        ),
        (
            CERT,
            "rubbish.pem",
            "line 3: this line is not base64",
            "sed '3s/.*/???/' car.pem > rubbish.pem",
        ),
        (
            KEY,
            "rubbish.key",
            "line 2: this line is not base64",
            "sed '2s/.*/???/' car.key > rubbish.key",
        ),
        (
            KEY,
            "half.key",
            "line 1: it contains no private key that can be read",
            "sed 3d car.key > half.key",
        ),
        (
            CERT,
            "cut.der",
            "a binary file (DER) that is cut off",
            "openssl x509 -in car.pem -outform DER | head -c 100 > cut.der",
        ),
        (
            CERT,
            "dashes.pem",
            "line 1: it contains no certificate in PEM format: this line must be exactly",
            "sed 's/^-----/----/' car.pem > dashes.pem",
        ),
        (
            CERT,
            "other.pem",
            "a block \"SOMETHING\" is not what is needed here",
            "(echo '-----BEGIN SOMETHING-----'; echo '-----END SOMETHING-----') > other.pem",
        ),
        (CERT, "words.pem", "it has no BEGIN line", "echo 'put the certificate here' > words.pem"),
        (KEY, "other.key", "it does not match ", ":"),
        (CERT, ".", "name a file in it", ":"),
        (CA, "nothing.pem", "is its directory mounted?", ":"),
        (CA, "car.pem/x", "a part of the path is a file", ":"),
        (KEY, "fifo", "it is not a regular file", "mkfifo fifo"),
        (CA, "large.pem", "it is larger than 4 MiB", "head -c 5000000 /dev/zero > large.pem"),
    ] {
        files.run(commands);
        let text = match file {
            "." => files.mistakes(["ca.pem", ".", "car.key"]).remove(0).1,
            file => files.mistake(index, file),
        };
        assert!(text.contains(expected), "{file}: {text}");
    }
}

#[test]
fn keys_of_kinds_that_cannot_be_used_are_named() {
    let files = Files::new();
    for (algorithm, expected) in [
        ("RSA -pkeyopt rsa_keygen_bits:1024", "RSA with 1024 bits, and only 2048 to 4096"),
        (
            "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3",
            "public exponent below 65537",
        ),
        ("RSA-PSS -pkeyopt rsa_keygen_bits:2048", "RSA-PSS"),
        ("EC -pkeyopt ec_paramgen_curve:secp256k1", "secp256k1"),
        ("EC -pkeyopt ec_paramgen_curve:P-521", "P-521"),
        ("EC -pkeyopt ec_paramgen_curve:brainpoolP256r1", "brainpool"),
        ("ED448", "Ed448"),
        ("X25519", "X25519 or X448, which cannot sign"),
    ] {
        files.run(&format!("openssl genpkey -algorithm {algorithm} -out k.key"));
        let text = files.mistake(KEY, "k.key");
        assert!(text.contains("cannot be used") && text.contains(expected), "{text}");
        assert!(text.contains("openssl genpkey -algorithm EC"), "{text}");
    }
    files.run("openssl ecparam -name secp256k1 -genkey -noout -out k.key");
    assert!(files.mistake(KEY, "k.key").contains("secp256k1"));
    files.run("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | openssl rsa -traditional -out k.key");
    assert!(files.mistake(KEY, "k.key").contains("RSA with 1024 bits"));
    files.run("openssl dsaparam -out p.pem 1024; openssl gendsa -out dsa.key p.pem");
    assert!(files.mistake(KEY, "dsa.key").contains("this kind cannot be used: DSA"));
    files.run("openssl dsa -in dsa.key -out old.key 2>/dev/null; openssl pkey -in dsa.key -traditional -out old.key");
    assert!(files.mistake(KEY, "old.key").contains("this kind cannot be used: DSA"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let files = Files::new();
    let mistakes = files.mistakes(["car.key", "car.csr", "missing.key"]);
    let settings: Vec<_> = mistakes.iter().map(|(setting, _)| *setting).collect();
    assert_eq!(settings, ["MQTT_CA_FILE", "MQTT_CERT_FILE", "MQTT_KEY_FILE"], "{mistakes:?}");
}

#[test]
fn no_message_shows_what_a_file_holds() {
    let files = Files::new();
    let key = std::fs::read_to_string(files.0.path().join("car.key")).unwrap();
    for length in 0..key.len() {
        for cut in [&key[..length], &key[length..]] {
            std::fs::write(files.0.path().join("cut.key"), cut).unwrap();
            for (_, text) in files.mistakes(["ca.pem", "car.pem", "cut.key"]) {
                let secret = key.lines().nth(1).unwrap();
                let parts = secret.as_bytes().windows(8).skip(24);
                let shown = parts.filter(|part| text.contains(str::from_utf8(part).unwrap()));
                assert_eq!(shown.count(), 0, "{text}");
            }
        }
    }
}

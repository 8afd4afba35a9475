#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const OPERATIONS: [&str; 4] = ["manifest/apply", "manifest/delete", "state", "state/update"];

const ALICE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";
const BOB: &str = "ecdsa-sha2-nistp256 \
                   AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc= bob";

fn file() -> String {
    format!(
        "fleet: prod-eu\n\
         version: 3\n\
         min_serial: 5\n\
         require: [manifest/apply, state]\n\
         roles:\n  \
           root: {{threshold: 2, keys: [\"{ALICE}\", \"{BOB}\"]}}\n  \
           release:\n    \
             threshold: 1\n    \
             keys:\n      \
               - {BOB}\n      \
               - {ALICE}\n"
    )
}

fn parse(text: &str) -> Result<TrustFile, Vec<Mistake>> {
    TrustFile::parse(text.as_bytes(), &OPERATIONS)
}

/// The mistakes as text.
fn mistakes(text: &str) -> Vec<String> {
    parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The mistakes of the file after a change.
fn changed(from: &str, to: &str) -> Vec<String> {
    let text = file().replacen(from, to, 1);
    assert_ne!(text, file(), "{from}");
    mistakes(&text)
}

#[test]
fn a_file_has_what_it_says() {
    let trust = parse(&file()).unwrap();
    assert_eq!((trust.fleet(), trust.version(), trust.min_serial()), ("prod-eu", 3, 5));
    assert_eq!(trust.require().collect::<Vec<_>>(), ["manifest/apply", "state"]);
    assert!(trust.requires("state") && !trust.requires("state/update"));
    assert!(trust.requires(TRUST_UPDATE));
    let (root, release) = (trust.keyring(Role::Root), trust.keyring(Role::Release));
    assert_eq!((root.threshold(), release.threshold()), (2, 1));
    let names = |keyring: &Keyring| {
        keyring.keys().iter().map(|key| key.comment.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(root), names(release)),
        (vec!["alice".into(), "bob".into()], vec!["bob".into(), "alice".into()])
    );
    assert_eq!(root.keys()[0].key.kind(), "ssh-ed25519");
    assert_eq!(root.keys()[1].key.kind(), "ecdsa-sha2-nistp256");
    // `ssh-keygen -l` prints these.
    let id = root.keys()[0].key.id().to_string();
    assert_eq!(id, "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
}

#[test]
fn require_and_min_serial_have_defaults() {
    let text =
        file().replace("require: [manifest/apply, state]\n", "").replace("min_serial: 5\n", "");
    let trust = parse(&text).unwrap();
    assert_eq!(trust.min_serial(), 0);
    assert_eq!(trust.require().collect::<Vec<_>>(), DEFAULT_REQUIRE);
}

#[test]
fn a_file_may_be_json_and_begin_with_a_byte_order_mark() {
    let role = format!("{{\"threshold\": 1, \"keys\": [\"{ALICE}\"]}}");
    let json = format!(
        "{{\"fleet\": \"prod-eu\", \"version\": 1, \"require\": [\"state\"], \"roles\": {{\"root\": \
         {role}, \"release\": {role}}}}}"
    );
    parse(&json).unwrap();
    parse(&format!("\u{feff}{}", file())).unwrap();
}

#[test]
fn all_mistakes_are_reported_with_their_positions() {
    let text = format!(
        "flet: prod-eu\n\
         version: \"3\"\n\
         min_serial: -1\n\
         require: [manifest/apply, manifest/aply, manifest/apply, [x]]\n\
         roles:\n  \
           root: {{threshold: 0, keys: [\"{ALICE}\", \"{ALICE} again\"]}}\n  \
           release:\n    \
             treshold: 1\n    \
             keys:\n      \
               - ssh-rsa AAAA carol\n      \
               - {BOB}\n      \
               - nonsense\n      \
               - {{}}\n  \
           other: {{}}\n"
    );
    let expected = [
        "line 1, column 1: \"flet\" is not known here; the trust file has only fleet, version, \
         min_serial, require, roles",
        "line 1, column 1: fleet is missing; write for example fleet: prod-eu",
        "line 2, column 10: version is \"3\" in quotes; write a number from 1 to 4294967295",
        "line 3, column 13: min_serial is \"-1\"; write a number from 0 to 9007199254740991",
        "line 4, column 27: \"manifest/aply\" is not an operation; write some of manifest/apply, \
         manifest/delete, state, state/update",
        "line 4, column 42: manifest/apply is there twice; write it once",
        "line 4, column 58: a list is not an operation; write some of",
        "line 6, column 21: threshold of the role root is \"0\"; write a number from 1 to 8",
        "line 6, column 121: SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ is a key of the \
         role root twice (also in line 6, column 31); a key counts once",
        "line 8, column 5: \"treshold\" is not known here; the role release has only threshold, \
         keys",
        "line 8, column 5: threshold of the role release is missing; write how many different \
         keys must sign, for example threshold: 2",
        "line 10, column 9: a key of the role release cannot be used: keys of the kind \"ssh-rsa\" \
         are not supported; use one of ssh-ed25519, ",
        "line 12, column 9: a key of the role release cannot be used: it is not a public key; \
         write it as a line of a .pub file",
        "line 13, column 9: a key of the role release cannot be used: it is a map; write it in \
         quotes as one line of a .pub file",
        "line 14, column 3: \"other\" is not known here; roles has only root, release",
    ];
    let found = mistakes(&text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "\n{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn single_mistakes_are_reported_once() {
    for (from, to, expected) in [
        ("fleet: prod-eu", "fleet:", "line 1, column 7: fleet is nothing; write 1 to 64 letters"),
        ("fleet: prod-eu", "fleet: prod eu", "line 1, column 8: fleet is \"prod eu\"; write"),
        ("fleet: prod-eu", "fleet: ''", "line 1, column 8: fleet is empty"),
        ("fleet: prod-eu", "fleet: [x]", "line 1, column 8: fleet is a list; write"),
        ("version: 3\n", "", "line 1, column 1: version is missing; write version: 1"),
        ("version: 3", "version: 0", "line 2, column 10: version is \"0\"; write a number from 1"),
        ("version: 3", "version: 3.0", "line 2, column 10: version is \"3.0\""),
        ("version: 3", "version: +3", "line 2, column 10: version is \"+3\""),
        ("version: 3", "version: 0x3", "line 2, column 10: version is \"0x3\""),
        ("version: 3", "version: ~", "line 2, column 10: version is nothing"),
        ("version: 3", "version: 99999999999999999999", "line 2, column 10: version is \"999"),
        ("version: 3", "version: 3\nversion: 4", "line 3, column 1: version is there twice"),
        ("min_serial: 5", "min_serial: 9007199254740992", "line 3, column 13: min_serial is"),
        ("[manifest/apply, state]", "[]", "line 4, column 10: require is an empty list; leave it"),
        (
            "[manifest/apply, state]",
            "state",
            "line 4, column 10: require is \"state\"; write a list",
        ),
        (
            "threshold: 2",
            "threshold: 3",
            "line 6, column 21: threshold of the role root is 3, and there are only 2 keys",
        ),
        (
            "threshold: 2",
            "threshold: 9",
            "line 6, column 21: threshold of the role root is \"9\"; write a number from 1 to 8",
        ),
        (
            "threshold: 2",
            "threshold: two",
            "line 6, column 21: threshold of the role root is \"two\"",
        ),
        ("threshold: 2, ", "", "line 6, column 9: threshold of the role root is missing"),
        ("bob\"", "bob\\n\"", ""),
        (
            "alice\"",
            "alice\\nssh-rsa\"",
            "line 6, column 31: a key of the role root cannot be used: it is not a public key",
        ),
    ] {
        if expected.is_empty() {
            parse(&file().replacen(from, to, 1)).unwrap();
            continue;
        }
        let found = changed(from, to);
        assert!(found[0].starts_with(expected), "{to}: {found:?}");
        assert_eq!(found.len(), 1, "{to}: {found:?}");
    }
    let without_keys =
        "version: 1\nfleet: a\nroles:\n  root: {threshold: 1, keys: []}\n  release:\n";
    assert_eq!(
        mistakes(without_keys),
        [
            "line 4, column 30: keys of the role root is an empty list; write public keys",
            "line 5, column 11: the role release is nothing; write a map with threshold, keys",
        ]
    );
    let found = mistakes("version: 1\nfleet: a\nroles: {}\n");
    assert!(
        found[0].starts_with("line 3, column 8: the role root is missing; write root: {thr"),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn what_is_not_a_yaml_map_is_one_mistake() {
    for (text, expected) in [
        ("", "line 1, column 1: the file is empty; write fleet"),
        ("# nothing\n", "line 1, column 1: the file is empty"),
        ("~", "line 1, column 1: the file is empty"),
        ("text", "line 1, column 1: the trust file is \"text\"; write a map with fleet, version"),
        ("- a", "line 1, column 1: the trust file is a list"),
        ("fleet: [a\nversion: 3", "line 2, column 8: it is not valid YAML: "),
        ("fleet: a\n---\nfleet: b", "line 2, column 1: a second YAML document begins here"),
        ("fleet: &a b\nversion: *a", "line 1, column 8: anchors and aliases are not supported"),
        ("fleet: !!str b", "line 1, column 8: tags are not supported"),
        ("fleet: [[[[[[[[[]]]]]]]]]", "line 1, column 15: lists and maps are nested too deeply"),
        (
            "a: b\nc: \"\u{7}",
            "line 2, column 5: it is not valid YAML: control characters are not allowed",
        ),
    ] {
        let found = mistakes(text);
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(!found[0].contains(char::is_control));
    }
    let long = vec![b' '; MAX_TRUST_FILE + 1];
    let found = TrustFile::parse(&long, &OPERATIONS).unwrap_err();
    assert_eq!(found[0].to_string(), "line 1, column 1: the file has more than 64 KiB");
    assert_eq!(mistakes(&"k: v\n".repeat(1000)).len(), 100);
    let found = TrustFile::parse(b"a: b\nc\xc3\xa9: \xff", &OPERATIONS).unwrap_err();
    assert!(
        found[0].to_string().starts_with("line 2, column 5: there is a byte that"),
        "{found:?}"
    );
}

/// One private key must not count twice, in whatever kind of key it is.
#[test]
fn a_private_key_is_recognized_in_other_kinds() {
    use crate::testing::Signer;
    let signers = [
        Signer::ed25519(1),
        Signer::ed25519(1).in_authenticator("ssh:", 1),
        Signer::ed25519(1).in_authenticator("ssh:other", 1),
    ];
    let all: Vec<_> = signers.iter().collect();
    let other = Signer::ed25519(2);
    let found = mistakes(&crate::testing::trust_file(1, &[&other], &all));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("is not an operation"), "{found:?}");
    assert!(found[1].contains("is a key of the role release twice"), "{found:?}");
    assert!(found[2].contains("is a key of the role release twice"), "{found:?}");
}

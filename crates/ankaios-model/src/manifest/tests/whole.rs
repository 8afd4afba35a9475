//! The text as a whole: encoding, documents, version, errors.

use super::*;
use crate::json::{self, StateFormat};

#[test]
fn nothing_to_update_is_refused() {
    for text in ["", " ", "\n\t\n", "# only a comment\n", "\u{FEFF}", "\r\n"] {
        assert_eq!(error(text), "the manifest is empty (line 1, column 1)", "{text:?}");
    }
    for text in [
        "apiVersion: v1\n",
        "apiVersion: v1\nworkloads: {}\nconfigs: {}\n",
        "apiVersion: v1\nworkloads:\nconfigs: ~\n",
        "{\"apiVersion\": \"v1\"}",
    ] {
        let message = error(text);
        assert!(message.starts_with("the manifest has no workloads and no configs"), "{message}");
        assert!(message.ends_with("(line 1, column 1)"), "{message}");
    }
    for text in ["---\n", "--- \n...\n", "~", "null", "[]", "{}", "text", "1"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_root_that_is_not_a_map_is_refused() {
    for (text, what) in [("[]", "sequence"), ("text", "string"), ("~", "unit")] {
        let message = error(text);
        assert!(message.starts_with("invalid "), "{message}");
        assert!(message.contains(what) && message.contains("expected a manifest"), "{message}");
    }
}

#[test]
fn a_supported_version_is_required() {
    for text in ["configs: {c: x}\n", "configs: {c: x}\napiVersion: ~\n"] {
        let message = error(text);
        assert!(message.starts_with("the manifest has no apiVersion, use v1"), "{message}");
    }
    for version in ["v2", "v9", "1", "''", "V1", "[v1]"] {
        let message = error(&format!("configs: {{c: x}}\napiVersion: {version}\n"));
        assert!(message.starts_with("apiVersion: "), "{message}");
        assert!(message.ends_with("(line 2, column 13)"), "{message}");
    }
    assert!(error("apiVersion: v2\nconfigs: {c: x}").contains("use v1 or v0.1"));
    for version in ["v1", "v0.1", "'v1'", "\"v0.1\""] {
        parse(&format!("configs: {{c: x}}\napiVersion: {version}\n")).unwrap();
    }
}

#[test]
fn several_documents_are_refused() {
    let one = with("");
    for text in [format!("{one}---\n{one}"), format!("---\n{one}...\n---\n{one}")] {
        assert!(error(&text).starts_with("there are several YAML documents"));
    }
    parse(&format!("---\n{one}...\n")).unwrap();
    // Empty documents do not count.
    for text in [format!("{one}---\n"), format!("---\n---\n{one}"), format!("{one}---\n# x\n...\n")]
    {
        assert_eq!(parse(&text).unwrap(), parse(&one).unwrap());
    }
    assert!(parse(&format!("{one}---\n@")).is_err());
    let error = parse(&format!("{one}---\n{one}")).unwrap_err();
    assert_eq!(error.position(), Some(LineColumn { line: 8, column: 1 }));
    parse(&format!("%YAML 1.1\n---\n{one}")).unwrap();
}

#[test]
fn json_with_surrogate_pairs_is_accepted() {
    let manifest = parse(
        r#" {"apiVersion":"v1","workloads":{"w":{"runtime":"podman","agent":"a",
           "runtimeConfig":"\ud83d\ude97\u0001\/\n"}}}"#,
    )
    .unwrap();
    let workload = &manifest.state.workloads.unwrap().workloads["w"];
    assert_eq!(workload.runtime_config.as_deref(), Some("🚗\u{1}/\n"));
}

#[test]
fn byte_order_mark_and_crlf_are_accepted() {
    let text = format!("\u{FEFF}{}", with("tags: {a: b}").replace('\n', "\r\n"));
    assert_eq!(parse(&text).unwrap(), parse(&with("tags: {a: b}")).unwrap());
}

#[test]
fn unknown_fields_are_ignored() {
    let text = with("unknown: {deep: [1, ~, {x: y}]}") + "more: 1\nagents: {}\n";
    assert_eq!(parse(&text).unwrap(), parse(&with("")).unwrap());
}

#[test]
fn errors_have_path_and_position() {
    let error = parse(&with("restartPolicy: always")).unwrap_err();
    assert_eq!(
        error,
        ManifestError::Invalid {
            message: "workloads.w.restartPolicy: unknown value \"always\", \
                      use NEVER, ON_FAILURE or ALWAYS"
                .into(),
            position: Some(LineColumn { line: 7, column: 20 }),
        }
    );
    let error = parse("apiVersion: v1\nworkloads: {\n").unwrap_err();
    assert_eq!(error.position().unwrap().line, 3);
}

#[test]
fn fields_at_the_root_have_a_position() {
    let text = "apiVersion: v1\nconfigs: {deleted: x}\ndeleted: []\n";
    assert_eq!(field_position(text, "deleted"), Some(LineColumn { line: 3, column: 1 }));
    assert_eq!(field_position("{\"a\": 1}", "a"), Some(LineColumn { line: 1, column: 2 }));
    assert_eq!(field_position("a: b", "b"), None);
    assert_eq!(field_position(&"[".repeat(100_000), "b"), None);
}

#[test]
fn invalid_utf8_has_an_error_of_its_own() {
    for (payload, expected, line, column) in [
        (&b"\xff"[..], 0, 1, 1),
        (b"apiVersion: v1 \xc3\x28", 15, 1, 16),
        (b"a\xf0\x9f", 1, 1, 2),
        (b"a: \xc3\xbc\n\xc3\xbcb\xfc", 9, 2, 3),
    ] {
        let Err(error) = Manifest::parse(payload) else { panic!() };
        let Some(position) = error.position() else { panic!() };
        let ManifestError::NotUtf8 { offset, message, .. } = error else { panic!() };
        assert_eq!((offset, position), (expected, LineColumn { line, column }));
        assert!(message.contains("iconv -f ISO-8859-1"), "{message}");
    }
}

/// The bytes of UTF-16 without a byte order mark are valid UTF-8.
#[test]
fn bytes_of_another_encoding_or_of_a_binary_file_are_no_text() {
    let utf16: Vec<u8> = with("").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for payload in [utf16.as_slice(), b"\xff\xfea\0", b"\x1f\x8b\x08\x08", b"\x01\x02\x03\x04\x05"]
    {
        let Err(error) = Manifest::parse(payload) else { panic!() };
        assert_eq!(error.position(), Some(LineColumn { line: 1, column: 1 }));
        assert!(matches!(error, ManifestError::NotUtf8 { .. }), "{error:?}");
    }
}

/// Ankaios' own format omits empty parts, which are equivalent to absent ones.
#[test]
fn empty_parts_are_omitted() {
    let plain = parse(&with("")).unwrap();
    for part in [
        "controlInterfaceAccess: {}",
        "controlInterfaceAccess: {allowRules0o7: [{type: StateRule}]}",
        "controlInterfaceAccess: {allowRules: [], denyRules: []}",
        "tags: {}",
        "dependencies: {}",
        "configs: {}",
        "files: []",
    ] {
        let manifest = parse(&with(part)).unwrap();
        let desired_state = Some(manifest.desired_state().clone());
        let state = CompleteState { desired_state, ..CompleteState::default() };
        let written = json::complete_state(&state, StateFormat::Ankaios);
        let written = serde_json::to_value(written).unwrap();
        assert_eq!(parse(&written["desiredState"].to_string()).unwrap(), plain, "{part}");
    }
}

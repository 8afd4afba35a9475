//! Tells bundles from other payloads.

/// Whether a payload is meant as a bundle: a JSON object with the key `payloadType` at its top
/// level, whatever its value.
///
/// JSON that is broken elsewhere counts, too: a damaged bundle must not be treated as a request
/// without signatures. Takes no memory, and time in proportion to the size only if the payload
/// begins with a brace, which a manifest in YAML does not.
#[must_use]
pub fn is_bundle(payload: &[u8]) -> bool {
    let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    let mut rest = payload.trim_ascii_start();
    if !rest.starts_with(b"{") {
        return false;
    }
    let mut depth = 0_usize;
    // Whether a string that comes now is a key, if the depth is 1.
    let mut is_key_next = false;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let Some((string, after)) = split_string(rest) else { return false };
                rest = after;
                if depth == 1 && is_key_next && is_payload_type(string) {
                    return true;
                }
                is_key_next = false;
            }
            b'{' | b'[' => {
                depth += 1;
                is_key_next = true;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                is_key_next = false;
            }
            b',' => is_key_next = true,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => is_key_next = false,
        }
    }
    false
}

/// Splits the text after a quotation mark into the string, with its escapes, and what follows it.
fn split_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    loop {
        let step = text.get(end..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        end += step;
        if text.get(end) == Some(&b'"') {
            return Some((text.get(..end)?, text.get(end + 1..)?));
        }
        end += 2;
    }
}

/// Whether the string, with its escapes, is the key of a bundle.
fn is_payload_type(string: &[u8]) -> bool {
    const KEY: &str = "payloadType";
    if !string.contains(&b'\\') {
        return string == KEY.as_bytes();
    }
    // At most six bytes for each letter.
    string.len() <= 6 * KEY.len()
        && serde_json::from_slice::<String>(&[b"\"", string, b"\""].concat())
            .is_ok_and(|key| key == KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_recognized_however_it_is_broken() {
        for text in [
            r#"{"payloadType": "application/vnd.fleet-connector.bundle.v1+json"}"#,
            r#"{"payloadType": null}"#,
            r#"{"payloadType" 1"#,
            r#"{"payloadType""#,
            r#"{"payloadType": {"#,
            r#"{"payloadType": "x"}}}} trailing"#,
            "\u{feff} \r\n\t{\n\"payloadType\"\n:1}",
            r#"{"a": {"b": ["}", {}]}, "payloadType": 1}"#,
            r#"{"a": "\"", "payloadType": 1}"#,
            r#"{"a": "\\", "payloadType": 1}"#,
            r#"{"a": nonsense, "payloadType": 1}"#,
            r#"{,,"payloadType": 1}"#,
            r#"{"payloadT\u0079pe": 1}"#,
            r#"{"\u0070\u0061\u0079\u006C\u006f\u0061\u0064\u0054\u0079\u0070\u0065": 1}"#,
        ] {
            assert!(is_bundle(text.as_bytes()), "{text}");
        }
        assert!(is_bundle(b"{\"\xff\": \"\xff\", \"payloadType\": \xff"));
    }

    #[test]
    fn other_payloads_are_not_bundles() {
        for text in [
            "",
            " ",
            "{",
            "{}",
            "[]",
            "apiVersion: v1\npayloadType: x",
            "payloadType: x",
            "\"payloadType\"",
            r#"["payloadType"]"#,
            r#"[{"payloadType": 1}]"#,
            r#"{"a": {"payloadType": 1}}"#,
            r#"{"a": [{"payloadType": 1}]}"#,
            r#"{"a": ["payloadType"]}"#,
            r#"{"a": "payloadType"}"#,
            r#"{"a": "{\"payloadType\": 1}"}"#,
            r#"{"payloadtype": 1}"#,
            r#"{"payloadType\u0000": 1}"#,
            r#"{"payloadTyp\u0065\u0065": 1}"#,
            r#"{"payloadType"#,
            r#"{"a": "\"#,
        ] {
            assert!(!is_bundle(text.as_bytes()), "{text}");
        }
        let manifest = format!("{{\"apiVersion\": \"v1\", \"workloads\": {}", "{".repeat(100_000));
        assert!(!is_bundle(manifest.as_bytes()));
    }
}

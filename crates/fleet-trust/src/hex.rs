//! Hashes in hexadecimal.

use std::fmt::Write;

/// Writes a hash with lower-case digits, as `sha256sum` prints it.
pub(crate) fn encode(hash: &[u8; 32]) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parses a hash of 64 lower-case digits.
pub(crate) fn decode(text: &str) -> Option<[u8; 32]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_in_no_other_way() {
        let mut hash = [0; 32];
        for (byte, value) in hash.iter_mut().zip((0..=255).step_by(8)) {
            *byte = value;
        }
        let text = encode(&hash);
        assert!(text.starts_with("0008101820"), "{text}");
        assert_eq!(decode(&text), Some(hash));
        let without_last = text.get(..63).unwrap_or_default();
        for wrong in ["", without_last, &format!("{text}0"), &format!("{without_last}g")] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        for wrong in [text.to_uppercase(), format!("+{without_last}"), format!("{}é", &text[2..])]
        {
            assert_eq!(decode(&wrong), None, "{wrong}");
        }
    }
}

//! The list of hosts that are reached without a proxy.

use std::net::IpAddr;

/// Prepares the value of `NO_PROXY` for the matcher, so that it also understands what other
/// programs do: blanks between entries, `*.example.com`, brackets, a dot at the end, and a port,
/// with which an entry holds only for that port.
pub(super) fn prepare(list: &str, port: u16) -> String {
    let entries = list.split(|character: char| character == ',' || character.is_whitespace());
    let entries = entries.filter(|entry| !entry.is_empty());
    entries.filter_map(|entry| prepare_entry(entry, port)).collect::<Vec<_>>().join(",")
}

/// `None` if the entry is for another port.
fn prepare_entry(entry: &str, port: u16) -> Option<String> {
    let entry = entry.strip_prefix("*.").map_or(entry.to_owned(), |suffix| format!(".{suffix}"));
    let host = match entry.rsplit_once(':') {
        // An IPv6 address without brackets has no port.
        Some((host, only)) if !host.contains(':') || host.ends_with(']') => {
            if only.parse() != Ok(port) {
                return None;
            }
            host
        }
        _ => &entry,
    };
    let host = host.replace(['[', ']'], "");
    let host = host.trim_end_matches('.');
    Some(match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        // For the matcher, an asterisk covers names only.
        Err(_) if host == "*" => "*,0.0.0.0/0,::/0".into(),
        Err(_) => host.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_as_the_matcher_knows_them() {
        for (list, prepared) in [
            ("", ""),
            (" a, .b\tc ,, ", "a,.b,c"),
            ("*", "*,0.0.0.0/0,::/0"),
            ("*.example.com", ".example.com"),
            ("example.com.", "example.com"),
            ("a:1883,b:8883", "a"),
            ("[::1],[::2]:1883,::3,fd00::/8,[fe::]/16", "::1,::2,::3,fd00::/8,fe::/16"),
            ("10.0.0.0/8,::ffff:1.2.3.4", "10.0.0.0/8,1.2.3.4"),
        ] {
            assert_eq!(prepare(list, 1883), prepared, "{list:?}");
        }
    }
}

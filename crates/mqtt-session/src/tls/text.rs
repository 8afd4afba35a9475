//! Times, names and paths in messages.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that can be formatted, 9999-12-31T23:59:59Z, in seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// A time in UTC, given in seconds since 1970: `2026-01-31T12:00:00Z`.
pub(super) fn time(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What a clock shows, in seconds since 1970; 0 before.
pub(super) fn seconds(clock: SystemTime) -> u64 {
    clock.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A path as an argument in a shell.
pub(super) fn shell(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// A list in a sentence: `a, b and c`, at most five, and how many more there are.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let mut items: Vec<_> = items.into_iter().collect();
    if items.len() > SHOWN {
        let more = items.len() - SHOWN;
        items.truncate(SHOWN);
        items.push(format!("{more} more"));
    }
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// How `openssl` names a host in *subjectAltName*: `DNS:localhost`, `IP:127.0.0.1`.
pub(super) fn alternative_name(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!("{kind}:{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_times_can_be_shown() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }

    #[test]
    fn paths_are_quoted_if_they_must_be() {
        assert_eq!(shell(Path::new("/etc/a-b_c.pem")), "/etc/a-b_c.pem");
        assert_eq!(shell(Path::new("/my car's.pem")), r"'/my car'\''s.pem'");
    }

    #[test]
    fn long_lists_are_cut() {
        let list = |count: usize| list((1..=count).map(|number| number.to_string()));
        assert_eq!(list(0), "");
        assert_eq!(list(1), "1");
        assert_eq!(list(3), "1, 2 and 3");
        assert_eq!(list(7), "1, 2, 3, 4, 5 and 2 more");
    }

    #[test]
    fn hosts_have_a_name_or_an_address() {
        assert_eq!(alternative_name("broker.example"), "DNS:broker.example");
        assert_eq!(alternative_name("::1"), "IP:::1");
    }
}

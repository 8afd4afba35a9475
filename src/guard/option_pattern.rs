//! Patterns of the policy for options of Podman.

use ankaios_model::FromText;
use wildmatch::WildMatch;

use super::podman_options::{PodmanOption, known};

/// A pattern such as `--privileged`, `--cap-*`, `--volume=/*` or `-v /*`. It consists of a
/// pattern for the name of the option and one for its value; without the latter it matches all
/// values. `*` matches any text, `?` one character. Values are compared without regard to case.
#[derive(Debug, Clone)]
pub(super) struct OptionPattern {
    text: String,
    name: WildMatch,
    value: Option<WildMatch>,
    /// Whether no known option has this name.
    unknown: bool,
}

impl OptionPattern {
    /// The text in the policy.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether no known option has this name, so that it may be misspelled.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether [`OptionPattern::matches`] reads the value of the option.
    pub(super) fn reads(&self, option: &PodmanOption) -> bool {
        self.value.is_some() && self.name.matches(&option.name)
    }

    /// Whether the pattern matches the option. `all` capabilities match any pattern for
    /// one of them.
    pub(super) fn matches(&self, option: &PodmanOption) -> bool {
        let is_all = |text: &String| text.eq_ignore_ascii_case("all");
        let fits = |pattern: &WildMatch| {
            let mut readings = option.readings().iter();
            option.name == "--cap-add" && readings.clone().any(is_all)
                || readings.any(|reading| pattern.matches(reading))
        };
        self.name.matches(&option.name) && self.value.as_ref().is_none_or(fits)
    }
}

impl FromText for OptionPattern {
    fn from_text(text: String) -> Result<Self, String> {
        let trimmed = text.trim();
        let (name, value) = match trimmed.split_once(|c: char| c == '=' || c.is_whitespace()) {
            Some((name, value)) => (name, Some(value.trim())),
            None => (trimmed, None),
        };
        let known = known(name).map(|(name, _)| name);
        let is_name = |name: &&str| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-*?".contains(&byte);
            name.strip_prefix("--").is_some_and(|long| !long.is_empty() && long.bytes().all(byte))
        };
        let Some(name) = known.or(Some(name).filter(is_name)) else {
            return Err(format!(
                "{text:?} is not a valid option pattern, write it as --privileged or --volume=/*"
            ));
        };
        if value.is_some_and(str::is_empty) {
            return Err(format!("{text:?} has an empty value, write only the name"));
        }
        Ok(Self {
            name: WildMatch::new(name),
            value: value.map(WildMatch::new_case_insensitive),
            unknown: known.is_none() && !name.contains(['*', '?']),
            text,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::podman_options::{OptionScope, read};
    use super::*;

    fn matches(pattern: &str, entries: &[&str]) -> bool {
        let pattern = OptionPattern::from_text(pattern.into()).unwrap();
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        read(&entries, OptionScope::Run).unwrap().iter().any(|option| pattern.matches(option))
    }

    #[test]
    fn a_pattern_matches_all_spellings() {
        for pattern in ["-v /:*", "--volume=/:*", "-v=/:*", "--volume /:*"] {
            for entries in [&["-v", "/:/x"][..], &["-iv//:/x:rw"], &["--volume=/etc/../:/x"]] {
                assert!(matches(pattern, entries), "{pattern} {entries:?}");
            }
            assert!(!matches(pattern, &["-v", "data:/x"]));
            assert!(!matches(pattern, &["-v", "/data:/x"]));
        }
        assert!(matches("--net=host", &["--network=HOST"]));
        assert!(matches("--network=host", &["--net", "host"]));
        assert!(!matches("--network=host", &["--net", "none"]));
        assert!(matches("--privileged", &["--privileged=true"]));
        assert!(matches("--privileged=true", &["--privileged"]));
        assert!(!matches("--privileged=true", &["--privileged=false"]));
        assert!(matches("--cap-*", &["--cap-add", "x"]));
        assert!(matches("--cap-add=*sys_admin", &["--cap-add=net_raw,CAP_SYS_ADMIN"]));
        assert!(!matches("--privileged", &["-e", "--privileged"]));
    }

    /// Podman 4.3 was seen to take each of these.
    #[test]
    fn what_podman_reads_is_found_however_it_is_spelled() {
        for (pattern, options) in [
            (
                "--cap-add=*SYS_ADMIN",
                &[
                    "--cap-add=\"SYS_ADMIN\"",
                    "--cap-add=NET_RAW,\"cap_sys_admin\"",
                    "--cap-add=SYS_ADMIN\nNET_RAW",
                    "--cap-add=\"SYS_ADMIN\"\r\nNET_RAW",
                    "--cap-add=\u{17f}YS_ADMIN",
                    "--cap-add=all",
                ][..],
            ),
            ("--cap-add=CAP_SYS_ADMIN", &["--cap-add=SYS_ADMIN", "--cap-add=\"sys_admin\""]),
            ("--cap-add=SYS_ADMIN", &["--cap-add=CAP_SYS_ADMIN"]),
            (
                "--device=/dev/*",
                &[
                    "--device=\"/dev/mem\"",
                    "--device=vendor.com/a=b,\"//dev/mem\"",
                    "--device=/etc/../dev/mem",
                    "--device=/x,/etc/../dev/mem",
                ],
            ),
            (
                "--mount=source=/*",
                &[
                    "--mount=type=bind,\"source=/\",target=/x",
                    "--mount=\"type=bind\",\"target=/x\",\"source=/a,b\"",
                    "--mount=type=bind,src=/,target=/x",
                ],
            ),
            ("--mount=source=/etc*", &["--mount=type=bind,source=/a:/../etc,target=/x"]),
            ("--volume=/etc:*", &["--volume=/a=/../etc:/x"]),
            ("--volume=*:/etc", &["--volume=v:/x/../etc"]),
            ("--security-opt=seccomp=*", &["--security-opt=seccomp:unconfined"]),
            ("--rm", &["--purge=true"]),
        ] {
            for option in options {
                assert!(matches(pattern, &[option]), "{pattern} {option:?}");
            }
        }
        assert!(!matches("--cap-add=*SYS_ADMIN", &["--cap-add=\"NET_RAW\""]));
        assert!(matches("--cap-add=SYS_ADMIN", &["--cap-add=NET_RAW,\"All\""]));
        assert!(!matches("--cap-drop=SYS_ADMIN", &["--cap-drop=all"]));
    }

    #[test]
    fn quotes_are_no_reason_to_refuse() {
        for option in ["--health-cmd=[\"curl\", \"x\"]", "--env={\"a\": \"b,c\"}", "--label=a=\""] {
            for pattern in ["--health-cmd=/*", "--env=X*", "--label=b"] {
                assert!(!matches(pattern, &[option]), "{pattern} {option}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in ["", "privileged", "-", "--", "-vx", "-Z", "*", "--a b=", "--x=", "--A_"] {
            let pattern = OptionPattern::from_text(wrong.into());
            assert!(pattern.is_err() || wrong == "--a b=", "{wrong}");
        }
        assert!(OptionPattern::from_text("--priviledged".into()).unwrap().is_unknown());
        assert!(!OptionPattern::from_text("--priv*".into()).unwrap().is_unknown());
    }
}

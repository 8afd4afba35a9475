//! The options of a `podman run` command line, each in one spelling.
//!
//! Podman takes an option in many spellings: `-v /:/host`, `-v/:/host`,
//! `-v=/:/host`, `-dv /:/host`, `--volume=/:/host`, or `--volume` and `/:/host` as
//! two entries. Which entries belong together depends on whether an option takes a
//! value. A mistake there would hide an option behind another one, or take an
//! option's value for the image. So an option that is not known here has to be
//! written with `=`, which can be read in one way only.

use std::cell::OnceCell;

use super::option_value::readings;
use super::violation::shown;

/// An option in its long spelling.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodmanOption {
    /// Such as `--volume`.
    pub(super) name: String,
    /// The value without blanks around it; `true` or `false` for a switch.
    pub(super) value: String,
    /// Made once for all patterns: a value can be as long as a manifest.
    readings: OnceCell<Vec<String>>,
}

impl PodmanOption {
    /// All texts that a pattern may want to match.
    pub(super) fn readings(&self) -> &[String] {
        self.readings.get_or_init(|| readings(&self.name, &self.value))
    }
}

/// Where options stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Between `podman` and `run`. Short options mean something else there.
    General,
    /// Between `run` and the image.
    Run,
}

/// Reads the entries of a list of options.
///
/// # Errors
/// What can not be read with certainty, and what would end the options, such as a
/// word that Podman takes for a command or the image.
pub(super) fn read(entries: &[String], place: Place) -> Result<Vec<PodmanOption>, String> {
    let mut options = Vec::new();
    let mut entries = entries.iter();
    while let Some(entry) = entries.next() {
        let shown = &shown(entry);
        let mut next = || {
            entries.next().cloned().ok_or_else(|| format!("{shown:?} stands last without a value"))
        };
        if let Some(long) = entry.strip_prefix("--") {
            options.push(read_long(shown, long, &mut next)?);
        } else if let Some(short) = entry.strip_prefix('-').filter(|short| !short.is_empty()) {
            if place == Place::General {
                return Err(format!("{shown:?}: write it in its long form"));
            }
            read_short(shown, short, &mut next, &mut options)?;
        } else {
            return Err(format!(
                "{shown:?} is no option, Podman would take it for the image or a command"
            ));
        }
    }
    Ok(options)
}

fn read_long(
    entry: &str,
    long: &str,
    next: &mut impl FnMut() -> Result<String, String>,
) -> Result<PodmanOption, String> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name {
        return Err(format!("{entry:?} is no option of Podman"));
    }
    let name = unalias(name);
    match value {
        Some(value) => option(name, value),
        None if SWITCHES.contains(&name) => option(name, "true"),
        None if WITH_VALUE.contains(&name) => option(name, &next()?),
        None => Err(format!(
            "{entry:?} is not known to the policy, so it has to be written with its value after \
             an equals sign; a switch with =true"
        )),
    }
}

/// One entry may hold several switches, and one option with its value at the end.
fn read_short(
    entry: &str,
    mut letters: &str,
    next: &mut impl FnMut() -> Result<String, String>,
    options: &mut Vec<PodmanOption>,
) -> Result<(), String> {
    while let Some(letter) = letters.chars().next() {
        let rest = letters.get(letter.len_utf8()..).unwrap_or_default();
        let Some(name) = long_name(letter) else {
            return Err(format!("{entry:?}: -{letter} is not known, write it in its long form"));
        };
        if let Some(value) = rest.strip_prefix('=') {
            options.push(option(name, value)?);
            return Ok(());
        }
        if SWITCHES.contains(&name) {
            options.push(option(name, "true")?);
            letters = rest;
            continue;
        }
        let value = if rest.is_empty() { next()? } else { rest.to_owned() };
        options.push(option(name, &value)?);
        return Ok(());
    }
    Ok(())
}

fn option(name: &str, value: &str) -> Result<PodmanOption, String> {
    let value = value.trim();
    let value = if SWITCHES.contains(&name) {
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => "true",
            "0" | "f" | "F" | "false" | "FALSE" | "False" => "false",
            _ => return Err(format!("--{name}={:?}: a switch is true or false", shown(value))),
        }
    } else {
        value
    };
    let (name, value) = (format!("--{name}"), value.to_owned());
    Ok(PodmanOption { name, value, readings: OnceCell::new() })
}

/// The name that Podman gives to other spellings of an option.
pub(super) fn unalias(name: &str) -> &str {
    match name {
        "net" => "network",
        "dns-opt" => "dns-option",
        "override-arch" => "arch",
        "override-os" => "os",
        "override-variant" => "variant",
        "purge" => "rm",
        "healthcheck-command" => "health-cmd",
        "healthcheck-interval" => "health-interval",
        "healthcheck-retries" => "health-retries",
        "healthcheck-start-period" => "health-start-period",
        "healthcheck-timeout" => "health-timeout",
        name => name,
    }
}

/// The long name of a short option of `podman run`.
pub(super) fn long_name(letter: char) -> Option<&'static str> {
    Some(match letter {
        'a' => "attach",
        'c' => "cpu-shares",
        'd' => "detach",
        'e' => "env",
        'h' => "hostname",
        'i' => "interactive",
        'l' => "label",
        'm' => "memory",
        'p' => "publish",
        'P' => "publish-all",
        'q' => "quiet",
        't' => "tty",
        'u' => "user",
        'v' => "volume",
        'w' => "workdir",
        _ => return None,
    })
}

/// Whether an option is known here.
pub(super) fn is_known(name: &str) -> bool {
    SWITCHES.contains(&name) || WITH_VALUE.contains(&name)
}

/// Options that take no value, or one after `=`.
const SWITCHES: &[&str] = &[
    "detach",
    "env-host",
    "help",
    "http-proxy",
    "init",
    "interactive",
    "no-healthcheck",
    "no-hosts",
    "oom-kill-disable",
    "passwd",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "read-only-tmpfs",
    "remote",
    "replace",
    "rm",
    "rmi",
    "rootfs",
    "sig-proxy",
    "syslog",
    "tls-verify",
    "transient-store",
    "tty",
    "unsetenv-all",
    "version",
];

/// Options that take a value, in the same entry after `=` or in the next one.
const WITH_VALUE: &[&str] = &[
    "add-host",
    "annotation",
    "arch",
    "attach",
    "authfile",
    "blkio-weight",
    "cap-add",
    "cap-drop",
    "cdi-spec-dir",
    "cgroup-conf",
    "cgroup-manager",
    "cgroup-parent",
    "cgroupns",
    "cgroups",
    "cidfile",
    "config",
    "conmon",
    "conmon-pidfile",
    "connection",
    "cpu-period",
    "cpu-profile",
    "cpu-quota",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "default-mounts-file",
    "device",
    "device-cgroup-rule",
    "dns",
    "dns-option",
    "dns-search",
    "entrypoint",
    "env",
    "env-file",
    "events-backend",
    "expose",
    "gidmap",
    "gpus",
    "group-add",
    "health-cmd",
    "health-interval",
    "health-log-destination",
    "health-retries",
    "health-start-period",
    "health-timeout",
    "hooks-dir",
    "hostname",
    "identity",
    "image-volume",
    "imagestore",
    "init-path",
    "ip",
    "ip6",
    "ipc",
    "label",
    "label-file",
    "log-driver",
    "log-level",
    "log-opt",
    "mac-address",
    "memory",
    "memory-profile",
    "memory-reservation",
    "memory-swap",
    "module",
    "mount",
    "name",
    "network",
    "network-alias",
    "network-backend",
    "network-cmd-path",
    "network-config-dir",
    "oom-score-adj",
    "os",
    "out",
    "pid",
    "pidfile",
    "pids-limit",
    "platform",
    "pod",
    "pod-id-file",
    "publish",
    "registries-conf",
    "requires",
    "restart",
    "root",
    "runroot",
    "runtime",
    "runtime-flag",
    "seccomp-policy",
    "secret",
    "security-opt",
    "shm-size",
    "signature-policy",
    "ssh",
    "stop-signal",
    "stop-timeout",
    "storage-driver",
    "storage-opt",
    "subgidname",
    "subuidname",
    "sysctl",
    "systemd",
    "timeout",
    "tmpdir",
    "tmpfs",
    "tz",
    "uidmap",
    "ulimit",
    "umask",
    "url",
    "user",
    "userns",
    "uts",
    "variant",
    "volume",
    "volumepath",
    "volumes-from",
    "workdir",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(entries: &[&str]) -> Result<Vec<String>, String> {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        let options = read(&entries, Place::Run)?;
        Ok(options.iter().map(|option| format!("{}={}", option.name, option.value)).collect())
    }

    #[test]
    fn every_spelling_becomes_the_same() {
        for entries in [
            &["-v", "/:/host"][..],
            &["-v/:/host"],
            &["-v=/:/host"],
            &["--volume", "/:/host"],
            &["--volume=/:/host"],
            &["--volume= /:/host "],
        ] {
            assert_eq!(run(entries).unwrap(), ["--volume=/:/host"], "{entries:?}");
        }
        let detached = ["--detach=true", "--tty=true", "--volume=/:/host"];
        assert_eq!(run(&["-dtv", "/:/host"]).unwrap(), detached);
        assert_eq!(run(&["-dtv/:/host"]).unwrap(), detached);
        for entry in ["--privileged", "--privileged=1", "--privileged=TRUE", "--privileged=t"] {
            assert_eq!(run(&[entry]).unwrap(), ["--privileged=true"], "{entry}");
        }
        assert_eq!(run(&["--net", "host"]).unwrap(), ["--network=host"]);
        assert_eq!(run(&["-t=false"]).unwrap(), ["--tty=false"]);
    }

    #[test]
    fn a_value_is_no_option_and_no_image() {
        assert_eq!(
            run(&["-e", "--privileged", "-p", "80:80"]).unwrap(),
            ["--env=--privileged", "--publish=80:80"]
        );
        assert_eq!(run(&["--any-new=x"]).unwrap(), ["--any-new=x"]);
    }

    #[test]
    fn what_can_not_be_read_with_certainty_is_refused() {
        for entries in [
            &["evil.io/image"][..],
            &["-e", "A=1", "evil.io/image"],
            &["--privileged", "true"],
            &["--any-new", "--privileged"],
            &["--"],
            &["-"],
            &[""],
            &["---privileged"],
            &["--volume /:/host"],
            &["--=x"],
            &["-e"],
            &["--volume"],
            &["-Z"],
            &["-dZ"],
            &["-ü"],
            &["--tty=maybe"],
        ] {
            assert!(run(entries).is_err(), "{entries:?}");
        }
        let general = |entry: &str| read(&[entry.to_owned()], Place::General);
        assert!(general("run").is_err());
        assert!(general("-v").is_err());
        assert!(general("--root").is_err());
        assert_eq!(general("--root=/x").unwrap().len(), 1);
    }
}

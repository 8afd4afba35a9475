//! The options of a `podman run` command line, each in one spelling.
//!
//! Podman accepts an option in many spellings: `-v /:/host`, `-v/:/host`,
//! `-v=/:/host`, `-dv /:/host`, `--volume=/:/host`, or `--volume` and `/:/host` as
//! two entries. Which entries belong together depends on whether an option takes a
//! value. A mistake there would hide an option behind another one, or confuse the
//! value of an option with the image. So an option that is not known here has to be
//! written with `=`, which is unambiguous.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::option_value::readings;
use super::violation::shown;

/// An option in its long spelling.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodmanOption {
    /// Such as `--volume`.
    pub(super) name: String,
    /// The value without blanks around it; `true` or `false` for a switch.
    pub(super) value: String,
    /// Computed once for all patterns, because a value can be as long as a manifest.
    readings: OnceCell<Vec<String>>,
}

impl PodmanOption {
    fn new(name: &str, kind: Option<OptionKind>, value: &str) -> Result<Self, String> {
        let value = match (kind, value.trim()) {
            (Some(OptionKind::Switch), "1" | "t" | "T" | "true" | "TRUE" | "True") => "true",
            (Some(OptionKind::Switch), "0" | "f" | "F" | "false" | "FALSE" | "False") => "false",
            (Some(OptionKind::Switch), value) => {
                return Err(format!("{name}={:?}: the value must be true or false", shown(value)));
            }
            (_, value) => value,
        };
        let (name, value) = (name.to_owned(), value.to_owned());
        Ok(Self { name, value, readings: OnceCell::new() })
    }

    /// All texts that a pattern is compared with.
    pub(super) fn readings(&self) -> &[String] {
        self.readings.get_or_init(|| readings(&self.name, &self.value))
    }
}

/// Where in the command line options stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionScope {
    /// Between `podman` and `run`. Short options have other meanings there.
    General,
    /// Between `run` and the image.
    Run,
}

/// Reads the entries of a list of options.
///
/// # Errors
/// An entry is ambiguous, or it would end the options, such as a word that Podman parses as a
/// command or the image.
pub(super) fn read(entries: &[String], place: OptionScope) -> Result<Vec<PodmanOption>, String> {
    let mut options = Vec::new();
    let mut entries = entries.iter();
    while let Some(entry) = entries.next() {
        let shown = &shown(entry);
        for SpelledOption { name, kind, value } in split(entry, shown, place)? {
            let value = match (value, kind) {
                (Some(value), _) => value,
                (None, Some(OptionKind::Switch)) => "true",
                (None, Some(OptionKind::WithValue)) => {
                    let missing = || format!("{shown:?} is the last entry and has no value");
                    entries.next().ok_or_else(missing)?
                }
                (None, None) => {
                    return Err(format!(
                        "{shown:?} is unknown to the policy, so it must be written with its value \
                         after an equals sign; a switch with =true"
                    ));
                }
            };
            options.push(PodmanOption::new(name, kind, value)?);
            // Without a value Podman copies variables of its own environment; `*` copies all.
            if name == "--env" && !value.contains('=') {
                options.push(PodmanOption::new("--env-host", Some(OptionKind::Switch), "true")?);
            }
        }
    }
    Ok(options)
}

/// An option as it is spelled in an entry.
struct SpelledOption<'a> {
    /// The long name.
    name: &'a str,
    /// `None` if the option is not known.
    kind: Option<OptionKind>,
    /// `None` if the entry has no value.
    value: Option<&'a str>,
}

/// Splits an entry into its options: one long option, or short switches and at most one
/// short option with a value at the end. `shown` is the entry as messages show it.
fn split<'a>(
    entry: &'a str,
    shown: &str,
    place: OptionScope,
) -> Result<Vec<SpelledOption<'a>>, String> {
    if entry.starts_with("--") {
        let (name, value) = match entry.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (entry, None),
        };
        let long = name.strip_prefix("--").unwrap_or_default();
        let is_name = long.starts_with(|c: char| c.is_ascii_alphanumeric())
            && long.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name {
            return Err(format!("{shown:?} is not a Podman option"));
        }
        let known = known(name);
        let (name, kind) = (known.map_or(name, |(name, _)| name), known.map(|(_, kind)| kind));
        return Ok(vec![SpelledOption { name, kind, value }]);
    }
    let Some(mut letters) = entry.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
        return Err(format!(
            "{shown:?} is not an option, Podman would take it for the image or a command"
        ));
    };
    if place == OptionScope::General {
        return Err(format!("{shown:?}: write it in its long form"));
    }
    let mut options = Vec::new();
    while let Some(letter) = letters.chars().next() {
        let Some((name, kind)) = known(&format!("-{letter}")) else {
            return Err(format!("{shown:?}: -{letter} is unknown, write it in its long form"));
        };
        let rest = letters.strip_prefix(letter).unwrap_or_default();
        let value = match rest.strip_prefix('=') {
            None if kind == OptionKind::WithValue && !rest.is_empty() => Some(rest),
            value => value,
        };
        options.push(SpelledOption { name, kind: Some(kind), value });
        letters = if value.is_some() { "" } else { rest };
    }
    Ok(options)
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionKind {
    /// No value, or one after `=`.
    Switch,
    /// A value, in the same entry or in the next one.
    WithValue,
}

/// The long name and the kind of an option, by any of its names, such as `-v` or `--net`.
pub(super) fn known(name: &str) -> Option<(&'static str, OptionKind)> {
    KNOWN.get(name).copied()
}

static KNOWN: LazyLock<HashMap<&str, (&str, OptionKind)>> = LazyLock::new(|| {
    let options = [(SWITCHES, OptionKind::Switch), (WITH_VALUE, OptionKind::WithValue)];
    let names = options.into_iter().flat_map(|(options, kind)| {
        options.split_whitespace().flat_map(move |names| {
            let long = names.split(',').next().unwrap_or_default();
            names.split(',').map(move |name| (name, (long, kind)))
        })
    });
    names.collect()
});

/// The switches, each with its aliases after the name that Podman itself uses.
const SWITCHES: &str = "
    --detach,-d --env-host --help --http-proxy --init --interactive,-i --no-healthcheck
    --no-hosts --oom-kill-disable --passwd --privileged --publish-all,-P --quiet,-q --read-only
    --read-only-tmpfs --remote --replace --rm,--purge --rmi --rootfs --sig-proxy --syslog
    --tls-verify --transient-store --tty,-t --unsetenv-all --version
";

/// The options with a value, as in [`SWITCHES`].
const WITH_VALUE: &str = "
    --add-host --annotation --arch,--override-arch --attach,-a --authfile --blkio-weight
    --cap-add --cap-drop --cdi-spec-dir --cert-dir --cgroup-conf --cgroup-manager --cgroup-parent
    --cgroupns --cgroups --cidfile --config --conmon --conmon-pidfile --connection --context --cpu-period
    --cpu-profile --cpu-quota --cpu-shares,-c --cpus --cpuset-cpus --cpuset-mems --creds
    --decryption-key --default-mounts-file --device --device-cgroup-rule --dns --dns-option,--dns-opt
    --dns-search --entrypoint --env,-e --env-file --events-backend --expose --gidmap --gpus
    --group-add --health-cmd,--healthcheck-command --health-interval,--healthcheck-interval
    --health-log-destination --health-retries,--healthcheck-retries
    --health-start-period,--healthcheck-start-period --health-timeout,--healthcheck-timeout
    --hooks-dir --host --hostname,-h --hostuser --identity --image-volume --imagestore --init-path --ip --ip6
    --ipc --label,-l --label-file --log-driver --log-level --log-opt --mac-address --memory,-m
    --memory-profile --memory-reservation --memory-swap --module --mount --name --network,--net
    --network-alias --network-backend --network-cmd-path --network-config-dir --oom-score-adj
    --os,--override-os --out --pid --pidfile --pids-limit --platform --pod --pod-id-file
    --publish,-p --registries-conf --requires --restart --root --runroot --runtime
    --runtime-flag --sdnotify --seccomp-policy --secret --security-opt --shm-size --signature-policy --ssh
    --stop-signal --stop-timeout --storage-driver --storage-opt --subgidname --subuidname
    --sysctl --systemd --timeout --tmpdir --tmpfs --tz --uidmap --ulimit --umask --url --user,-u
    --userns --uts --variant,--override-variant --volume,-v --volumepath --volumes-from
    --workdir,-w
";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(entries: &[&str]) -> Result<Vec<String>, String> {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        let options = read(&entries, OptionScope::Run)?;
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
    fn a_value_is_neither_an_option_nor_an_image() {
        assert_eq!(
            run(&["-e", "--privileged", "-p", "80:80"]).unwrap(),
            ["--env=--privileged", "--env-host=true", "--publish=80:80"]
        );
        assert_eq!(run(&["-e", "A=*", "--env=A="]).unwrap(), ["--env=A=*", "--env=A="]);
        assert_eq!(run(&["--any-new=x"]).unwrap(), ["--any-new=x"]);
    }

    #[test]
    fn ambiguous_entries_are_refused() {
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
        let general = |entry: &str| read(&[entry.to_owned()], OptionScope::General);
        assert!(general("run").is_err());
        assert!(general("-v").is_err());
        assert!(general("--root").is_err());
        assert_eq!(general("--root=/x").unwrap().len(), 1);
    }
}

//! Formats that their first lines identify.

use super::format::Foreign;

/// The beginning of a text, prepared for the conditions.
struct Beginning<'a> {
    /// The text without leading and trailing white space.
    text: &'a str,
    /// The same in lower case.
    lower: String,
    /// The first line that is neither empty nor a comment.
    first: &'a str,
}

impl Beginning<'_> {
    fn starts_with_any(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.lower.starts_with(prefix))
    }

    fn contains_any(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.lower.contains(part))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }

    /// The lines that are neither empty nor comments.
    fn content_lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.lines().map(str::trim);
        lines.filter(|line| !(line.is_empty() || line.starts_with(['#', ';'])))
    }

    fn is_html(&self) -> bool {
        self.starts_with_any(&["<!doctype html", "<html", "<head", "<body"])
            || self.lower.starts_with('<') && self.contains_any(&["<html", "<body"])
    }

    fn is_one_line(&self) -> bool {
        !self.text.contains('\n')
    }
}

const DOWNLOAD: &str = "the download has failed: check the address and the login (curl -f ends \
                        with an error then)";

/// How a format is recognised.
type Condition = fn(&Beginning<'_>) -> bool;

/// The formats; the first that matches counts.
const FORMATS: &[(Condition, &str, &str)] = &[
    (
        |it| it.is_html() && it.contains_any(&["github.com", "githubassets", "gitlab"]),
        "a web page about a file",
        "download the file itself: the Raw button, or raw.githubusercontent.com/OWNER/REPOSITORY/\
         BRANCH/FILE",
    ),
    (
        |it| it.is_html() && it.contains_any(&["not found", "404", "forbidden", "denied"]),
        "a web page with an error",
        DOWNLOAD,
    ),
    (
        |it| it.is_html(),
        "a web page (HTML)",
        "the address is that of a page or of a login, not of the file: download the file itself",
    ),
    (
        |it| it.lower.starts_with("<") && it.contains_any(&["accessdenied", "nosuchkey"]),
        "an error of a storage service (XML)",
        DOWNLOAD,
    ),
    (
        |it| is_conflict(it),
        "a file with a merge conflict",
        "resolve it: remove the lines <<<<<<<, ======= and >>>>>>> and one of the two versions",
    ),
    (|it| it.starts_with_any(&["<?xml", "<!", "<"]), "XML", "write the content as YAML or JSON"),
    (|it| is_http_error(it), "an error message of a web server", DOWNLOAD),
    (|it| it.lower.starts_with("curl: ("), "an error message of curl", DOWNLOAD),
    (
        |it| it.lower.starts_with("version https://git-lfs"),
        "a Git LFS pointer",
        "get the file that it stands for: git lfs pull",
    ),
    (
        |it| {
            it.starts_with_any(&["-----begin ", "ssh-rsa ", "ssh-ed25519 "])
                || it.lower.contains("\n-----begin ")
        },
        "a certificate, a key or a signed message (PEM)",
        "send the text itself; certificates and keys belong into files of the connector",
    ),
    (|it| it.text.starts_with("#!"), "a script", "run it, and send what it writes"),
    (
        |it| is_numbered(it),
        "text with line numbers",
        "send it without them; cat -n and less -N add them",
    ),
    (
        |it| it.lines().nth(1).is_some() && ["$ ", "> "].iter().any(|p| it.text.starts_with(p)),
        "text that was copied from a terminal",
        "remove the lines with commands, or send the file",
    ),
    (
        |it| it.is_one_line() && it.starts_with_any(&["http://", "https://", "file://", "s3://"]),
        "an address",
        "send what is there: curl -fL ADDRESS | mosquitto_pub -s",
    ),
    (
        |it| it.starts_with_any(&["```", "~~~"]) || it.text.contains("\n```"),
        "Markdown with the text between fences",
        "send only the lines between the lines with ```",
    ),
    (
        |it| it.text.starts_with("# ") && it.contains_any(&["\n## ", "\n* ", "](http"]),
        "Markdown",
        "send the manifest itself",
    ),
    (
        |it| it.starts_with_any(&["diff --git", "--- a/", "index: "]),
        "a patch (diff)",
        "apply it (git apply), and send the file that it changes",
    ),
    (
        |it| is_table(it),
        "a table for people",
        "ask for YAML: ank -k get state -o yaml desiredState prints the desired state; send what \
         is below desiredState:",
    ),
    (|it| is_hexadecimal(it), "text in hexadecimal", "decode it: xxd -r -p FILE"),
    (|it| is_base64(it), "text in base64", "decode it: base64 -d FILE"),
    (
        |it| is_ini(it) && it.content_lines().any(is_unit_section),
        "a Quadlet or systemd unit",
        "write a workload with runtime: podman, and Image= as image: in its runtimeConfig: |",
    ),
    (
        |it| is_ini(it),
        "TOML, INI or an environment file",
        "write it as YAML: key: value, with indentation instead of [sections]",
    ),
    (
        |it| is_dockerfile(it),
        "a Dockerfile",
        "build the image, push it to a registry, and name it in the runtimeConfig of a workload",
    ),
    (
        |it| it.is_one_line() && is_file_name(it.text),
        "the name of a file",
        "send its content: mosquitto_pub -f FILE, not -m FILE",
    ),
    (
        |it| it.is_one_line() && it.text.starts_with(['$', '`']),
        "a shell command or variable",
        "the shell has not replaced it: use double quotes, or mosquitto_pub -f FILE",
    ),
    (
        |it| COMMANDS.iter().any(|command| it.first.starts_with(command)),
        "a script or a shell command",
        "run it, and send what it writes",
    ),
    (
        |it| SOURCES.iter().any(|keyword| it.first.starts_with(keyword)),
        "the source of a program",
        "send the manifest itself",
    ),
    (|it| is_csv(it), "a table (CSV)", "write it as YAML or JSON"),
];

/// How scripts without `#!` and commands begin.
const COMMANDS: [&str; 16] = [
    "set -",
    "export ",
    "echo ",
    "cd ",
    "sudo ",
    "source ",
    "ank ",
    "podman ",
    "docker ",
    "kubectl ",
    "mosquitto_",
    "curl ",
    "wget ",
    "cat ",
    "apt-get ",
    "systemctl ",
];

/// How programs begin.
const SOURCES: [&str; 12] = [
    "import ",
    "from ",
    "def ",
    "package ",
    "use ",
    "fn ",
    "pub ",
    "const ",
    "let ",
    "function ",
    "resource \"",
    "#include",
];

/// Recognises the format of a text.
pub(super) fn recognize(text: &str) -> Option<Foreign> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    let first =
        text.lines().map(str::trim).find(|line| !(line.is_empty() || line.starts_with('#')));
    let beginning =
        Beginning { text, lower: text.to_lowercase(), first: first.unwrap_or_default() };
    let (_, what, advice) = FORMATS.iter().find(|(is, ..)| is(&beginning))?;
    Some(Foreign { what, advice })
}

fn is_conflict(it: &Beginning<'_>) -> bool {
    let has = |mark: &str| it.lines().any(|line| line.starts_with(mark));
    has("<<<<<<< ") && has(">>>>>>> ")
}

/// `404: Not Found`, `403 Forbidden`, `Not Found`, `Access Denied`.
fn is_http_error(it: &Beginning<'_>) -> bool {
    let status = it.first.split([' ', ':']).next().unwrap_or_default();
    let is_status = status.len() == 3
        && status.starts_with(['4', '5'])
        && status.bytes().all(|byte| byte.is_ascii_digit());
    let words = ["not found", "forbidden", "unauthorized", "access denied", "bad gateway"];
    it.is_one_line()
        && it.text.len() < 200
        && !it.text.starts_with(['{', '['])
        && (is_status || it.starts_with_any(&words))
}

/// What `ank get workloads`, `ank get agents`, `kubectl get` and `podman ps` print.
fn is_table(it: &Beginning<'_>) -> bool {
    let header = it.first;
    let starts = ["WORKLOAD NAME", "NAME ", "CONTAINER ID", "CONFIGS", "NAMESPACE "];
    starts.iter().any(|start| header.starts_with(start))
        && !header.contains(':')
        && header.chars().all(|c| c.is_ascii_uppercase() || c == ' ' || c == '/')
}

/// `[section]` or `key = value` at the start.
fn is_ini(it: &Beginning<'_>) -> bool {
    let mut lines = it.content_lines();
    let Some(first) = lines.next() else { return false };
    is_section(first)
        && lines.all(|line| is_section(line) || is_assignment(line) || is_rest(line))
        && it.content_lines().nth(1).is_some_and(|line| is_assignment(line) || is_section(line))
        || is_assignment(first) && !first.contains(": ")
}

/// The continuation of a value over several lines.
fn is_rest(line: &str) -> bool {
    !line.contains(": ") && !line.ends_with(':')
}

fn is_section(line: &str) -> bool {
    let name = line.strip_prefix('[').and_then(|rest| rest.trim_end().strip_suffix(']'));
    name.is_some_and(|name| {
        !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || " ._-[]\"@/".contains(c))
            && !name.starts_with(['"', ' '])
    })
}

fn is_unit_section(line: &str) -> bool {
    let sections = [
        "[Unit]",
        "[Service]",
        "[Install]",
        "[Container]",
        "[Pod]",
        "[Kube]",
        "[Volume]",
        "[Network]",
        "[Build]",
        "[Image]",
        "[Socket]",
        "[Timer]",
        "[Mount]",
    ];
    sections.contains(&line)
}

fn is_assignment(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    let key = key.trim().trim_start_matches("export ");
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "._-\"".contains(c))
}

fn is_dockerfile(it: &Beginning<'_>) -> bool {
    it.first.starts_with("FROM ") || it.first.starts_with("ARG ") && it.text.contains("\nFROM ")
}

fn is_file_name(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let has_extension = [".yaml", ".yml", ".json", ".txt", ".toml"];
    has_extension.iter().any(|extension| lower.ends_with(extension))
        && !text.contains(char::is_whitespace)
        && !text.starts_with(['{', '[', '"'])
}

/// `1 apiVersion: v1`, then a line with 2.
fn is_numbered(it: &Beginning<'_>) -> bool {
    let mut lines = it.lines().map(str::trim_start);
    let mut has = |number: char| {
        let rest = lines.next().and_then(|line| line.strip_prefix(number));
        rest.is_some_and(|rest| rest.starts_with(['\t', ' ', ':', '|']) || rest.starts_with(". "))
    };
    has('1') && has('2')
}

/// At least 32 hexadecimal digits, some of them letters.
fn is_hexadecimal(it: &Beginning<'_>) -> bool {
    let bytes = || it.text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    bytes().count() >= 32
        && bytes().all(|byte| byte.is_ascii_hexdigit())
        && bytes().any(|byte| byte.is_ascii_digit())
        && bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// At least 24 characters of base64, with digits and letters of both cases.
fn is_base64(it: &Beginning<'_>) -> bool {
    let bytes = || it.text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let count = bytes().count();
    // Names contain - and _, which the URL-safe form has, too.
    let special: &[u8] = if count < 40 { b"+/=" } else { b"+/=-_" };
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || special.contains(&byte);
    count >= 24
        && bytes().all(is_base64)
        && !it.text.contains(' ')
        && bytes().any(|byte| byte.is_ascii_digit())
        && bytes().any(|byte| byte.is_ascii_lowercase())
        && bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_csv(it: &Beginning<'_>) -> bool {
    let mut lines = it.content_lines();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return false };
    let counts =
        [',', ';', '\t'].map(|comma| (first.matches(comma).count(), second.matches(comma).count()));
    !first.contains([':', '{', '[']) && counts.iter().any(|(a, b)| *a > 0 && a == b)
}

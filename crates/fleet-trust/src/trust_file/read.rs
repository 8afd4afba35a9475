//! From YAML to a trust file, with all mistakes.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::file::{DEFAULT_REQUIRE, MAX_TRUST_FILE, TrustFile};
use yaml_events::tree::{self, Kind, Node, Position};

use super::mistake::Mistake;
use super::role::{Keyring, NamedKey, Role, TRUST_UPDATE};
use crate::bundle::MAX_SIGNATURES;
use crate::key::PublicKey;
use crate::statement::MAX_SERIAL;

/// Maximum depth of collections. A trust file has four.
const MAX_DEPTH: usize = 8;

/// Maximum number of keys of a role.
const MAX_KEYS: usize = 64;

/// Maximum number of mistakes that are reported. More are of a file that is something else.
const MAX_MISTAKES: usize = 100;

/// Maximum length of the name of a fleet.
const MAX_FLEET: usize = 64;

impl TrustFile {
    /// Parses a trust file in YAML or JSON. `operations` are the names that `require` may have.
    ///
    /// # Errors
    /// All mistakes, at most 100, sorted by position; never empty.
    pub fn parse(text: &[u8], operations: &[&str]) -> Result<Self, Vec<Mistake>> {
        let root = text_of(text)
            .and_then(without_private_key)
            .and_then(root_of)
            .map_err(|mistake| vec![mistake])?;
        let mut reader = Reader { mistakes: Vec::new() };
        let file = reader.file(&root, operations);
        let mut mistakes = reader.mistakes;
        match file {
            Some(file) if mistakes.is_empty() => Ok(file),
            _ => {
                mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
                Err(mistakes)
            }
        }
    }
}

/// The text of a file.
fn text_of(bytes: &[u8]) -> Result<&str, Mistake> {
    if bytes.len() > MAX_TRUST_FILE {
        let limit = MAX_TRUST_FILE / 1024;
        return Err(Mistake::new(Position::START, format!("the file has more than {limit} KiB")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Mistake::new(
            Position::of_byte(bytes, error.valid_up_to()),
            "there is a byte that is not UTF-8 text; save the file as UTF-8",
        )
    })?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

/// Messages quote parts of the file, and are published: a private key must not be in them.
fn without_private_key(text: &str) -> Result<&str, Mistake> {
    let Some(line) = text.lines().position(|line| line.contains("PRIVATE KEY-----")) else {
        return Ok(text);
    };
    Err(Mistake::new(
        Position { line: line + 1, column: 1 },
        "this is a private key, which must stay with its owner; write the line of the .pub file",
    ))
}

/// The tree of a text.
fn root_of(text: &str) -> Result<Node, Mistake> {
    let root =
        tree::parse(text, MAX_DEPTH).map_err(|error| Mistake::new(error.at, error.reason))?;
    root.ok_or_else(|| {
        let help = "the file is empty; write fleet, version, min_serial, require and roles";
        Mistake::new(Position::START, help)
    })
}

/// What a node is, for messages.
fn describe(node: &Node) -> String {
    match &node.kind {
        _ if node.is_null() => "nothing".to_owned(),
        Kind::Scalar { text, plain: true } => format!("{text:?}"),
        Kind::Scalar { text, .. } => format!("{text:?} in quotes"),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
    }
}

/// Reads nodes, and collects the mistakes. A method that returns `None` has added one.
struct Reader {
    mistakes: Vec<Mistake>,
}

/// The entries of a map, by the names that it may have.
struct Entries<'a, const N: usize> {
    at: Position,
    values: [Option<&'a Node>; N],
}

impl Reader {
    fn wrong<T>(&mut self, at: Position, text: impl Display) -> Option<T> {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(Mistake::new(at, text.to_string()));
        }
        None
    }

    fn file(&mut self, root: &Node, operations: &[&str]) -> Option<TrustFile> {
        let names = ["fleet", "version", "min_serial", "require", "roles"];
        let Entries { at, values } = self.entries(root, "the trust file", names)?;
        let [fleet, version, min_serial, require, roles] = values;
        let fleet = self.given(at, fleet, "fleet", "for example fleet: prod-eu");
        let fleet = fleet.and_then(|node| self.fleet(node));
        let version = self.given(at, version, "version", "version: 1 for the first file");
        let version = version.and_then(|node| self.number(node, "version", 1, u64::from(u32::MAX)));
        let min_serial = match min_serial {
            None => Some(0),
            Some(node) => self.number(node, "min_serial", 0, MAX_SERIAL),
        };
        let require = match require {
            None => Some(DEFAULT_REQUIRE.map(str::to_owned).into()),
            Some(node) => self.require(node, operations),
        };
        let roles = self.given(at, roles, "roles", "roles: with root and release");
        let roles = roles.and_then(|node| self.roles(node));
        let (root, release) = roles?;
        Some(TrustFile {
            fleet: fleet?,
            version: version?,
            min_serial: min_serial?,
            require: require?,
            root,
            release,
        })
    }

    /// The entries of a map that has no other names, and each only once.
    fn entries<'a, const N: usize>(
        &mut self,
        node: &'a Node,
        what: &str,
        names: [&str; N],
    ) -> Option<Entries<'a, N>> {
        let Kind::Map(entries) = &node.kind else {
            let text =
                format!("{what} is {}; write a map with {}", describe(node), names.join(", "));
            return self.wrong(node.at, text);
        };
        let mut values = [None; N];
        for (key, value) in entries {
            let name = match &key.kind {
                Kind::Scalar { text, .. } => text.as_str(),
                _ => "",
            };
            let slot = names.iter().position(|it| *it == name).and_then(|i| values.get_mut(i));
            match slot {
                None => {
                    let text = format!(
                        "{} is not known here; {what} has only {}",
                        describe(key),
                        names.join(", ")
                    );
                    self.wrong(key.at, text)
                }
                Some(Some(_)) => {
                    self.wrong(key.at, format!("{name} is there twice; write it once"))
                }
                Some(slot) => {
                    *slot = Some(value);
                    Some(())
                }
            };
        }
        Some(Entries { at: node.at, values })
    }

    /// A value that must be there.
    fn given<'a>(
        &mut self,
        at: Position,
        value: Option<&'a Node>,
        name: &str,
        hint: &str,
    ) -> Option<&'a Node> {
        match value {
            Some(node) => Some(node),
            None => self.wrong(at, format!("{name} is missing; write {hint}")),
        }
    }

    fn fleet(&mut self, node: &Node) -> Option<String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match &node.kind {
            Kind::Scalar { text, .. }
                if !node.is_null() && text.len() <= MAX_FLEET && text.chars().all(is_allowed) =>
            {
                if text.is_empty() {
                    return self.wrong(node.at, "fleet is empty; write a name");
                }
                Some(text.clone())
            }
            _ => {
                let text = format!(
                    "fleet is {}; write 1 to {MAX_FLEET} letters, digits, '.', '_' and '-'",
                    describe(node)
                );
                self.wrong(node.at, text)
            }
        }
    }

    fn number(&mut self, node: &Node, name: &str, min: u64, max: u64) -> Option<u64> {
        let number = match &node.kind {
            // `parse` accepts a sign, too.
            Kind::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().filter(|number| (min..=max).contains(number))
            }
            _ => None,
        };
        number.or_else(|| {
            let text = format!("{name} is {}; write a number from {min} to {max}", describe(node));
            self.wrong(node.at, text)
        })
    }

    fn list<'a>(&mut self, node: &'a Node, name: &str, hint: &str) -> Option<&'a [Node]> {
        match &node.kind {
            Kind::List(items) if !items.is_empty() => Some(items),
            Kind::List(_) => self.wrong(node.at, format!("{name} is an empty list; {hint}")),
            _ => self.wrong(node.at, format!("{name} is {}; write a list", describe(node))),
        }
    }

    fn require(&mut self, node: &Node, operations: &[&str]) -> Option<BTreeSet<String>> {
        let hint = format!("leave it out to require {}", DEFAULT_REQUIRE.join(", "));
        let items = self.list(node, "require", &hint)?;
        let mut require = BTreeSet::new();
        for item in items {
            match &item.kind {
                Kind::Scalar { text, .. }
                    if text == TRUST_UPDATE || operations.contains(&text.as_str()) =>
                {
                    if !require.insert(text.clone()) {
                        self.wrong::<()>(item.at, format!("{text} is there twice; write it once"));
                    }
                }
                _ => {
                    let text = format!(
                        "{} is not an operation; write some of {}",
                        describe(item),
                        operations.join(", ")
                    );
                    self.wrong::<()>(item.at, text);
                }
            }
        }
        Some(require)
    }

    fn roles(&mut self, node: &Node) -> Option<(Keyring, Keyring)> {
        let Entries { at, values } = self.entries(node, "roles", ["root", "release"])?;
        let [root, release] = values;
        let mut keyring = |role: Role, node: Option<&Node>| {
            let hint = format!("{role}: {{threshold: 1, keys: [\"ssh-ed25519 AAAA… alice\"]}}");
            let node = self.given(at, node, &format!("the role {role}"), &hint)?;
            self.keyring(role, node)
        };
        let root = keyring(Role::Root, root);
        let release = keyring(Role::Release, release);
        root.zip(release)
    }

    fn keyring(&mut self, role: Role, node: &Node) -> Option<Keyring> {
        let what = format!("the role {role}");
        let Entries { at, values } = self.entries(node, &what, ["threshold", "keys"])?;
        let [threshold_node, keys_node] = values;
        let keys = self.given(at, keys_node, &format!("keys of {what}"), "a list of public keys");
        let keys = keys.and_then(|node| self.keys(node, &what));
        let hint = "how many different keys must sign, for example threshold: 2";
        let node = self.given(at, threshold_node, &format!("threshold of {what}"), hint)?;
        let name = format!("threshold of {what}");
        // Wrong lines in the list count as keys, so that they are not reported twice.
        let count = match keys_node.map(|node| &node.kind) {
            Some(Kind::List(items)) => items.len().max(1),
            _ => MAX_SIGNATURES,
        };
        let threshold = self.number(node, &name, 1, MAX_SIGNATURES as u64)? as usize;
        if threshold > count {
            let keys = if count == 1 { "is only 1 key" } else { &format!("are only {count} keys") };
            let text = format!("{name} is {threshold}, and there {keys}");
            return self.wrong(node.at, text);
        }
        Some(Keyring { role, threshold, keys: keys? })
    }

    fn keys(&mut self, node: &Node, what: &str) -> Option<Vec<NamedKey>> {
        let items = self.list(node, &format!("keys of {what}"), "write public keys")?;
        if items.len() > MAX_KEYS {
            let text = format!("{what} has {} keys; the maximum is {MAX_KEYS}", items.len());
            return self.wrong(node.at, text);
        }
        let mut keys: Vec<(Position, NamedKey)> = Vec::new();
        for item in items {
            let parsed = match &item.kind {
                Kind::Scalar { text, .. } => PublicKey::parse(text.trim()).map(|key| {
                    let comment = text.trim().splitn(3, ' ').nth(2).unwrap_or_default();
                    NamedKey { key, comment: comment.trim().to_owned() }
                }),
                _ => Err(format!(
                    "it is {}; write it in quotes as one line of a .pub file",
                    describe(item)
                )),
            };
            match parsed {
                Err(problem) => {
                    self.wrong::<()>(item.at, format!("a key of {what} cannot be used: {problem}"));
                }
                Ok(named) => {
                    let same = keys.iter().find(|(_, it)| it.key.has_same_point(&named.key));
                    if let Some((first, _)) = same {
                        let text = format!(
                            "{} is a key of {what} twice (also in line {}, column {}); a key \
                             counts once",
                            named.key.id(),
                            first.line,
                            first.column
                        );
                        self.wrong::<()>(item.at, text);
                    }
                    keys.push((item.at, named));
                }
            }
        }
        Some(keys.into_iter().map(|(_, key)| key).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_named_and_not_quoted() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----";
        for (text, line) in [(key.to_owned(), 1), (format!("fleet: a\nroles: >\n  {key}"), 3)] {
            let mistakes = TrustFile::parse(text.as_bytes(), &[]).unwrap_err();
            let [Mistake { line: found, text, .. }] = &mistakes[..] else {
                panic!("{mistakes:?}");
            };
            assert_eq!(*found, line, "{text}");
            assert!(text.contains("private key") && !text.contains("b3Blbn"), "{text}");
        }
    }
}

//! The documents name everything that exists: each log line, each error code, each metric in an
//! alert, and each file that they link to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ankaios_model::manifest::Manifest;
use fleet_contract::error::ErrorCode;

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const MANIFESTS: &str = include_str!("../../docs/manifests.md");
const README: &str = include_str!("../../README.md");

/// All files with this extension below a directory of the project.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The string literals in the arguments of a macro, up to its closing parenthesis, without
/// escaped line ends.
fn literals(arguments: &str) -> Vec<String> {
    let (mut literals, mut depth) = (Vec::new(), 1);
    let mut characters = arguments.chars();
    while let Some(character) = characters.next() {
        match character {
            '(' => depth += 1,
            ')' if depth == 1 => break,
            ')' => depth -= 1,
            '"' => {
                let mut literal = String::new();
                loop {
                    match characters.next().unwrap() {
                        '"' => break,
                        '\\' => match characters.next().unwrap() {
                            '\n' => {
                                let rest = characters.as_str().trim_start();
                                characters = rest.chars();
                            }
                            escaped => literal.push(escaped),
                        },
                        other => literal.push(other),
                    }
                }
                literals.push(literal);
            }
            _ => {}
        }
    }
    literals
}

/// The texts of all log lines, each up to its first placeholder.
fn log_lines() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let sources = ["src", "crates"].map(|folder| files(&root().join(folder), "rs"));
    for path in sources.into_iter().flatten() {
        let source = fs::read_to_string(&path).unwrap();
        for level in ["info", "warn", "error"] {
            for (_, arguments) in
                source.match_indices(&format!("tracing::{level}!(")).map(|(index, name)| {
                    let rest = &source[index + name.len()..];
                    (index, rest)
                })
            {
                let Some(text) = literals(arguments).pop() else { continue };
                let text = match text.split_once('{') {
                    // The fixed text follows the placeholder.
                    Some(("", rest)) => rest.split_once('}').unwrap().1.to_owned(),
                    Some((before, _)) => before.to_owned(),
                    None => text,
                };
                lines.insert(text);
            }
        }
    }
    lines
}

#[test]
fn each_log_line_is_documented() {
    let lines = log_lines();
    assert!(lines.len() > 40, "{lines:?}");
    let missing: Vec<_> = lines.iter().filter(|line| !OPERATIONS.contains(line.as_str())).collect();
    assert!(missing.is_empty(), "docs/operations.md does not explain {missing:#?}");
}

#[test]
fn each_error_code_is_documented() {
    for code in ErrorCode::ALL {
        for document in [OPERATIONS, README] {
            assert!(document.contains(&format!("`{}`", code.name())), "{code}");
        }
    }
}

#[test]
fn each_error_of_the_network_that_is_documented_exists() {
    let sources = files(&root().join("crates/mqtt-session/src"), "rs");
    let sources: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let section =
        OPERATIONS.split("\n## Networks\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let tables = section.split("| in the log | what to do |\n").skip(1);
    let rows = tables.flat_map(|table| table.lines().take_while(|line| line.starts_with('|')));
    let errors = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    // What follows is an example.
    let fixed = errors.map(|error| error.split(|c: char| c.is_ascii_digit() || c == '…').next());
    let fixed: BTreeSet<_> =
        fixed.flatten().map(str::trim).filter(|text| !text.is_empty()).collect();
    assert!(fixed.len() > 8, "{fixed:?}");
    for text in fixed {
        assert!(sources.contains(text), "{text}");
    }
}

/// The README abbreviates some names with braces, such as `…_{sent,received}_bytes_total`.
#[test]
fn each_metric_of_a_query_is_in_the_readme() {
    let names = OPERATIONS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: BTreeSet<_> = names.filter(|name| name.starts_with("fleet_connector_")).collect();
    assert!(names.len() > 6, "{names:?}");
    for name in names {
        let name = name.trim_end_matches("_bucket");
        let last = name.replace("mqtt_sent_", "mqtt_{sent,received}_");
        let last = last.replace("bytes_total", "{packets,bytes}_total");
        let dropped = name.replace("fleet_connector_ankaios_dropped_events", "…_dropped_events");
        assert!([name, &last, &dropped].iter().any(|name| README.contains(*name)), "{name}");
    }
}

#[test]
fn each_link_leads_to_a_file() {
    let own = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    let own = own.map(|name| root().join(name));
    let folders = ["docs", "crates"].map(|folder| files(&root().join(folder), "md"));
    for document in folders.into_iter().flatten().chain(own) {
        let text = fs::read_to_string(&document).unwrap();
        for (index, _) in text.match_indices("](") {
            let target = text[index + 2..].split(')').next().unwrap();
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if path.starts_with("http") {
                continue;
            }
            let file = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            assert!(file.exists(), "{}: {target}", document.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|heading| {
                    let heading = heading.trim_start_matches('#').trim().to_lowercase();
                    let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                    heading.chars().filter(keep).collect::<String>().replace(' ', "-")
                });
                assert!(anchors.any(|found| found == anchor), "{}: {target}", document.display());
            }
        }
    }
}

/// The overview names sources, as seen from the root of the project or from `src/`.
#[test]
fn each_source_in_the_overview_exists() {
    const ARCHITECTURE: &str = include_str!("../../docs/architecture.md");
    let spans = ARCHITECTURE.split('`').skip(1).step_by(2);
    let is_path = |span: &&str| {
        let characters =
            span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        characters
            && span.trim_end_matches('/').contains('/')
            && (span.ends_with(".rs") || span.ends_with('/'))
    };
    let paths: BTreeSet<&str> = spans.filter(is_path).collect();
    assert!(paths.len() > 20, "{paths:?}");
    let exists =
        |path: &&&str| root().join(path).exists() || root().join("src").join(path).exists();
    let missing: Vec<_> = paths.iter().filter(|path| !exists(path)).collect();
    assert!(missing.is_empty(), "docs/architecture.md names {missing:?}");
}

/// Each example of a mistake is a manifest and the message about it.
#[test]
fn the_documented_mistakes_have_these_messages() {
    let mut count = 0;
    for part in MANIFESTS.split("```yaml\n").skip(1) {
        let (manifest, rest) = part.split_once("```\n").unwrap();
        let (message, _) = rest.split_once("```text\n").unwrap().1.split_once("\n```").unwrap();
        assert_eq!(Manifest::parse(manifest.as_bytes()).unwrap_err().to_string(), message);
        count += 1;
    }
    assert!(count >= 4);
    let tab = Manifest::parse(b"apiVersion: v1\nworkloads:\n\tnginx:\n").unwrap_err();
    assert!(MANIFESTS.contains(&tab.to_string()), "{tab}");
}

/// The table of reason codes as the documents show it.
fn reason_code_table() -> String {
    let mut table = String::from(
        "| code | name | PUBACK | SUBACK | CONNACK | DISCONNECT |\n|---|---|---|---|---|---|\n",
    );
    for row in mqtt_session::TABLE {
        let end = |rule: Option<mqtt_session::EndRule>| {
            rule.map(|rule| rule.description()).unwrap_or_default()
        };
        let puback = row.puback.map_or("", |rule| rule.description());
        let suback = row.suback.map_or("", |rule| rule.description());
        table += &format!(
            "| `0x{:02X}` | {} | {puback} | {suback} | {} | {} |\n",
            row.code,
            row.name,
            end(row.connack),
            end(row.disconnect),
        );
    }
    table
}

#[test]
fn the_table_of_reason_codes_is_that_of_the_code() {
    let document = fs::read_to_string(root().join("docs/mqtt-reason-codes.md")).unwrap();
    let table = reason_code_table();
    assert!(document.contains(&table), "docs/mqtt-reason-codes.md must contain\n{table}");
}

//! The readings of an option's value: all texts that Podman may derive from it.
//!
//! Podman splits lists, removes quotes and accepts several spellings of the same value. A pattern
//! must match the value as Podman reads it, not only as it is written. Which options are lists
//! depends on Podman's version, so each value is read both as a list and as a whole. An
//! unnecessary reading can only refuse more. Quotes alone are no reason to refuse a value:
//! commands and variables often contain JSON.

/// All texts that a pattern is compared with.
pub(super) fn readings(option: &str, value: &str) -> Vec<String> {
    let mut readings = vec![value.to_owned()];
    readings.extend(value.split(',').map(|part| part.trim().to_owned()));
    readings.extend(fields(value));
    // Most readings exist twice by now, and each one is processed further.
    readings.sort_unstable();
    readings.dedup();
    let synonyms: Vec<_> = readings.iter().flat_map(|text| synonyms(option, text)).collect();
    readings.extend(synonyms);
    let paths: Vec<_> = readings.iter().flat_map(|text| with_clean_paths(text)).collect();
    readings.extend(paths);
    readings.sort_unstable();
    readings.dedup();
    readings
}

/// The maximum number of parts of a value in any reading. The number of readings is a
/// small multiple of it.
pub(super) fn parts(value: &str) -> usize {
    1 + value.matches([',', '\n']).count()
}

/// The fields of a value read as CSV, as Podman reads its lists: commas and line breaks
/// within double quotes belong to the field, and a doubled quote is a quote.
///
/// Podman refuses quotes in the middle of a field and reads only the first line. Here quotes may
/// be anywhere and all lines are read, so that no field is missed.
fn fields(value: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => push(&mut fields, '"'),
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => fields.push(String::new()),
            other => push(&mut fields, other),
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

fn push(fields: &mut [String], character: char) {
    if let Some(field) = fields.last_mut() {
        field.push(character);
    }
}

/// Other spellings of the same value.
fn synonyms(option: &str, text: &str) -> Vec<String> {
    match option {
        // Podman converts names to upper case, which also turns `ſ` into S, and adds a
        // missing `CAP_`.
        "--cap-add" | "--cap-drop" => {
            let capitals = text.to_uppercase();
            let bare = capitals.strip_prefix("CAP_").unwrap_or(&capitals);
            vec![bare.to_owned(), format!("CAP_{bare}")]
        }
        // `seccomp:unconfined` is `seccomp=unconfined`.
        "--security-opt" => match text.split_once([':', '=']) {
            Some((name, value)) => vec![format!("{name}={value}"), format!("{name}:{value}")],
            None => vec![],
        },
        "--mount" => {
            let Some((name, value)) = text.split_once('=') else { return vec![] };
            let names = [&["source", "src"][..], &["target", "destination", "dst"]];
            let same = names.into_iter().find(|names| names.contains(&name)).unwrap_or_default();
            same.iter().map(|name| format!("{name}={value}")).collect()
        }
        _ => vec![],
    }
}

/// The text with its absolute paths cleaned. A colon or an equals sign may separate a
/// path from the rest or belong to it, so there are several readings.
fn with_clean_paths(text: &str) -> Vec<String> {
    let is_path = |text: &str| text.starts_with('/');
    let (name, value) = match text.split_once('=') {
        Some((name, value)) if is_path(value) && !is_path(name) => (format!("{name}="), value),
        _ => (String::new(), text),
    };
    let mut readings = Vec::new();
    if is_path(value) {
        readings.push(format!("{name}{}", clean(value)));
    }
    let parts = value.split(':');
    let parts = parts.map(|part| if is_path(part) { clean(part) } else { part.to_owned() });
    readings.push(format!("{name}{}", parts.collect::<Vec<_>>().join(":")));
    readings
}

/// An absolute path without empty parts, `.` and `..`.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(option: &str, value: &str, reading: &str) -> bool {
        readings(option, value).iter().any(|found| found == reading)
    }

    #[test]
    fn csv_is_read_as_podman_does() {
        for (value, expected) in [
            ("", &[""][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("\"a\"", &["a"]),
            ("a,\"b,c\",d", &["a", "b,c", "d"]),
            ("\"a \"\"b\"\" c\"", &["a \"b\" c"]),
            ("\"\"", &[""]),
            ("\"\"\"\"", &["\""]),
            ("a\r\nb", &["a", "b"]),
            ("\"a\nb\"", &["a\nb"]),
            // Podman refuses these.
            ("a\"b\"", &["ab"]),
            ("\"a\"b", &["ab"]),
            ("\"a,b", &["a,b"]),
        ] {
            assert_eq!(fields(value), expected, "{value:?}");
        }
    }

    #[test]
    fn no_value_has_more_readings_than_its_parts_allow() {
        for option in ["--cap-add", "--security-opt", "--mount", "--volume"] {
            for value in ["", "a", "/a/,b=/c/:/d/,e:f\ng", "\"a,/b/\"\n,src=/c/,,", "src=/"] {
                let found = readings(option, value).len();
                assert!(found <= 27 * parts(value), "{option} {value:?}: {found}");
            }
        }
    }

    #[test]
    fn paths_are_cleaned() {
        for path in ["/:/x", "//:/x", "/./:/x", "/etc/..:/x", "/../:/x", "/:/y/../x", "/a=/../:/x"]
        {
            assert!(reads("--volume", path, "/:/x"), "{path}");
        }
        assert!(reads("--volume", "v:/x/../etc", "v:/etc"));
        assert!(reads("--network", "ns:/proc/./1/ns/net", "ns:/proc/1/ns/net"));
        assert!(reads("--mount", "type=bind,source=//dev/../etc", "source=/etc"));
        assert!(reads("--mount", "type=bind,source=/a:/../etc", "source=/etc"));
        assert!(reads("--device", "/dev/zero,\"/etc/../dev/mem\"", "/dev/mem"));
    }

    #[test]
    fn synonyms_are_recognised() {
        for value in ["SYS_ADMIN", "CAP_SYS_ADMIN", "cap_sys_admin", "\u{17f}YS_ADM\u{131}N"] {
            for reading in ["SYS_ADMIN", "CAP_SYS_ADMIN"] {
                assert!(reads("--cap-add", value, reading), "{value} {reading}");
            }
        }
        assert!(reads("--security-opt", "label:disable", "label=disable"));
        assert!(reads("--security-opt", "seccomp=x", "seccomp:x"));
        assert!(reads("--mount", "type=bind,src=/", "source=/"));
        assert!(reads("--mount", "type=bind,destination=/", "dst=/"));
    }
}

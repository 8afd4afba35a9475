//! The value of an option of Podman, in all readings that a pattern has to see.
//!
//! Podman reads values in its own way: it splits lists and takes quotes away.
//! A pattern must find what Podman makes of a value, not only what stands there. Which options are lists depends on Podman's version,
//! so each value is read as a list as well as a whole. A reading too many can only
//! refuse more. The value itself stays allowed to have quotes: commands and variables
//! often hold JSON.

/// All texts that a pattern may want to match.
pub(super) fn readings(value: &str) -> Vec<String> {
    let mut readings = vec![value.to_owned()];
    readings.extend(value.split(',').map(|part| part.trim().to_owned()));
    readings.extend(fields(value));
    let paths: Vec<_> = readings.iter().flat_map(|text| with_clean_paths(text)).collect();
    readings.extend(paths);
    readings.sort_unstable();
    readings.dedup();
    readings
}

/// The fields of a value that is read as CSV, which Podman does for its lists: double
/// quotes keep commas and line breaks together, and stand for themselves when doubled.
///
/// Podman refuses quotes in the middle of a field and takes the first line only. Here
/// quotes may stand anywhere and each line counts, so nothing is overlooked.
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

/// The text with its absolute paths cleaned. A colon and an equals sign may part a
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

    fn reads(value: &str, reading: &str) -> bool {
        readings(value).iter().any(|found| found == reading)
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
    fn paths_are_seen_through() {
        for path in ["/:/x", "//:/x", "/./:/x", "/etc/..:/x", "/../:/x", "/:/y/../x", "/a=/../:/x"]
        {
            assert!(reads(path, "/:/x"), "{path}");
        }
        assert!(reads("v:/x/../etc", "v:/etc"));
        assert!(reads("ns:/proc/./1/ns/net", "ns:/proc/1/ns/net"));
        assert!(reads("type=bind,source=//dev/../etc", "source=/etc"));
        assert!(reads("type=bind,source=/a:/../etc", "source=/etc"));
        assert!(reads("/dev/zero,\"/etc/../dev/mem\"", "/dev/mem"));
    }
}

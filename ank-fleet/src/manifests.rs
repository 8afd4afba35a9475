//! Manifests of several files as one.

use ankaios_model::manifest::Manifest;
use serde_yaml::{Mapping, Value};

/// A mistake in one of several manifests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct ManifestMistake {
    /// The file.
    pub file: String,
    /// What is wrong, with line and column where known.
    pub reason: String,
}

/// Makes one manifest of several, each a name and a text. A single one stays as it is.
///
/// # Errors
/// A manifest is wrong, or two have the same workload or config.
pub fn merge(files: &[(String, String)]) -> Result<String, ManifestMistake> {
    for (file, text) in files {
        Manifest::parse(text.as_bytes()).map_err(|error| mistake(file, error))?;
    }
    if let [(_, text)] = files {
        return Ok(text.clone());
    }
    let mut merged = Mapping::new();
    for (file, text) in files {
        let value: Value = serde_yaml::from_str(text).map_err(|error| mistake(file, error))?;
        let Value::Mapping(manifest) = value else {
            return Err(mistake(file, "it is not a manifest"));
        };
        for (key, value) in manifest {
            match (merged.get_mut(&key), value) {
                (Some(Value::Mapping(items)), Value::Mapping(more)) => {
                    for (name, item) in more {
                        if items.contains_key(&name) {
                            let (key, name) = (shown(&key), shown(&name));
                            let reason = format!("{key}.{name} is in another file, too");
                            return Err(mistake(file, reason));
                        }
                        items.insert(name, item);
                    }
                }
                (Some(Value::Null), value) | (None, value) => {
                    merged.insert(key, value);
                }
                (Some(former), value) if *former != value && !value.is_null() => {
                    let reason = format!("{} is different in another file", shown(&key));
                    return Err(mistake(file, reason));
                }
                (Some(_), _) => {}
            }
        }
    }
    serde_yaml::to_string(&merged).map_err(|error| mistake("the manifests", error))
}

fn mistake(file: &str, reason: impl ToString) -> ManifestMistake {
    ManifestMistake { file: file.to_owned(), reason: reason.to_string() }
}

fn shown(key: &Value) -> String {
    key.as_str().unwrap_or("?").to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    fn workload(name: &str) -> String {
        format!(
            "apiVersion: v1\nworkloads:\n  {name}: {{runtime: podman, agent: agent_A, \
             runtimeConfig: 'image: x'}}\n"
        )
    }

    #[test]
    fn several_manifests_become_one() {
        let one = workload("a");
        assert_eq!(merge(&[file("a.yaml", &one)]).unwrap(), one);
        let configs = "apiVersion: v1\nconfigs: {c: {d: '1'}}\n";
        let merged =
            merge(&[file("a", &one), file("b", &workload("b")), file("c", configs)]).unwrap();
        let manifest = Manifest::parse(merged.as_bytes()).unwrap();
        assert_eq!(manifest.workload_names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(manifest.config_names().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn mistakes_name_the_file() {
        let error = |files: &[(String, String)]| merge(files).unwrap_err().to_string();
        let twice = [file("a.yaml", &workload("a")), file("b.yaml", &workload("a"))];
        assert_eq!(error(&twice), "b.yaml: workloads.a is in another file, too");
        let bad =
            [file("a.yaml", &workload("a")), file("b.yaml", "apiVersion: v1\nworkloads: [\n")];
        assert!(error(&bad).starts_with("b.yaml: "), "{}", error(&bad));
        assert!(error(&bad).contains("line"), "{}", error(&bad));
    }
}

//! The policy: what `manifest/apply` and `state/update` may contain.

use std::fmt;

use ankaios_model::manifest::{ManifestError, read_yaml};
use ankaios_model::{FromText, deserialize_text};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};

use super::option_pattern::OptionPattern;

/// The rules. A missing rule allows everything; an empty list allows nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a policy, which is a map of rules")]
pub(super) struct Policy {
    /// The runtimes that are allowed.
    #[serde(default, deserialize_with = "given")]
    pub(super) runtimes: Option<Vec<ExactName>>,
    /// The agents that are allowed.
    #[serde(default, deserialize_with = "given")]
    pub(super) agents: Option<Vec<ExactName>>,
    /// The prefixes of the images that are allowed.
    #[serde(default, deserialize_with = "given")]
    pub(super) images: Option<Vec<ImagePrefix>>,
    /// The options of Podman that are not allowed.
    #[serde(default, deserialize_with = "given")]
    pub(super) forbidden_options: Option<Vec<OptionPattern>>,
    /// Whether workloads may be granted access to the control interface.
    #[serde(default, deserialize_with = "given")]
    pub(super) control_interface_access: Option<bool>,
}

impl Policy {
    /// Parses a policy file.
    ///
    /// # Errors
    /// The mistake, with line and column if known. An empty text is an error: a file that is
    /// being written must not lift the policy.
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        read_yaml(text)
    }

    /// Whether a rule looks at the runtime configuration.
    pub(super) fn covers_runtime_config(&self) -> bool {
        self.images.is_some() || self.forbidden_options.is_some()
    }

    /// The patterns that match no known option, and may be misspelled.
    pub(super) fn unknown_options(&self) -> Vec<&str> {
        let patterns = self.forbidden_options.iter().flatten();
        patterns.filter(|pattern| pattern.is_unknown()).map(OptionPattern::text).collect()
    }
}

/// Refuses `null`: otherwise a rule whose list is commented out would allow everything.
fn given<'de, T: DeserializeOwned, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    match Option::deserialize(value)? {
        Some(value) => Ok(Some(value)),
        None => Err(D::Error::custom("a rule is empty; give it a value, or leave it out")),
    }
}

/// A name that is compared literally.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExactName(String);

impl ExactName {
    pub(super) fn is(&self, name: &str) -> bool {
        self.0 == name
    }
}

impl fmt::Display for ExactName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromText for ExactName {
    fn from_text(text: String) -> Result<Self, String> {
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for ExactName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

/// A prefix of an image name: a registry, a folder in it, or a whole name. It only matches
/// whole parts of the name, so `example.com` allows neither `example.com.evil.io/x` nor
/// the registry at `example.com:8080`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImagePrefix(String);

impl ImagePrefix {
    pub(super) fn allows(&self, image: &str) -> bool {
        let Some(rest) = image.strip_prefix(&self.0) else { return false };
        let tag = |tag: &str| !tag.contains('/');
        self.0.ends_with(['/', ':', '@'])
            || rest.is_empty()
            || rest.starts_with('/')
            || rest.strip_prefix([':', '@']).is_some_and(tag)
    }
}

impl fmt::Display for ImagePrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromText for ImagePrefix {
    fn from_text(text: String) -> Result<Self, String> {
        let is_image = |c: char| c.is_ascii_alphanumeric() || "._-/:@[]".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && text.chars().all(is_image)
        {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is not a valid image prefix, write it as docker.io/library/ or \
                 registry.example.com"
            ))
        }
    }
}

impl<'de> Deserialize<'de> for ImagePrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for OptionPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn absent_rules_allow_everything_and_empty_lists_nothing() {
        let policy = Policy::parse("runtimes: []").unwrap();
        assert_eq!(policy.runtimes, Some(vec![]));
        assert!(policy.agents.is_none() && policy.images.is_none());
        assert!(Policy::parse("{}").unwrap().control_interface_access.is_none());
        assert!(Policy::parse("images: []").unwrap().covers_runtime_config());
    }

    #[test]
    fn a_bad_policy_is_refused_with_its_line() {
        for (text, line, part) in [
            ("", None, "empty"),
            ("# nothing yet\n", None, "empty"),
            ("[]", Some(1), "a policy"),
            ("runtimes: [podman]\nimage: [a]\n", Some(2), "unknown field `image`"),
            ("runtimes: [a]\nforbidden_options:\n", None, "a rule is empty"),
            ("runtimes: ~\n", None, "a rule is empty"),
            ("agents: []\nimages:\n  - a/\n  - ''\n", Some(4), "not a valid image prefix"),
            (
                "forbidden_options:\n  - --x\n  - privileged\n",
                Some(3),
                "not a valid option pattern",
            ),
            ("control_interface_access: maybe\n", Some(1), "boolean"),
            ("runtimes: []\nruntimes: []\n", None, "duplicate field `runtimes`"),
            ("runtimes: [\n", Some(2), ""),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.to_string().contains(part), "{text:?}: {error}");
            let found = error.position().map(|position| position.line);
            assert!(line.is_none() || line == found, "{text:?}: {error}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_part_of_the_name_ends() {
        let allows = |prefix: &str, image: &str| {
            ImagePrefix::from_text(prefix.into()).unwrap().allows(image)
        };
        for (prefix, image) in [
            ("docker.io/library/", "docker.io/library/nginx:1"),
            ("docker.io", "docker.io/library/nginx@sha256:00"),
            ("docker.io/library/nginx", "docker.io/library/nginx"),
            ("docker.io/library/nginx", "docker.io/library/nginx:1.29"),
            ("docker.io/library/nginx:1", "docker.io/library/nginx:1"),
            ("localhost:5000", "localhost:5000/x"),
        ] {
            assert!(allows(prefix, image), "{prefix} {image}");
        }
        for (prefix, image) in [
            ("docker.io", "docker.io.evil.io/x"),
            ("docker.io", "docker.io:8080/x"),
            ("docker.io", "DOCKER.IO/x"),
            ("docker.io/library/nginx", "docker.io/library/nginx-evil"),
            ("docker.io/library/nginx:1", "docker.io/library/nginx:1.29"),
            ("docker.io", "docker://docker.io/x"),
            ("docker.io", " docker.io/x"),
            ("docker.io", ""),
        ] {
            assert!(!allows(prefix, image), "{prefix} {image}");
        }
    }
}

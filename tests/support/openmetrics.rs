//! A strict parser for OpenMetrics text, version 1.0.0.

use std::collections::BTreeMap;

use super::http;

/// All samples of one scrape, keyed by name and labels as they are written.
#[derive(Debug)]
pub struct Scrape {
    samples: BTreeMap<String, f64>,
    /// The type of each family.
    families: BTreeMap<String, String>,
}

impl Scrape {
    /// Scrapes the metrics of a connector.
    pub async fn of(port: u16) -> Self {
        let response = http::get(port, "/metrics").await;
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(
            response.headers["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        Self::parse(&response.body)
    }

    /// Parses the body of a response.
    pub fn parse(text: &str) -> Self {
        let lines = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no EOF line in {text}"));
        let mut scrape = Self { samples: BTreeMap::new(), families: BTreeMap::new() };
        let mut family = String::new();
        let mut described = (false, false);
        for line in lines.lines() {
            let Some(comment) = line.strip_prefix("# ") else {
                assert_eq!(described, (true, true), "not described: {line}");
                scrape.sample(&family, line);
                continue;
            };
            let mut parts = comment.splitn(3, ' ');
            let (keyword, name, value) =
                (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            if name != family {
                assert!(!scrape.families.contains_key(name), "{name} occurs twice");
                name.clone_into(&mut family);
                described = (false, false);
            }
            match keyword {
                "HELP" => {
                    assert!(!value.is_empty() && !described.0, "{line}");
                    described.0 = true;
                }
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram", "info"].contains(&value), "{line}");
                    assert!(!described.1, "{line}");
                    scrape.families.insert(name.to_owned(), value.to_owned());
                    described.1 = true;
                }
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                _ => panic!("{line}"),
            }
        }
        scrape
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (key, value) = line.rsplit_once(' ').unwrap();
        let name = key.split('{').next().unwrap();
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} after {family}"));
        let allowed: &[&str] = match self.families[family].as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line} in a {}", self.families[family]);
        if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
            for label in labels.unwrap_or_else(|| panic!("{line}")).split(',') {
                let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                );
                assert!(
                    value.len() >= 2 && value.starts_with('"') && value.ends_with('"'),
                    "{line}"
                );
            }
        }
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let former = self.samples.insert(key.to_owned(), value);
        assert!(former.is_none(), "{key} occurs twice");
    }

    /// The names of all families.
    pub fn families(&self) -> Vec<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// The names and labels of all samples.
    pub fn samples(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    /// The value of a sample, such as `name{label="value"}`.
    pub fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {:?}", self.samples))
    }

    /// The number of requests with this outcome.
    pub fn requests(&self, operation: &str, outcome: &str) -> f64 {
        let labels = format!("operation=\"{operation}\",outcome=\"{outcome}\"");
        self.get(&format!("fleet_connector_requests_total{{{labels}}}"))
    }
}

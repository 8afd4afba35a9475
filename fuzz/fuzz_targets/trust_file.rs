//! Trust files: parsing does not panic and takes limited time, each mistake has a position in the
//! text, and a file without mistakes has thresholds that can be reached.

#![no_main]

use std::time::{Duration, Instant};

use fleet_trust::{DEFAULT_REQUIRE, Mistake, Role, TrustFile};
use libfuzzer_sys::fuzz_target;

/// The longest time for inputs of a few kilobytes, with all sanitizer checks.
const LIMIT: Duration = Duration::from_secs(1);

fuzz_target!(|input: &[u8]| {
    let start = Instant::now();
    let parsed = TrustFile::parse(input, &DEFAULT_REQUIRE);
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    match parsed {
        Ok(trust) => {
            assert!(!trust.fleet().is_empty() && trust.version() > 0);
            assert!(trust.require().count() > 0);
            for role in [Role::Root, Role::Release] {
                let keyring = trust.keyring(role);
                assert!((1..=keyring.keys().len()).contains(&keyring.threshold()));
                let mut ids: Vec<_> = keyring.keys().iter().map(|it| it.key.id()).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), keyring.keys().len());
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            // YAML has more kinds of line breaks.
            let lines = String::from_utf8_lossy(input)
                .matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                .count();
            for Mistake { line, column, text } in &mistakes {
                assert!((1..=lines + 2).contains(line), "line {line} of {lines}");
                assert!((1..=input.len() + 2).contains(column), "column {column}");
                assert!(!text.is_empty() && !text.contains(char::is_control));
            }
            assert!(mistakes.is_sorted_by_key(|it| (it.line, it.column)));
        }
    }
});

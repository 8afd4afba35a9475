//! Identifiers that need to differ, not to be secret.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Sixteen hexadecimal digits that nobody has used before.
#[must_use]
pub(crate) fn hex() -> String {
    // Each `RandomState` differs from all others of the process, which begin at random.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_the_same() {
        let many: std::collections::BTreeSet<_> = (0..1000).map(|_| super::hex()).collect();
        assert_eq!(many.len(), 1000);
    }
}

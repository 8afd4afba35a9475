//! What the broker does not offer or grant, so that the session does with less.

use std::collections::BTreeMap;

/// What is missing. There is one text for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lack {
    /// Some subscriptions.
    Subscriptions,
    /// Subscriptions with QoS 1.
    SubscriptionQos,
    /// Retained messages.
    Retain,
    /// Publishing with QoS 1.
    Qos,
    /// Subscriptions with wildcards.
    Wildcards,
    /// Retained messages for subscriptions with wildcards.
    RetainedForWildcards,
    /// The time for which the session is kept.
    SessionExpiry,
    /// The client identifier that was asked for.
    ClientId,
    /// Packets of the usual size.
    PacketSize,
}

/// What is missing at present, with texts for people.
#[derive(Debug, Default)]
pub(crate) struct Shortcomings {
    texts: BTreeMap<Lack, String>,
    has_changed: bool,
}

impl Shortcomings {
    /// Records that something is missing, or with `None` that it is not. Returns the earlier text
    /// if that has changed.
    pub(crate) fn set(&mut self, lack: Lack, text: Option<String>) -> Option<Option<String>> {
        let before = self.texts.remove(&lack);
        let has_changed = before != text;
        if let Some(text) = text {
            self.texts.insert(lack, text);
        }
        self.has_changed |= has_changed;
        has_changed.then_some(before)
    }

    /// All texts, if one has changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<String>> {
        std::mem::take(&mut self.has_changed).then(|| self.texts())
    }

    /// All texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.texts.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_reported() {
        let mut all = Shortcomings::default();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(all.take_changed(), None);
        assert_eq!(all.set(Lack::Subscriptions, None), None);
        assert_eq!(all.set(Lack::Subscriptions, text("a")), Some(None));
        assert_eq!(all.set(Lack::Subscriptions, text("a")), None);
        assert_eq!(all.take_changed(), Some(vec!["a".to_owned()]));
        assert_eq!(all.take_changed(), None);
        assert_eq!(all.set(Lack::Subscriptions, text("b")), Some(text("a")));
        assert_eq!(all.set(Lack::Subscriptions, None), Some(text("b")));
        assert_eq!(all.take_changed(), Some(Vec::new()));
    }
}

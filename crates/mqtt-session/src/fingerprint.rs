//! Recognises a message that is delivered again.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use rumqttc::v5::mqttbytes::v5::Publish;

/// Hashes messages.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints {
    // With a random key: nobody outside can make two messages look the same.
    hasher: RandomState,
}

impl Fingerprints {
    /// The hash of everything that stays the same when a message is delivered again.
    pub(crate) fn of(&self, publish: &Publish) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        publish.topic.hash(&mut hasher);
        publish.payload.hash(&mut hasher);
        if let Some(properties) = &publish.properties {
            properties.response_topic.hash(&mut hasher);
            properties.correlation_data.hash(&mut hasher);
            properties.user_properties.hash(&mut hasher);
        }
        hasher.finish()
    }
}

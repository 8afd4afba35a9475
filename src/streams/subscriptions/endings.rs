//! The ends of subscriptions and of records, and how they are published.

use fleet_contract::topics::{StreamKind, Topics};
use mqtt_session::{Recall, SessionEnded};

use crate::streams::feed::Outlet;
use crate::streams::kept_records::KeptRecords;
use crate::streams::key::SubscriptionKey;
use crate::streams::publisher::Publisher;
use crate::streams::recalls::Recalls;

/// The end of a subscription or of a record, which has to be published.
#[derive(Debug)]
pub(super) enum Ending {
    /// The subscription has ended: this is published to its topic, and the record is removed.
    Ended { key: SubscriptionKey, recall: Recall },
    /// The record cannot be used and is removed.
    Unusable { kind: StreamKind, id: String, recalls: Recalls },
    /// The record that the broker has retained is removed, and nothing else.
    Untrusted { kind: StreamKind, id: String, recalls: Recalls },
    /// The record in the store has expired by the system clock. If that is wrong, the broker still
    /// has its record.
    Forgotten { kind: StreamKind, id: String },
}

/// Publishes the ends of subscriptions. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Endings {
    pub(super) topics: Topics,
    pub(super) publisher: Publisher,
    pub(super) kept: KeptRecords,
}

impl Endings {
    pub(super) fn outlet(
        &self,
        SubscriptionKey { kind, id }: &SubscriptionKey,
        recalls: Recalls,
    ) -> Outlet {
        Outlet {
            topic: self.topics.stream(*kind, id.as_str()),
            record_topic: self.topics.record(*kind, id.as_str()),
            publisher: self.publisher.with(recalls),
            kept: self.kept.clone(),
        }
    }

    /// Publishes an end, before a reply that is handed over afterwards.
    pub(super) async fn publish(&self, ending: Ending) {
        match ending {
            Ending::Ended { key, recall } => {
                self.publish_end(&key, recall, self.publisher.before_reply()).await;
            }
            Ending::Forgotten { kind, id } => self.kept.remove(kind, &id).await,
            Ending::Unusable { kind, id, recalls } => {
                self.kept.remove(kind, &id).await;
                self.remove_retained(kind, &id, recalls).await;
            }
            Ending::Untrusted { kind, id, recalls } => {
                self.remove_retained(kind, &id, recalls).await;
            }
        }
    }

    /// Removes a record from the broker, unless a subscription begins meanwhile.
    async fn remove_retained(&self, kind: StreamKind, id: &str, recalls: Recalls) {
        let publisher = self.publisher.with(recalls).before_reply();
        // It only fails when the connector stops.
        let _: Result<(), SessionEnded> = publisher.remove(&self.topics.record(kind, id)).await;
    }

    /// Publishes that a subscription has ended, unless that message is recalled.
    pub(super) async fn publish_end(
        &self,
        key: &SubscriptionKey,
        recall: Recall,
        publisher: Publisher,
    ) {
        self.kept.remove(key.kind, key.id.as_str()).await;
        let publisher = publisher.with(Recalls { messages: recall.clone(), records: recall });
        let Outlet { topic, record_topic, .. } = self.outlet(key, Recalls::default());
        let published = async {
            if key.kind == StreamKind::Logs {
                publisher.send(&topic, &serde_json::json!({"ended": true})).await?;
            }
            publisher.remove(&record_topic).await
        };
        if let Err(error) = published.await {
            let SubscriptionKey { kind, id } = key;
            tracing::warn!(
                %error,
                kind = kind.name(),
                %id,
                "the end of a subscription cannot be published"
            );
        }
    }
}

//! Subscriptions that the broker has refused while it has granted others.
//!
//! What is granted is served. The others are asked for again, with growing waits: the access list
//! of the broker may have been corrected.

use std::time::Duration;

use tokio::time::Instant;

use crate::application::{RefusedSubscription, Subscription};

/// The first wait. Each further one is twice as long.
const FIRST: Duration = Duration::from_secs(30);

/// The longest wait.
const LONGEST: Duration = Duration::from_mins(10);

/// The refused subscriptions of one connection.
#[derive(Debug, Default)]
pub(crate) struct RefusedSubscriptions {
    refused: Vec<RefusedSubscription>,
    attempts: u32,
    next: Option<Instant>,
    /// The packet identifier of the SUBSCRIBE that waits for its answer.
    asked: Option<u16>,
}

impl RefusedSubscriptions {
    /// Records what the broker has refused at `now`.
    pub(crate) fn set(&mut self, refused: Vec<RefusedSubscription>, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.attempts.min(8)).min(LONGEST);
        self.next = (!refused.is_empty()).then(|| now + wait);
        self.attempts += 1;
        self.asked = None;
        self.refused = refused;
    }

    /// When to ask again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// They are asked for again with this packet identifier.
    pub(crate) fn ask(&mut self, packet_id: u16) -> impl Iterator<Item = &Subscription> {
        self.next = None;
        self.asked = Some(packet_id);
        self.refused.iter().map(|refused| &refused.subscription)
    }

    /// The subscriptions that this packet identifier has asked for.
    pub(crate) fn answered(&mut self, packet_id: u16) -> Option<Vec<Subscription>> {
        self.asked.take_if(|asked| *asked == packet_id)?;
        Some(self.refused.drain(..).map(|refused| refused.subscription).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::application::Qos;
    use crate::reason_code::ReasonCode;

    fn refused() -> Vec<RefusedSubscription> {
        let subscription = Subscription {
            filter: "a".into(),
            qos: Qos::AtLeastOnce,
            send_retained: false,
            no_local: true,
            retain_as_published: true,
        };
        vec![RefusedSubscription { subscription, code: ReasonCode::NOT_AUTHORIZED }]
    }

    #[test]
    fn waits_grow_up_to_a_limit_and_end_when_all_is_granted() {
        let now = Instant::now();
        let mut subscriptions = RefusedSubscriptions::default();
        let mut waits = Vec::new();
        for packet_id in 1..=12 {
            subscriptions.set(refused(), now);
            waits.push(subscriptions.next().unwrap() - now);
            assert_eq!(subscriptions.ask(packet_id).count(), 1);
            assert_eq!(subscriptions.next(), None);
            assert_eq!(subscriptions.answered(packet_id + 1), None);
            assert_eq!(subscriptions.answered(packet_id).unwrap().len(), 1);
            assert_eq!(subscriptions.answered(packet_id), None);
        }
        assert_eq!(waits[..3], [FIRST, 2 * FIRST, 4 * FIRST]);
        assert_eq!(waits.last(), Some(&LONGEST));
        subscriptions.set(Vec::new(), now);
        assert_eq!(subscriptions.next(), None);
    }
}

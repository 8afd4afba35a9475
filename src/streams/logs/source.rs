//! Implements [`Feed`] for log subscriptions.

use ankaios_control::Client;
use fleet_contract::requests::LogsRequest;
use fleet_contract::rfc3339;

use super::bookmark::Bookmark;
use super::follower::Follower;
use crate::streams::expiry::Expiry;
use crate::streams::feed::{Feed, Outlet};
use crate::streams::record::SubscriptionRecord;

impl Feed for LogsRequest {
    const REPLY_HAS_ALL: bool = false;

    type Source = Follower;

    fn resume(record: &SubscriptionRecord<Self>, ankaios: &Client) -> Follower {
        let resume_at = record.resume_at.as_deref().and_then(rfc3339::parse);
        Follower::restored(ankaios.clone(), &record.spec, resume_at)
    }

    fn publish(
        record: SubscriptionRecord<Self>,
        expiry: Expiry,
        follower: Follower,
        Outlet { topic, record_topic, publisher, kept }: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static {
        let bookmark = Bookmark::new(record_topic, record, expiry, publisher.clone(), kept);
        follower.run(topic, publisher, bookmark)
    }
}

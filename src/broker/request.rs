//! User properties of requests and replies.

use mqtt_session::Message;

/// The user property that identifies a request. It is copied to the reply.
pub(crate) const REQUEST_ID: &str = "request-id";

/// The user property that lifts the protection of workloads, with the value `true`.
const FORCE: &str = "force";

/// The user property that names the release that a change belongs to.
pub(crate) const RELEASE: &str = "release";

/// The user property that says when a change is taken back.
pub(crate) const ROLLBACK: &str = "rollback";

/// The user properties that the connector reads.
pub(crate) const USER_PROPERTIES: &[&str] = &[REQUEST_ID, FORCE, RELEASE, ROLLBACK];

/// The request id that the sender has set.
#[must_use]
pub(crate) fn request_id<R>(message: &Message<R>) -> Option<&str> {
    message.user_property(REQUEST_ID)
}

/// Whether a request lifts the protection of workloads.
#[must_use]
pub(crate) fn has_force<R>(message: &Message<R>) -> bool {
    message.user_property(FORCE) == Some("true")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(user_properties: &[(&str, &str)]) -> Message<()> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Message {
            delivery: 1,
            route: (),
            retained: false,
            payload: Ok(Bytes::new()),
            response_topic: None,
            correlation_data: None,
            expires_in: None,
            user_properties: user_properties.iter().map(owned).collect(),
        }
    }

    #[test]
    fn id_and_force_are_user_properties() {
        let plain = message(&[]);
        assert_eq!((request_id(&plain), has_force(&plain)), (None, false));
        let forced = message(&[("force", "true"), ("request-id", "r")]);
        assert_eq!((request_id(&forced), has_force(&forced)), (Some("r"), true));
        assert!(!has_force(&message(&[("force", "yes")])));
    }
}

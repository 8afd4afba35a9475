//! Messages that are larger than the broker accepts.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::Publish;

use crate::application::{Application, TooLarge, TooLargeKind, Undeliverable};
use crate::notices::Notices;
use crate::publication::Outbound;

/// The packet of a message. The payload of one that is larger than `max_size` is shortened, or
/// replaced by an error: the broker would end each connection over it. `None` if nothing can be
/// published instead.
pub(crate) fn fit(
    message: &mut Outbound,
    max_size: usize,
    content_type: &str,
    application: &impl Application,
    notices: &mut Notices,
) -> Option<Publish> {
    // `Publish::size` does not count the packet identifier while that is 0.
    let size_of = |publish: &Publish| publish.size() + 2;
    let publish = message.publish(content_type);
    let size = size_of(&publish);
    if size <= max_size {
        return Some(publish);
    }
    if let Some(suppressed) = notices.due(&format!("too large: {}", message.short_topic())) {
        tracing::error!(
            size,
            max = max_size,
            topic = message.short_topic(),
            suppressed,
            "a message is too large for the broker"
        );
    }
    let max = max_size.saturating_sub(size - message.size());
    let cause = Undeliverable::TooLarge { size, max_size };
    if !replace(message, &cause, max, application) {
        return None;
    }
    let publish = message.publish(content_type);
    if size_of(&publish) <= max_size {
        return Some(publish);
    }
    let Outbound::Reply(reply) = message else { return None };
    reply.forget_request();
    Some(message.publish(content_type)).filter(|publish| size_of(publish) <= max_size)
}

/// Replaces the payload of a message that the broker does not accept: by a shorter form of at most
/// `max` bytes if it is too large, otherwise by an error. Returns whether it has replaced it.
pub(crate) fn replace(
    message: &mut Outbound,
    cause: &Undeliverable,
    max: usize,
    application: &impl Application,
) -> bool {
    let (kind, can_be_error) = match message {
        Outbound::Reply(reply) => (reply.can_shorten.then_some(TooLargeKind::Reply), true),
        // A retained message must not be replaced by an error.
        Outbound::Publication(publication) if publication.retain => return false,
        Outbound::Publication(_) => (Some(TooLargeKind::Publication), true),
        Outbound::Status { .. } => (Some(TooLargeKind::Status), false),
    };
    let is_too_large =
        matches!(cause, Undeliverable::TooLarge { .. } | Undeliverable::RefusedAsTooLarge { .. });
    let short = kind.filter(|_| is_too_large).and_then(|kind| {
        let (topic, payload) = (message.topic(), message.payload());
        application.shorten(&TooLarge { topic, payload, kind, cause }, max)
    });
    if let Some(short) = short.filter(|short| short.len() <= max) {
        message.set_payload(short);
        return true;
    }
    if can_be_error {
        let error: Bytes = application.undeliverable(cause);
        message.set_payload(error);
    }
    can_be_error
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::application::testing::NoApplication;
    use crate::publication::{Publication, Reply};

    fn fit(message: &mut Outbound, max_size: usize) -> Option<Publish> {
        super::fit(message, max_size, "application/json", &NoApplication, &mut Notices::default())
    }

    fn reply(topic: String, request_id: String, payload: usize) -> Outbound {
        let user_properties = vec![("request-id".into(), request_id)];
        Outbound::Reply(Reply {
            delivery: 1,
            topic,
            fallback_topic: None,
            correlation_data: Some(Bytes::from_static(b"c")),
            user_properties,
            payload: vec![b'x'; payload].into(),
            can_shorten: false,
        })
    }

    fn publication(retain: bool) -> Outbound {
        let topic = "vehicle/1/events/x".into();
        let payload = vec![b'x'; 2000].into();
        Outbound::Publication(Publication { topic, payload, retain, expiry: None })
    }

    #[test]
    fn too_large_a_message_becomes_an_error_that_fits() {
        let short = || "vehicle/1/state/resp".to_owned();
        for (mut message, keeps_correlation) in [
            (reply(short(), "r".into(), 2000), true),
            (reply(short(), "r".repeat(950), 2000), false),
            (publication(false), false),
        ] {
            let publish = fit(&mut message, 1000).unwrap();
            assert!(publish.size() <= 1000);
            assert!(publish.payload.starts_with(b"{\"error\""));
            let properties = publish.properties.unwrap();
            assert_eq!(properties.correlation_data.is_some(), keeps_correlation);
        }
    }

    #[test]
    fn a_message_that_cannot_be_made_to_fit_is_given_up() {
        let mut message = reply("t".repeat(2000), "r".into(), 1);
        assert!(fit(&mut message, 1000).is_none());
        // An error must not be retained.
        assert!(fit(&mut publication(true), 1000).is_none());
        assert!(fit(&mut publication(true), 3000).is_some());
    }

    #[test]
    fn a_message_that_can_be_shortened_is_not_replaced_by_an_error() {
        let mut status = Outbound::Status { topic: "s".into(), payload: vec![b'x'; 2000].into() };
        assert_eq!(fit(&mut status, 1000).unwrap().payload, "short");
        let mut reply = reply("vehicle/1/resp".into(), "r".into(), 2000);
        if let Outbound::Reply(reply) = &mut reply {
            reply.can_shorten = true;
        }
        assert_eq!(fit(&mut reply, 1000).unwrap().payload, "short");
        // One that is refused for another reason is an error.
        let refused = Undeliverable::Refused { reason: "r".into() };
        assert!(replace(&mut reply, &refused, 1000, &NoApplication));
        assert!(reply.payload().starts_with(b"{\"error\""));
        assert!(!replace(&mut status, &refused, 1000, &NoApplication));
    }
}

//! Messages that are larger than the broker accepts.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::Publish;

use crate::application::Undeliverable;
use crate::publication::Outbound;

/// The packet of a message. The payload of one that is larger than `max_size` is replaced by
/// the one that `undeliverable` returns: the broker would end each connection over it. `None`
/// if nothing can be published instead.
pub(crate) fn fit(
    message: &mut Outbound,
    max_size: usize,
    content_type: &str,
    undeliverable: impl FnOnce(&Undeliverable) -> Bytes,
) -> Option<Publish> {
    // `Publish::size` does not count the packet identifier while that is 0.
    let size_of = |publish: &Publish| publish.size() + 2;
    let publish = message.publish(content_type);
    let size = size_of(&publish);
    if size <= max_size {
        return Some(publish);
    }
    tracing::error!(
        size,
        max = max_size,
        topic = message.short_topic(),
        "a message is too large for the broker"
    );
    let replacement = match message {
        Outbound::Reply(reply) => &mut reply.payload,
        Outbound::Publication(publication) if !publication.retain => &mut publication.payload,
        // A retained message must not be replaced by an error.
        Outbound::Publication(_) | Outbound::Status { .. } => return None,
    };
    *replacement = undeliverable(&Undeliverable::TooLarge { size, max_size });
    let publish = message.publish(content_type);
    if size_of(&publish) <= max_size {
        return Some(publish);
    }
    let Outbound::Reply(reply) = message else { return None };
    reply.forget_request();
    Some(message.publish(content_type)).filter(|publish| size_of(publish) <= max_size)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::publication::{Publication, Reply};

    fn fit(message: &mut Outbound, max_size: usize) -> Option<Publish> {
        super::fit(message, max_size, "application/json", |cause| {
            assert!(matches!(cause, Undeliverable::TooLarge { size: 1001.., .. }));
            format!("{{\"error\": {:200}}}", "").into()
        })
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
            (reply(short(), "r".repeat(900), 2000), false),
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
}

//! Messages that are larger than the broker takes.

use rumqttc::v5::mqttbytes::v5::Publish;

use super::message::Message;
use crate::error::{ErrorCode, ErrorReply};
use crate::topics::short;

/// The message as a packet. One that is too large for the broker becomes an error
/// that is not: the broker would close the connection over it, again and again.
/// `None` if nothing can be published instead.
pub(super) fn within(message: &mut Message, max: usize) -> Option<Publish> {
    // The packet identifier is not counted before it is known.
    let size = |publish: &Publish| publish.size() + 2;
    let publish = message.publish();
    if size(&publish) <= max {
        return Some(publish);
    }
    tracing::error!(
        size = size(&publish),
        max,
        topic = short(message.topic()),
        "the broker does not take so large a message"
    );
    let error = ErrorReply::new(
        ErrorCode::PayloadTooLarge,
        format!(
            "this message needs a packet of {} bytes, but the broker takes no more than {max}; ask \
             for less, for example with field masks",
            size(&publish)
        ),
    );
    let error = error.with("size", size(&publish)).with("max_size", max).to_payload();
    match message {
        Message::Reply(reply) => reply.payload = error,
        Message::Publication(publication) if !publication.retain => publication.payload = error,
        Message::Publication(_) | Message::Status { .. } => return None,
    }
    if size(&message.publish()) > max
        && let Message::Reply(reply) = message
    {
        reply.forget_request();
    }
    Some(message.publish()).filter(|publish| size(publish) <= max)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::super::message::{Publication, Reply};
    use super::*;

    fn reply(topic: String, request_id: String, payload: usize) -> Message {
        Message::Reply(Reply {
            delivery: 1,
            topic,
            fallback_topic: None,
            correlation_data: Some(Bytes::from_static(b"c")),
            request_id,
            payload: vec![b'x'; payload].into(),
        })
    }

    fn publication(retain: bool) -> Message {
        let topic = "vehicle/1/events/x".into();
        let payload = vec![b'x'; 2000].into();
        Message::Publication(Publication { topic, payload, retain, expiry: None })
    }

    #[test]
    fn too_large_a_message_becomes_an_error_that_fits() {
        let short = || "vehicle/1/state/resp".to_owned();
        for (mut message, keeps_correlation) in [
            (reply(short(), "r".into(), 2000), true),
            (reply(short(), "r".repeat(900), 2000), false),
            (publication(false), false),
        ] {
            let publish = within(&mut message, 1000).unwrap();
            assert!(publish.size() <= 1000);
            assert!(publish.payload.starts_with(b"{\"error\""));
            let properties = publish.properties.unwrap();
            assert_eq!(properties.correlation_data.is_some(), keeps_correlation);
        }
    }

    #[test]
    fn a_message_that_cannot_be_made_to_fit_is_given_up() {
        let mut message = reply("t".repeat(2000), "r".into(), 1);
        assert!(within(&mut message, 1000).is_none());
        // An error shall not be kept in the place of what was to be kept.
        assert!(within(&mut publication(true), 1000).is_none());
        assert!(within(&mut publication(true), 3000).is_some());
    }
}

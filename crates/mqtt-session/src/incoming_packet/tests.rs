use rumqttc::v5::mqttbytes::v5::Packet;

use super::*;

fn decode(bytes: &[u8], max: u32) -> Vec<Received> {
    let mut decoder = Decoder::new(max);
    let mut buffer = BytesMut::from(bytes);
    let all = std::iter::from_fn(|| decoder.next(&mut buffer).unwrap()).collect();
    assert!(buffer.is_empty() && decoder.skip == 0, "{buffer:?}");
    all
}

fn one(bytes: &[u8]) -> Received {
    match decode(bytes, 1000).as_slice() {
        [one] => one.clone(),
        other => panic!("{other:?}"),
    }
}

/// Whether a packet is skipped, and the next one is read.
fn is_skipped(bytes: &[u8]) -> bool {
    let behind = [bytes, &[0xd0, 0]].concat();
    let all = decode(&behind, 1000);
    matches!(all.as_slice(), [Received::Unusable(_), Received::PingResp])
}

#[test]
fn acknowledgements_with_every_code_are_read_in_all_forms() {
    for code in 0..=u8::MAX {
        let forms: [&[u8]; 5] = [
            &[0x40, 3, 0, 7, code],
            &[0x40, 4, 0, 7, code, 0],
            &[0x40, 9, 0, 7, code, 5, 0x1f, 0, 2, b'n', b'o'],
            // A property that is not allowed here, and an unknown one.
            &[0x40, 7, 0, 7, code, 3, 0x21, 0, 1],
            &[0x40, 6, 0, 7, code, 2, 0x7f, 0],
        ];
        for form in forms {
            let Received::PubAck(ack) = one(form) else { panic!("{form:?}") };
            assert_eq!((ack.packet_id, ack.code), (7, ReasonCode(code)));
            assert_eq!(ack.text == "no", form.len() == 11);
        }
        let suback = Received::SubAck {
            packet_id: 1,
            codes: vec![ReasonCode(1), ReasonCode(code)],
            text: String::new(),
        };
        assert_eq!(one(&[0x90, 5, 0, 1, 0, 1, code]), suback);
        for form in [&[0xe0, 1, code][..], &[0xe0, 2, code, 0]] {
            let Received::Disconnect(reason) = one(form) else { panic!("{form:?}") };
            assert_eq!(reason.code, ReasonCode(code));
        }
        let Received::ConnAck(connack) = one(&[0x20, 3, 1, code, 0]) else { panic!() };
        assert_eq!((connack.reason.code, connack.is_version_3), (ReasonCode(code), false));
        for first in [0x50, 0x70, 0xf0] {
            assert!(is_skipped(&[first, 4, 0, 1, 0, code]), "{first:x} {code:x}");
        }
    }
    assert!(matches!(one(&[0x40, 2, 0, 7]), Received::PubAck(ack) if !ack.code.is_error()));
    assert!(matches!(one(&[0xe0, 0]), Received::Disconnect(end) if end.code.0 == 0));
}

#[test]
fn packets_that_cannot_be_used_are_skipped() {
    for bytes in [
        &[0x00, 0][..],
        &[0x40, 0],
        &[0x40, 1, 0],
        &[0x90, 2, 0, 1],
        &[0x90, 3, 0, 1, 9],
        &[0x20, 1, 0],
        &[0xc0, 0],
        &[0x10, 3, 1, 2, 3],
        // PUBLISH with QoS 3, without a whole topic, without an identifier, and with 0.
        &[0x36, 3, 0, 1, b'v'],
        &[0x32, 5, 0xff, 0xff, 1, 1, 1],
        &[0x32, 4, 0, 1, b'v', 1],
        &[0x32, 6, 0, 1, b'v', 0, 0, 0],
    ] {
        assert!(is_skipped(bytes), "{bytes:?}");
    }
    // It can be acknowledged.
    let Received::Unusable(publish) = one(&[0x32, 7, 0, 1, b'v', 0, 9, 0x50, 1]) else { panic!() };
    assert_eq!(publish.packet_id, Some(9));
}

#[test]
fn a_malformed_length_is_an_error() {
    let mut decoder = Decoder::new(1000);
    let mut buffer = BytesMut::from(&[0x32, 0xff, 0xff, 0xff][..]);
    assert!(decoder.next(&mut buffer).unwrap().is_none());
    buffer.extend_from_slice(&[0xff]);
    assert!(matches!(decoder.next(&mut buffer), Err(Error::MalformedRemainingLength)));
}

#[test]
fn a_publish_is_read_as_the_library_reads_it() {
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(70_000),
        topic_alias: None,
        response_topic: Some("r".into()),
        correlation_data: Some(Bytes::from_static(b"c")),
        user_properties: vec![("a".into(), "b".into()), ("a".into(), "c".into())],
        subscription_identifiers: Vec::new(),
        content_type: Some("t".into()),
    };
    for properties in [None, Some(properties)] {
        for (qos, retain, dup) in [(QoS::AtMostOnce, true, false), (QoS::AtLeastOnce, false, true)]
        {
            let mut publish = Publish::new("topic", qos, "payload", properties.clone());
            (publish.retain, publish.dup) = (retain, dup);
            publish.pkid = if qos == QoS::AtMostOnce { 0 } else { 300 };
            let mut bytes = BytesMut::new();
            Packet::Publish(publish.clone()).write(&mut bytes, None).unwrap();
            assert_eq!(one(&bytes), Received::Publish(publish));
        }
    }
}

#[test]
fn a_property_that_is_not_allowed_does_not_cost_a_message() {
    // Server Keep Alive, and a Response Topic that is not UTF-8.
    let bytes = [0x32, 13, 0, 1, b'v', 0, 9, 7, 0x13, 0, 1, 0x08, 0, 1, 0xff];
    let Received::Publish(publish) = one(&bytes) else { panic!() };
    assert_eq!(publish.properties.unwrap().response_topic, None);
}

#[test]
fn of_a_message_that_is_too_large_the_payload_is_skipped_while_it_arrives() {
    let mut publish = Publish::new("topic", QoS::AtLeastOnce, vec![7; 1_000_000], None);
    publish.pkid = 5;
    let mut bytes = BytesMut::new();
    Packet::Publish(publish.clone()).write(&mut bytes, None).unwrap();
    bytes.extend_from_slice(&[0xd0, 0]);
    publish.payload = Bytes::new();
    let expected = [Received::TooLarge { publish, size: 1_000_000 }, Received::PingResp];
    assert_eq!(decode(&bytes, 1000), expected);
    for piece in [1000, 50_000, 900_000] {
        let mut decoder = Decoder::new(1000);
        let (mut buffer, mut all) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            all.extend(std::iter::from_fn(|| decoder.next(&mut buffer).unwrap()));
            assert!(buffer.len() <= MAX_HEAD + 5);
        }
        assert_eq!(all, expected);
    }
    // Another packet, and one whose topic cannot be read.
    for first in [0x90, 0x32] {
        let mut bytes = vec![first, 0x80, 0x80, 0x04];
        bytes.resize(4 + 65_536, 0xff);
        assert!(is_skipped(&bytes));
    }
}

#[test]
fn a_connack_of_mqtt_3_is_recognised() {
    let version = |bytes: &[u8]| match one(bytes) {
        Received::ConnAck(connack) => (connack.is_version_3, connack.reason.code.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(version(&[0x20, 2, 0, 1]), (true, 1));
    assert_eq!(version(&[0x20, 2, 0, 0]), (true, 0));
    assert_eq!(version(&[0x20, 2, 0, 0x84]), (false, 0x84));
    assert_eq!(version(&[0x20, 3, 0, 0, 0]), (false, 0));
}

#[test]
fn texts_of_the_broker_are_short_and_harmless() {
    let mut bytes = vec![0xe0, 0xb1, 0x04, 0x9d, 0xae, 0x04, 0x1f, 0x02, 0x26];
    bytes.extend([b'\n'; 0x226]);
    bytes.extend([0x1c, 0, 2, b'x', b'y']);
    let length = bytes.len() - 3;
    (bytes[1], bytes[2]) = ((length % 128) as u8 | 0x80, (length / 128) as u8);
    let properties = length - 3;
    (bytes[4], bytes[5]) = ((properties % 128) as u8 | 0x80, (properties / 128) as u8);
    let Received::Disconnect(reason) = one(&bytes) else { panic!() };
    assert_eq!(reason.text, " ".repeat(MAX_TEXT));
    assert_eq!(reason.server.as_deref(), Some("xy"));
}

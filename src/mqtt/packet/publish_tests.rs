//! PUBLISH: decoding, violations, templates.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::{
    PublishRef, TemplateOffsets, append_publish_copy, decode, encode_publish, encode_publish_head,
    encode_publish_head_template, encode_publish_template, publish_header_len,
};
use crate::mqtt::frame::{FrameLimits, PacketType, next_frame};
use crate::mqtt::packet::EncodeError;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::mqtt::violation::Violation;

const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1 << 20 };

fn check(packet: &[u8]) -> Result<PublishRef<'_>, Violation> {
    decode(&next_frame(packet, LIMITS)?.expect("the packet is complete"))
}

fn identifier(number: u16) -> PacketIdentifier {
    PacketIdentifier::new(number).unwrap()
}

#[test]
fn message_of_qos_0_has_no_packet_identifier() {
    let expected = PublishRef {
        topic: "a/b",
        payload: b"hi",
        qos: QoS::AtMostOnce,
        retain: true,
        dup: false,
        packet_identifier: None,
    };
    assert_eq!(check(b"\x31\x07\0\x03a/bhi"), Ok(expected));
}

#[test]
fn message_of_qos_1_and_2_has_a_packet_identifier() {
    let message = check(b"\x3a\x06\0\x01t\x12\x34x").unwrap();
    assert_eq!(message.packet_identifier, Some(identifier(0x1234)));
    assert_eq!((message.qos, message.dup, message.payload), (QoS::AtLeastOnce, true, &b"x"[..]));
    assert_eq!(check(b"\x34\x05\0\x01t\0\x01").unwrap().qos, QoS::ExactlyOnce);
}

#[test]
fn a32_empty_payload_is_a_message() {
    assert_eq!(check(b"\x30\x03\0\x01t").unwrap().payload, b"");
    assert_eq!(check(b"\x32\x05\0\x01t\0\x01").unwrap().payload, b"");
}

#[test]
fn a32_malformed_publishes_are_violations() {
    let packet_type = PacketType::Publish;
    let truncated = |field| Violation::Truncated { field };
    for (packet, error) in [
        (&b"\x36\x05\0\x01t\0\x01"[..], Violation::QosThree),
        (b"\x3e\x05\0\x01t\0\x01", Violation::QosThree),
        (b"\x38\x03\0\x01t", Violation::DupWithQosZero),
        (b"\x30\0", truncated("topic name")),
        (b"\x30\x01\0", truncated("topic name")),
        (b"\x30\x02\0\x01", truncated("topic name")),
        (b"\x30\x03\0\x02t", truncated("topic name")),
        (b"\x30\x02\0\0", Violation::TopicNameEmpty),
        (b"\x30\x03\0\x01#", Violation::TopicNameWildcard),
        (b"\x30\x05\0\x03a/+", Violation::TopicNameWildcard),
        (b"\x30\x03\0\x01\0", Violation::NulCharacter { field: "topic name" }),
        (b"\x30\x03\0\x01\xff", Violation::IllFormedUtf8 { field: "topic name" }),
        (b"\x30\x04\0\x02\xc0\x80", Violation::IllFormedUtf8 { field: "topic name" }),
        (b"\x30\x05\0\x03\xed\xa0\x80", Violation::IllFormedUtf8 { field: "topic name" }),
        (b"\x32\x03\0\x01t", truncated("packet identifier")),
        (b"\x32\x04\0\x01t\0", truncated("packet identifier")),
        (b"\x32\x05\0\x01t\0\0", Violation::PacketIdentifierZero { packet_type }),
        (b"\x34\x05\0\x01t\0\0", Violation::PacketIdentifierZero { packet_type }),
    ] {
        assert_eq!(check(packet), Err(error), "{packet:x?}");
    }
}

#[test]
fn a27_topic_of_65400_slashes_is_refused() {
    let topic = "/".repeat(65_400);
    let message = PublishRef {
        topic: &topic,
        payload: b"",
        qos: QoS::AtMostOnce,
        retain: false,
        dup: false,
        packet_identifier: None,
    };
    let mut out = Vec::new();
    encode_publish(&mut out, &message).unwrap();
    assert_eq!(check(&out), Err(Violation::TopicNameTooManyLevels { levels: 65_401, max: 200 }));
}

#[test]
fn what_cannot_be_written_is_an_error_and_leaves_the_buffer_alone() {
    let mut out = vec![1];
    let long = "t".repeat(65_536);
    let mut message = PublishRef {
        topic: &long,
        payload: b"",
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
        packet_identifier: Some(identifier(1)),
    };
    let error = EncodeError::FieldTooLong { bytes: 65_536, max: 65_535 };
    assert_eq!(encode_publish(&mut out, &message), Err(error));
    message.topic = "t";
    message.packet_identifier = None;
    assert_eq!(encode_publish(&mut out, &message), Err(EncodeError::PacketIdentifierMissing));
    let too_long = encode_publish_head_template(&mut out, "t", usize::MAX, QoS::AtMostOnce, false);
    assert!(matches!(too_long, Err(EncodeError::PacketTooLong { .. })));
    assert_eq!(out, [1]);
}

#[test]
fn copies_of_a_template_differ_in_packet_identifier_and_dup_only() {
    let mut template = Vec::new();
    let offsets = encode_publish_template(&mut template, "t", b"xy", QoS::AtLeastOnce, false).unwrap();
    assert_eq!(offsets, TemplateOffsets { len: 9, packet_identifier_at: Some(5) });
    let mut out = vec![0xd0, 0];
    append_publish_copy(&mut out, &template, offsets, identifier(0x0102), false);
    append_publish_copy(&mut out, &template, offsets, identifier(0xfffe), true);
    assert_eq!(out, b"\xd0\0\x32\x07\0\x01t\x01\x02xy\x3a\x07\0\x01t\xff\xfexy");
}

#[test]
fn template_of_qos_0_takes_neither_packet_identifier_nor_dup() {
    let mut template = Vec::new();
    let offsets = encode_publish_template(&mut template, "t", b"x", QoS::AtMostOnce, false).unwrap();
    let mut out = Vec::new();
    append_publish_copy(&mut out, &template, offsets, identifier(7), true);
    assert_eq!(out, b"\x30\x04\0\x01tx");
}

fn topic_name() -> impl Strategy<Value = String> {
    "[^+#\\x00]{1,40}"
}

/// QoS, DUP and packet identifier in the combinations that exist.
fn delivery() -> impl Strategy<Value = (QoS, bool, Option<PacketIdentifier>)> {
    prop_oneof![
        Just((QoS::AtMostOnce, false, None)),
        (1..=u16::MAX, any::<bool>()).prop_map(|(number, dup)| (
            QoS::AtLeastOnce,
            dup,
            Some(identifier(number))
        )),
        (1..=u16::MAX, any::<bool>()).prop_map(|(number, dup)| (
            QoS::ExactlyOnce,
            dup,
            Some(identifier(number))
        )),
    ]
}

proptest! {
    #[test]
    fn publish_round_trips(
        topic in topic_name(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        (qos, dup, packet_identifier) in delivery(),
        retain: bool,
    ) {
        let message = PublishRef { topic: &topic, payload: &payload, qos, retain, dup, packet_identifier };
        let mut packet = Vec::new();
        encode_publish(&mut packet, &message).unwrap();
        prop_assert_eq!(check(&packet), Ok(message));
        let head_bytes = publish_header_len(topic.len(), payload.len(), qos);
        prop_assert_eq!(packet.len(), head_bytes + payload.len());

        let mut head = Vec::new();
        encode_publish_head(&mut head, &message).unwrap();
        prop_assert_eq!(&head, &packet[..head_bytes]);

        let mut template = Vec::new();
        let offsets = encode_publish_template(&mut template, &topic, &payload, qos, retain).unwrap();
        prop_assert_eq!(offsets.len, template.len());
        let mut copy = Vec::new();
        let number = packet_identifier.unwrap_or(PacketIdentifier::FIRST);
        append_publish_copy(&mut copy, &template, offsets, number, dup);
        prop_assert_eq!(&copy, &packet);

        let mut head_template = Vec::new();
        let head_offsets =
            encode_publish_head_template(&mut head_template, &topic, payload.len(), qos, retain).unwrap();
        prop_assert_eq!(head_offsets.packet_identifier_at, offsets.packet_identifier_at);
        prop_assert_eq!(head_offsets.len, head_template.len());
        prop_assert_eq!(&head_template, &template[..head_template.len()]);
    }
}

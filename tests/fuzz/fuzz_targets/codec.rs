//! Any bytes, as a stream from a client and from a server: nothing panics, limits hold, and every packet that
//! is accepted is written again byte for byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rookery_fuzz::mqtt::client_side::{
    ServerPacket, decode_server_packet, encode_connect, encode_disconnect, encode_pingreq, encode_subscribe,
    encode_unsubscribe,
};
use rookery_fuzz::mqtt::frame::{Frame, FrameLimits, next_frame, packet_bytes_needed};
use rookery_fuzz::mqtt::packet::acknowledge::encode_puback;
use rookery_fuzz::mqtt::packet::connect::{PROTOCOL_LEVEL_3_1_1, decode_first, encode_connack};
use rookery_fuzz::mqtt::packet::control::encode_pingresp;
use rookery_fuzz::mqtt::packet::publish::{
    PublishRef, append_publish_copy, encode_publish, encode_publish_template,
};
use rookery_fuzz::mqtt::packet::subscribe::encode_suback;
use rookery_fuzz::mqtt::packet::unsubscribe::encode_unsuback;
use rookery_fuzz::mqtt::packet::{ClientPacket, decode_client_packet};
use rookery_fuzz::mqtt::topic::{TOPIC_LEVELS_MAX, level_count, validate_topic_name};

const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1 << 18 };

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    loop {
        let needed = packet_bytes_needed(rest, LIMITS);
        match next_frame(rest, LIMITS) {
            Ok(Some(frame)) => {
                assert_eq!(needed, Ok(Some(frame.len)));
                assert!(frame.len <= LIMITS.packet_bytes_max);
                check_frame(&frame, &rest[..frame.len]);
                rest = &rest[frame.len..];
            }
            Ok(None) => {
                let missing = needed.expect("both functions read the same header");
                assert!(missing.is_none_or(|bytes| rest.len() < bytes && bytes <= LIMITS.packet_bytes_max));
                return;
            }
            Err(violation) => {
                assert_eq!(needed, Err(violation));
                assert!(!violation.clause().is_empty());
                return;
            }
        }
    }
});

fn check_frame(frame: &Frame<'_>, packet: &[u8]) {
    let mut out = Vec::new();
    if let Ok(connect) = decode_first(frame)
        && connect.protocol_level == PROTOCOL_LEVEL_3_1_1
    {
        encode_connect(&mut out, &connect).expect("decoded fields fit");
        assert_eq!(out, packet);
    }
    if let Ok(decoded) = decode_client_packet(frame) {
        out.clear();
        encode_client_packet(&mut out, &decoded);
        assert_eq!(out, packet);
    }
    if let Ok(decoded) = decode_server_packet(frame) {
        out.clear();
        encode_server_packet(&mut out, &decoded);
        assert_eq!(out, packet);
    }
}

fn encode_client_packet(out: &mut Vec<u8>, packet: &ClientPacket<'_>) {
    match packet {
        ClientPacket::Publish(publish) => encode_message(out, publish),
        ClientPacket::Puback(identifier) => encode_puback(out, *identifier),
        ClientPacket::Subscribe(subscribe) => {
            assert_eq!(subscribe.requests().len(), subscribe.requests().count());
            encode_subscribe(out, subscribe.packet_identifier, subscribe.requests())
                .expect("decoded fields fit");
        }
        ClientPacket::Unsubscribe(unsubscribe) => {
            assert_eq!(unsubscribe.filters().len(), unsubscribe.filters().count());
            encode_unsubscribe(out, unsubscribe.packet_identifier, unsubscribe.filters())
                .expect("decoded fields fit");
        }
        ClientPacket::Pingreq => encode_pingreq(out),
        ClientPacket::Disconnect => encode_disconnect(out),
    }
}

fn encode_server_packet(out: &mut Vec<u8>, packet: &ServerPacket<'_>) {
    match packet {
        // A refusal that claims a session is read leniently and never written (MQTT-3.2.2-4).
        ServerPacket::Connack { session_present, code } => {
            encode_connack(out, *session_present, *code);
            out[2] = u8::from(*session_present);
        }
        ServerPacket::Publish(publish) => encode_message(out, publish),
        ServerPacket::Puback(identifier) => encode_puback(out, *identifier),
        ServerPacket::Suback(suback) => {
            encode_suback(out, suback.packet_identifier, suback.codes()).expect("decoded fields fit");
        }
        ServerPacket::Unsuback(identifier) => encode_unsuback(out, *identifier),
        ServerPacket::Pingresp => encode_pingresp(out),
    }
}

/// Writes a message directly and as a copy of a template, which must be the same.
fn encode_message(out: &mut Vec<u8>, message: &PublishRef<'_>) {
    assert_eq!(validate_topic_name(message.topic), Ok(()));
    assert!(level_count(message.topic) <= TOPIC_LEVELS_MAX);
    encode_publish(out, message).expect("decoded fields fit");
    let mut template = Vec::new();
    let offsets =
        encode_publish_template(&mut template, message.topic, message.payload, message.qos, message.retain)
            .expect("decoded fields fit");
    if let Some(identifier) = message.packet_identifier {
        let mut copy = Vec::new();
        append_publish_copy(&mut copy, &template, offsets, identifier, message.dup);
        assert_eq!(&copy, out);
    } else {
        assert_eq!(&template, out);
    }
}

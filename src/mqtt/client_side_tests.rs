//! What a client writes is what the server reads, and the reverse.

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

use super::{
    ServerPacket, decode_server_packet, encode_connect, encode_disconnect, encode_pingreq, encode_puback,
    encode_subscribe, encode_unsubscribe,
};
use crate::mqtt::frame::{Frame, FrameLimits, next_frame};
use crate::mqtt::packet::connect::{
    ConnectRef, ConnectReturnCode, PROTOCOL_LEVEL_3_1, PROTOCOL_LEVEL_3_1_1, WillRef, decode_first,
    encode_connack,
};
use crate::mqtt::packet::control::encode_pingresp;
use crate::mqtt::packet::subscribe::{SubackCode, SubscribeRequest, encode_suback};
use crate::mqtt::packet::unsubscribe::encode_unsuback;
use crate::mqtt::packet::{ClientPacket, decode_client_packet};
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::mqtt::violation::Violation;

const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1 << 20 };

fn frame(packet: &[u8]) -> Frame<'_> {
    let frame = next_frame(packet, LIMITS).unwrap().unwrap();
    assert_eq!(frame.len, packet.len());
    frame
}

fn from_server(packet: &[u8]) -> Result<ServerPacket<'_>, Violation> {
    decode_server_packet(&frame(packet))
}

#[test]
fn server_packets_are_read() {
    let identifier = PacketIdentifier::new(7).unwrap();
    let mut out = Vec::new();
    encode_connack(&mut out, true, ConnectReturnCode::Accepted);
    let connack = ServerPacket::Connack { session_present: true, code: ConnectReturnCode::Accepted };
    assert_eq!(from_server(&out), Ok(connack));
    out.clear();
    encode_puback(&mut out, identifier);
    assert_eq!(from_server(&out), Ok(ServerPacket::Puback(identifier)));
    out.clear();
    encode_unsuback(&mut out, identifier);
    assert_eq!(from_server(&out), Ok(ServerPacket::Unsuback(identifier)));
    out.clear();
    encode_pingresp(&mut out);
    assert_eq!(from_server(&out), Ok(ServerPacket::Pingresp));
    out.clear();
    let codes = [SubackCode::Granted(QoS::AtLeastOnce), SubackCode::Failure];
    encode_suback(&mut out, identifier, codes).unwrap();
    let Ok(ServerPacket::Suback(suback)) = from_server(&out) else { panic!("not a SUBACK: {out:x?}") };
    assert_eq!(suback.codes().collect::<Vec<_>>(), codes);
}

#[test]
fn malformed_server_packets_are_violations() {
    for (packet, clause) in [
        (&b"\x20\0"[..], "MQTT-2.2.3"),
        (b"\x20\x03\0\0\0", "MQTT-2.2.3"),
        (b"\x20\x02\x02\0", "MQTT-3.2.2-6"),
        (b"\x20\x02\0\x06", "MQTT-3.2.2-6"),
        (b"\x90\x02\0\x01", "MQTT-2.2.3"),
        (b"\x90\x03\0\x01\x03", "MQTT-3.9.3-2"),
        (b"\x90\x03\0\0\0", "MQTT-2.3.1-1"),
        (b"\xb0\x02\0\0", "MQTT-2.3.1-1"),
        (b"\xd0\x01\0", "MQTT-2.2.3"),
        (b"\x10\0", "MQTT-2.2.1"),
        (b"\x82\0", "MQTT-2.2.1"),
        (b"\xa2\0", "MQTT-2.2.1"),
        (b"\xc0\0", "MQTT-2.2.1"),
        (b"\xe0\0", "MQTT-2.2.1"),
        (b"\x50\x02\0\x01", "U-M3"),
    ] {
        assert_eq!(from_server(packet).map_err(|error| error.clause()), Err(clause), "{packet:x?}");
    }
}

#[test]
fn pings_and_disconnects_are_read() {
    let mut out = Vec::new();
    encode_pingreq(&mut out);
    assert_eq!(decode_client_packet(&frame(&out)), Ok(ClientPacket::Pingreq));
    out.clear();
    encode_disconnect(&mut out);
    assert_eq!(decode_client_packet(&frame(&out)), Ok(ClientPacket::Disconnect));
}

#[test]
fn a_field_that_is_too_long_leaves_the_buffer_alone() {
    let long = "x".repeat(65_536);
    let mut out = vec![1];
    let requests = [
        SubscribeRequest { filter: "a", qos: QoS::AtMostOnce },
        SubscribeRequest { filter: &long, qos: QoS::AtMostOnce },
    ];
    assert!(encode_subscribe(&mut out, PacketIdentifier::FIRST, requests).is_err());
    assert!(encode_unsubscribe(&mut out, PacketIdentifier::FIRST, ["a", &long]).is_err());
    assert_eq!(out, [1]);
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn text() -> impl Strategy<Value = String> {
    "[^\\x00]{0,30}"
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

proptest! {
    #[test]
    fn connect_round_trips(
        (old, clean_session, keep_alive_s) in (any::<bool>(), any::<bool>(), any::<u16>()),
        client_id in text(),
        will in prop::option::of((text(), binary(), qos(), any::<bool>())),
        credential in prop::option::of((text(), prop::option::of(binary()))),
    ) {
        let connect = ConnectRef {
            protocol_level: if old { PROTOCOL_LEVEL_3_1 } else { PROTOCOL_LEVEL_3_1_1 },
            clean_session,
            keep_alive_s,
            client_id: &client_id,
            will: will.as_ref().map(|(topic, payload, qos, retain)| WillRef {
                topic,
                payload,
                qos: *qos,
                retain: *retain,
            }),
            username: credential.as_ref().map(|(username, _)| username.as_str()),
            password: credential.as_ref().and_then(|(_, password)| password.as_deref()),
        };
        let mut packet = Vec::new();
        encode_connect(&mut packet, &connect).unwrap();
        prop_assert_eq!(decode_first(&frame(&packet)), Ok(connect));
    }

    #[test]
    fn subscribe_round_trips(
        number in 1..=u16::MAX,
        requests in prop::collection::vec((text(), qos()), 1..8),
    ) {
        let packet_identifier = PacketIdentifier::new(number).unwrap();
        let requests: Vec<_> =
            requests.iter().map(|(filter, qos)| SubscribeRequest { filter, qos: *qos }).collect();
        let mut packet = Vec::new();
        encode_subscribe(&mut packet, packet_identifier, requests.iter().copied()).unwrap();
        let Ok(ClientPacket::Subscribe(decoded)) = decode_client_packet(&frame(&packet)) else {
            panic!("not a SUBSCRIBE: {packet:x?}");
        };
        prop_assert_eq!(decoded.packet_identifier, packet_identifier);
        prop_assert_eq!(decoded.requests().len(), requests.len());
        prop_assert_eq!(decoded.requests().collect::<Vec<_>>(), requests);
    }

    #[test]
    fn unsubscribe_round_trips(number in 1..=u16::MAX, filters in prop::collection::vec(text(), 1..8)) {
        let packet_identifier = PacketIdentifier::new(number).unwrap();
        let mut packet = Vec::new();
        encode_unsubscribe(&mut packet, packet_identifier, filters.iter().map(String::as_str)).unwrap();
        let Ok(ClientPacket::Unsubscribe(decoded)) = decode_client_packet(&frame(&packet)) else {
            panic!("not an UNSUBSCRIBE: {packet:x?}");
        };
        prop_assert_eq!(decoded.packet_identifier, packet_identifier);
        prop_assert_eq!(decoded.filters().collect::<Vec<_>>(), filters);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in binary()) {
        let mut rest = &bytes[..];
        while let Ok(Some(frame)) = next_frame(rest, LIMITS) {
            let _ = (decode_first(&frame), decode_client_packet(&frame), decode_server_packet(&frame));
            rest = &rest[frame.len..];
        }
    }
}

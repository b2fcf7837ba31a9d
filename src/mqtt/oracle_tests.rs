//! Our codec against `mqtt-protocol-core`, an implementation that we did not write.
//!
//! Each test encodes a packet with ours, lets the other read it, compares the fields, and compares the bytes
//! that the other writes for them. The last test takes damaged packets: what we accept, the other accepts
//! with the same fields. (It is more lenient than we are, so the reverse does not hold.)

use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1 as oracle};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode as OracleReturnCode, SubackReturnCode};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

use crate::mqtt::client_side::{encode_connect, encode_subscribe, encode_unsubscribe};
use crate::mqtt::frame::{Frame, FrameLimits, PacketType, next_frame};
use crate::mqtt::packet::connect::{
    ConnectRef, ConnectReturnCode, PROTOCOL_LEVEL_3_1_1, WillRef, decode_first, encode_connack,
};
use crate::mqtt::packet::publish::{PublishRef, encode_publish};
use crate::mqtt::packet::subscribe::{SubackCode, SubscribeRequest, encode_suback};
use crate::mqtt::packet::{ClientPacket, acknowledge, decode_client_packet, unsubscribe};
use crate::mqtt::qos::{PacketIdentifier, QoS};

const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1 << 20 };

fn frame(packet: &[u8]) -> Frame<'_> {
    next_frame(packet, LIMITS).unwrap().unwrap()
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn oracle_qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn text() -> impl Strategy<Value = String> {
    "[^\\x00]{1,20}"
}

fn topic_name() -> impl Strategy<Value = String> {
    "[^+#\\x00]{1,20}"
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn identifier() -> impl Strategy<Value = PacketIdentifier> {
    (1..=u16::MAX).prop_map(|number| PacketIdentifier::new(number).unwrap())
}

/// The fields of a CONNECT as the other implementation reads them.
fn assert_same_connect(ours: &ConnectRef<'_>, body: &[u8]) -> oracle::Connect {
    let (theirs, consumed) = oracle::Connect::parse(body).unwrap();
    assert_eq!(consumed, body.len());
    assert_eq!(theirs.client_id(), ours.client_id);
    assert_eq!(theirs.clean_session(), ours.clean_session);
    assert_eq!(theirs.keep_alive(), ours.keep_alive_s);
    assert_eq!(theirs.user_name(), ours.username);
    assert_eq!(theirs.password(), ours.password);
    assert_eq!(theirs.will_flag(), ours.will.is_some());
    assert_eq!(theirs.will_topic(), ours.will.map(|will| will.topic));
    assert_eq!(theirs.will_payload(), ours.will.map(|will| will.payload));
    if let Some(will) = ours.will {
        assert_eq!((theirs.will_qos(), theirs.will_retain()), (oracle_qos(will.qos), will.retain));
    }
    theirs
}

fn assert_same_publish(ours: &PublishRef<'_>, frame: &Frame<'_>) -> oracle::Publish {
    let (theirs, consumed) = oracle::Publish::parse(frame.header.flags, frame.body.into()).unwrap();
    assert_eq!(consumed, frame.body.len());
    assert_eq!(theirs.topic_name(), ours.topic);
    assert_eq!(theirs.payload().as_slice(), ours.payload);
    assert_eq!((theirs.qos(), theirs.dup(), theirs.retain()), (oracle_qos(ours.qos), ours.dup, ours.retain));
    assert_eq!(theirs.packet_id(), ours.packet_identifier.map(PacketIdentifier::get));
    theirs
}

/// What the other implementation reads out of a packet that we accept.
fn assert_same_client_packet(ours: &ClientPacket<'_>, frame: &Frame<'_>) {
    match ours {
        ClientPacket::Publish(publish) => {
            assert_same_publish(publish, frame);
        }
        ClientPacket::Puback(identifier) => {
            assert_eq!(oracle::Puback::parse(frame.body).unwrap().0.packet_id(), identifier.get());
        }
        ClientPacket::Subscribe(subscribe) => {
            let (theirs, _) = oracle::Subscribe::parse(frame.body).unwrap();
            assert_eq!(theirs.packet_id(), subscribe.packet_identifier.get());
            let theirs: Vec<_> = theirs
                .entries()
                .iter()
                .map(|entry| (entry.topic_filter().to_owned(), entry.sub_opts().qos()))
                .collect();
            let ours: Vec<_> = subscribe
                .requests()
                .map(|request| (request.filter.to_owned(), oracle_qos(request.qos)))
                .collect();
            assert_eq!(theirs, ours);
        }
        ClientPacket::Unsubscribe(unsubscribe) => {
            let (theirs, _) = oracle::Unsubscribe::parse(frame.body).unwrap();
            assert_eq!(theirs.packet_id(), unsubscribe.packet_identifier.get());
            let theirs: Vec<_> = theirs.entries().iter().map(|entry| entry.as_str()).collect();
            assert_eq!(theirs, unsubscribe.filters().collect::<Vec<_>>());
        }
        ClientPacket::Pingreq | ClientPacket::Disconnect => {}
    }
}

/// A stream of valid packets of a client.
fn client_packets() -> impl Strategy<Value = Vec<u8>> {
    let fields = (topic_name(), binary(), qos(), identifier(), text());
    prop::collection::vec(fields, 1..4).prop_map(|packets| {
        let mut out = Vec::new();
        for (topic, payload, qos, identifier, text) in &packets {
            let packet_identifier = qos.has_packet_identifier().then_some(*identifier);
            let publish =
                PublishRef { topic, payload, qos: *qos, retain: false, dup: false, packet_identifier };
            encode_publish(&mut out, &publish).unwrap();
            let request = SubscribeRequest { filter: text, qos: *qos };
            encode_subscribe(&mut out, *identifier, [request, request]).unwrap();
            encode_unsubscribe(&mut out, *identifier, [text.as_str(), topic]).unwrap();
            acknowledge::encode_puback(&mut out, *identifier);
        }
        out
    })
}

proptest! {
    #[test]
    fn connect_agrees(
        (clean_session, keep_alive_s) in (any::<bool>(), any::<u16>()),
        client_id in text(),
        will in prop::option::of((topic_name(), binary(), qos(), any::<bool>())),
        credential in prop::option::of((text(), prop::option::of(binary()))),
    ) {
        let ours = ConnectRef {
            protocol_level: PROTOCOL_LEVEL_3_1_1,
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
        encode_connect(&mut packet, &ours).unwrap();
        let theirs = assert_same_connect(&ours, frame(&packet).body);
        prop_assert_eq!(theirs.to_continuous_buffer(), packet);
    }

    #[test]
    fn publish_agrees(
        topic in topic_name(),
        payload in binary(),
        (qos, number) in (qos(), identifier()),
        (retain, dup) in (any::<bool>(), any::<bool>()),
    ) {
        let ours = PublishRef {
            topic: &topic,
            payload: &payload,
            qos,
            retain,
            dup: dup && qos.has_packet_identifier(),
            packet_identifier: qos.has_packet_identifier().then_some(number),
        };
        let mut packet = Vec::new();
        encode_publish(&mut packet, &ours).unwrap();
        let theirs = assert_same_publish(&ours, &frame(&packet));
        prop_assert_eq!(theirs.to_continuous_buffer(), packet);
    }

    #[test]
    fn streams_of_client_packets_agree(stream in client_packets()) {
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let frame = frame(rest);
            let ours = decode_client_packet(&frame).unwrap();
            assert_same_client_packet(&ours, &frame);
            let theirs = match frame.header.packet_type {
                PacketType::Subscribe => oracle::Subscribe::parse(frame.body).unwrap().0.to_continuous_buffer(),
                PacketType::Unsubscribe => {
                    oracle::Unsubscribe::parse(frame.body).unwrap().0.to_continuous_buffer()
                }
                PacketType::Puback => oracle::Puback::parse(frame.body).unwrap().0.to_continuous_buffer(),
                _ => rest[..frame.len].to_vec(),
            };
            prop_assert_eq!(&theirs[..], &rest[..frame.len]);
            rest = &rest[frame.len..];
        }
    }

    #[test]
    fn answers_agree(
        number in identifier(),
        codes in prop::collection::vec(prop::option::of(qos()), 1..300),
        session_present: bool,
        return_code in 0_u8..6,
    ) {
        let code = ConnectReturnCode::from_byte(return_code).unwrap();
        let mut packet = Vec::new();
        encode_connack(&mut packet, session_present, code);
        let (connack, _) = oracle::Connack::parse(frame(&packet).body).unwrap();
        prop_assert_eq!(connack.return_code(), OracleReturnCode::try_from(return_code).unwrap());
        prop_assert_eq!(connack.session_present(), session_present && return_code == 0);

        packet.clear();
        let granted = codes.iter().map(|qos| qos.map_or(SubackCode::Failure, SubackCode::Granted));
        encode_suback(&mut packet, number, granted.clone()).unwrap();
        let (suback, _) = oracle::Suback::parse(frame(&packet).body).unwrap();
        prop_assert_eq!(suback.packet_id(), number.get());
        let expected: Vec<_> =
            granted.map(|code| SubackReturnCode::try_from(code.byte()).unwrap()).collect();
        prop_assert_eq!(suback.return_codes(), expected);
        prop_assert_eq!(suback.to_continuous_buffer(), &packet[..]);

        packet.clear();
        unsubscribe::encode_unsuback(&mut packet, number);
        let (unsuback, _) = oracle::Unsuback::parse(frame(&packet).body).unwrap();
        prop_assert_eq!(unsuback.to_continuous_buffer(), packet);
    }

    #[test]
    fn damaged_packets_are_refused_or_read_alike(
        stream in client_packets(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut stream = stream;
        for (index, byte) in damage {
            let at = index.index(stream.len());
            stream[at] = byte;
        }
        let mut rest = &stream[..];
        while let Ok(Some(frame)) = next_frame(rest, LIMITS) {
            if let Ok(packet) = decode_client_packet(&frame) {
                assert_same_client_packet(&packet, &frame);
            }
            if let Ok(connect) = decode_first(&frame)
                && connect.protocol_level == PROTOCOL_LEVEL_3_1_1
            {
                assert_same_connect(&connect, frame.body);
            }
            rest = &rest[frame.len..];
        }
    }
}

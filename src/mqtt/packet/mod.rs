//! Packets: one file per family with decoding, encoding and tests.
//!
//! Decoding borrows from the frame and never allocates. Encoding appends to a buffer; when it fails, nothing
//! was appended.

use thiserror::Error;

use crate::mqtt::frame::{Frame, PacketType};
use crate::mqtt::qos::PacketIdentifier;
use crate::mqtt::violation::Violation;

pub mod connect;
pub mod publish;

pub mod acknowledge;
pub mod control;
pub mod subscribe;
pub mod unsubscribe;

use publish::PublishRef;
use subscribe::SubscribeRef;
use unsubscribe::UnsubscribeRef;

/// A packet of a client after its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPacket<'a> {
    /// A message; QoS 2 included, which the session refuses (U-M3).
    Publish(PublishRef<'a>),
    /// Acknowledges a message that the server sent with QoS 1.
    Puback(PacketIdentifier),
    /// Asks for subscriptions.
    Subscribe(SubscribeRef<'a>),
    /// Ends subscriptions.
    Unsubscribe(UnsubscribeRef<'a>),
    /// Is answered with PINGRESP.
    Pingreq,
    /// Ends the session without its will.
    Disconnect,
}

/// Decodes any packet of a client but the first, for which there is [`connect::decode_first`].
///
/// # Errors
/// The violation by which the connection must close. Among them [`Violation::SecondConnect`],
/// [`Violation::WrongDirection`] for packets of a server and [`Violation::QosTwoNotSupported`].
#[inline]
pub fn decode_client_packet<'a>(frame: &Frame<'a>) -> Result<ClientPacket<'a>, Violation> {
    let packet_type = frame.header.packet_type;
    match packet_type {
        PacketType::Publish => publish::decode(frame).map(ClientPacket::Publish),
        PacketType::Puback => acknowledge::decode(frame).map(ClientPacket::Puback),
        PacketType::Subscribe => subscribe::decode(frame).map(ClientPacket::Subscribe),
        PacketType::Unsubscribe => unsubscribe::decode(frame).map(ClientPacket::Unsubscribe),
        PacketType::Pingreq => control::decode_empty(frame).map(|()| ClientPacket::Pingreq),
        PacketType::Disconnect => control::decode_empty(frame).map(|()| ClientPacket::Disconnect),
        PacketType::Connect => Err(Violation::SecondConnect),
        PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
            Err(Violation::QosTwoNotSupported { packet_type })
        }
        PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
            Err(Violation::WrongDirection { packet_type })
        }
    }
}

/// Why a packet cannot be written. The caller passed a value that the wire format cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Strings and binary data have a length of 16 bits.
    #[error("field is longer than {max} bytes (got {bytes})")]
    FieldTooLong {
        /// Length of the field in bytes.
        bytes: usize,
        /// 65535.
        max: usize,
    },
    /// The remaining length has 28 bits.
    #[error("packet body is longer than {max} bytes (got {bytes})")]
    PacketTooLong {
        /// Length of the body in bytes.
        bytes: usize,
        /// [`crate::mqtt::frame::REMAINING_LENGTH_MAX`].
        max: usize,
    },
    /// MQTT-2.3.1-1: a PUBLISH above QoS 0 carries a packet identifier.
    #[error("PUBLISH above QoS 0 has no packet identifier")]
    PacketIdentifierMissing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::frame::{FrameLimits, next_frame};

    fn decode(bytes: &[u8]) -> Result<ClientPacket<'_>, Violation> {
        let frame = next_frame(bytes, FrameLimits { packet_bytes_max: 1024 })?.unwrap();
        decode_client_packet(&frame)
    }

    #[test]
    fn a2_second_connect_is_a_violation_whatever_it_holds() {
        assert_eq!(decode(&[0x10, 0]), Err(Violation::SecondConnect));
    }

    #[test]
    fn a8_packets_of_a_server_are_violations() {
        for (byte, packet_type) in [
            (0x20, PacketType::Connack),
            (0x90, PacketType::Suback),
            (0xb0, PacketType::Unsuback),
            (0xd0, PacketType::Pingresp),
        ] {
            for bytes in [&[byte, 0][..], &[byte, 2, 0, 0], &[byte, 3, 0, 1, 0]] {
                assert_eq!(decode(bytes), Err(Violation::WrongDirection { packet_type }), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn a30_packets_of_the_qos_2_flow_are_violations() {
        for (byte, packet_type) in
            [(0x50, PacketType::Pubrec), (0x62, PacketType::Pubrel), (0x70, PacketType::Pubcomp)]
        {
            assert_eq!(decode(&[byte, 2, 0, 1]), Err(Violation::QosTwoNotSupported { packet_type }));
        }
    }

    #[test]
    fn every_accepted_type_is_dispatched() {
        assert_eq!(decode(&[0xc0, 0]), Ok(ClientPacket::Pingreq));
        assert_eq!(decode(&[0xe0, 0]), Ok(ClientPacket::Disconnect));
        let identifier = PacketIdentifier::new(0x1234).unwrap();
        assert_eq!(decode(&[0x40, 2, 0x12, 0x34]), Ok(ClientPacket::Puback(identifier)));
        assert!(matches!(decode(&[0x30, 3, 0, 1, b't']), Ok(ClientPacket::Publish(_))));
        assert!(matches!(decode(&[0x82, 6, 0, 1, 0, 1, b'#', 1]), Ok(ClientPacket::Subscribe(_))));
        assert!(matches!(decode(&[0xa2, 5, 0, 1, 0, 1, b'#']), Ok(ClientPacket::Unsubscribe(_))));
    }
}

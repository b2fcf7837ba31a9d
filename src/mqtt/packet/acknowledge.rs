//! PUBACK, the acknowledgement of a message of QoS 1 (MQTT 3.4).

use crate::mqtt::field::FieldReader;
use crate::mqtt::frame::{Frame, PacketType};
use crate::mqtt::qos::PacketIdentifier;
use crate::mqtt::violation::Violation;

/// Decodes a packet whose body is a packet identifier and nothing else: PUBACK, or UNSUBACK on the side of
/// a client.
///
/// # Errors
/// [`Violation::Truncated`], [`Violation::TrailingBytes`], [`Violation::PacketIdentifierZero`].
#[inline]
pub fn decode(frame: &Frame<'_>) -> Result<PacketIdentifier, Violation> {
    let packet_type = frame.header.packet_type;
    let mut reader = FieldReader::new(frame.body);
    let packet_identifier = reader.packet_identifier(packet_type)?;
    reader.finish(packet_type)?;
    Ok(packet_identifier)
}

/// Appends PUBACK.
#[inline]
pub fn encode_puback(out: &mut Vec<u8>, packet_identifier: PacketIdentifier) {
    put_acknowledgement(out, PacketType::Puback, packet_identifier);
}

/// Appends a packet of a type whose body is a packet identifier and nothing else.
#[inline]
pub(in crate::mqtt) fn put_acknowledgement(
    out: &mut Vec<u8>,
    packet_type: PacketType,
    packet_identifier: PacketIdentifier,
) {
    let [high, low] = packet_identifier.to_be_bytes();
    out.extend_from_slice(&[packet_type.first_byte(), 2, high, low]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::frame::{FrameLimits, next_frame};

    fn check(input: &[u8]) -> Result<PacketIdentifier, Violation> {
        decode(&next_frame(input, FrameLimits { packet_bytes_max: 16 })?.unwrap())
    }

    #[test]
    fn puback_round_trips() {
        for number in [1, 255, 256, u16::MAX] {
            let identifier = PacketIdentifier::new(number).unwrap();
            let mut out = Vec::new();
            encode_puback(&mut out, identifier);
            assert_eq!(check(&out), Ok(identifier));
        }
    }

    #[test]
    fn malformed_pubacks_are_violations() {
        let packet_type = PacketType::Puback;
        assert_eq!(check(&[0x40, 0]), Err(Violation::Truncated { field: "packet identifier" }));
        assert_eq!(check(&[0x40, 1, 0]), Err(Violation::Truncated { field: "packet identifier" }));
        assert_eq!(check(&[0x40, 2, 0, 0]), Err(Violation::PacketIdentifierZero { packet_type }));
        assert_eq!(check(&[0x40, 3, 0, 1, 0]), Err(Violation::TrailingBytes { packet_type, bytes: 1 }));
    }
}

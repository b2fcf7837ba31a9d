//! Packets without a body: PINGREQ, PINGRESP and DISCONNECT (MQTT 3.12 to 3.14).

use crate::mqtt::frame::{Frame, PacketType};
use crate::mqtt::violation::Violation;

/// Decodes PINGREQ, PINGRESP or DISCONNECT: the body must be empty.
///
/// # Errors
/// [`Violation::TrailingBytes`].
#[inline]
pub fn decode_empty(frame: &Frame<'_>) -> Result<(), Violation> {
    match frame.body.len() {
        0 => Ok(()),
        bytes => Err(Violation::TrailingBytes { packet_type: frame.header.packet_type, bytes }),
    }
}

/// Appends PINGRESP, the answer to PINGREQ (MQTT-3.12.4-1).
#[inline]
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::Pingresp.first_byte(), 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::frame::{FrameLimits, next_frame};

    #[test]
    fn pings_and_disconnects_have_no_body() {
        for (byte, packet_type) in [(0xc0, PacketType::Pingreq), (0xe0, PacketType::Disconnect)] {
            let input = [byte, 1, 0];
            let frame = next_frame(&input, FrameLimits { packet_bytes_max: 16 }).unwrap().unwrap();
            assert_eq!(decode_empty(&frame), Err(Violation::TrailingBytes { packet_type, bytes: 1 }));
        }
    }

    #[test]
    fn pingresp_is_two_bytes() {
        let mut out = Vec::new();
        encode_pingresp(&mut out);
        assert_eq!(out, [0xd0, 0]);
    }
}

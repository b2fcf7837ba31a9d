//! Framing: the fixed header (MQTT 2.2) and the cut of complete packets out of received bytes.
//!
//! Everything that can be refused from the fixed header alone is refused before a body byte arrives, so a
//! peer that announces a huge packet never makes the reader hold memory for it (A1).

use std::fmt;

use crate::mqtt::packet::EncodeError;
use crate::mqtt::violation::Violation;

/// Largest remaining length that the four-byte encoding can express, in bytes (MQTT 2.2.3).
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Longest fixed header: one byte of type and flags, four bytes of remaining length.
pub const FIXED_HEADER_BYTES_MAX: usize = 5;

/// The type of a packet, bits 7 to 4 of its first byte (MQTT 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client to server: opens the session.
    Connect = 1,
    /// Server to client: answers CONNECT.
    Connack = 2,
    /// Both directions: carries a message.
    Publish = 3,
    /// Both directions: acknowledges a message of QoS 1.
    Puback = 4,
    /// Both directions: first answer of the QoS 2 flow.
    Pubrec = 5,
    /// Both directions: second step of the QoS 2 flow.
    Pubrel = 6,
    /// Both directions: end of the QoS 2 flow.
    Pubcomp = 7,
    /// Client to server: asks for subscriptions.
    Subscribe = 8,
    /// Server to client: answers SUBSCRIBE.
    Suback = 9,
    /// Client to server: ends subscriptions.
    Unsubscribe = 10,
    /// Server to client: answers UNSUBSCRIBE.
    Unsuback = 11,
    /// Client to server: shows that it is alive.
    Pingreq = 12,
    /// Server to client: answers PINGREQ.
    Pingresp = 13,
    /// Client to server: ends the session normally.
    Disconnect = 14,
}

impl PacketType {
    /// The type for a four-bit number, or `None` for the reserved numbers 0 and 15 (and above).
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            _ => return None,
        })
    }

    /// The name as the standard writes it, in capital letters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
        }
    }

    /// The flags that every type but PUBLISH must have (MQTT 2.2.2, table 2.2).
    #[inline]
    pub const fn fixed_flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// First byte of a packet of this type with its fixed flags; PUBLISH adds its own.
    #[inline]
    pub const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags()
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// First byte of a packet, checked: a known type, and the flags that the type must have. The flags of a
/// PUBLISH are checked when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Type of the packet.
    pub packet_type: PacketType,
    /// Bits 3 to 0.
    pub flags: u8,
}

impl FixedHeader {
    /// Takes the first byte apart.
    ///
    /// # Errors
    /// [`Violation::ReservedPacketType`], [`Violation::ReservedFlags`].
    #[inline]
    pub fn from_byte(byte: u8) -> Result<Self, Violation> {
        let bits = byte >> 4;
        let flags = byte & 0x0f;
        let Some(packet_type) = PacketType::from_bits(bits) else {
            return Err(Violation::ReservedPacketType { packet_type: bits });
        };
        if packet_type != PacketType::Publish && flags != packet_type.fixed_flags() {
            return Err(Violation::ReservedFlags { packet_type, flags });
        }
        Ok(Self { packet_type, flags })
    }
}

/// Limits of the reader. They change during a connection: small before CONNECT is accepted (A1), larger
/// afterwards (U-M10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest packet including its fixed header, in bytes. A larger one is a violation.
    pub packet_bytes_max: usize,
}

/// One complete packet, borrowed from the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type and flags.
    pub header: FixedHeader,
    /// Everything after the fixed header.
    pub body: &'a [u8],
    /// Length of the whole packet: how many bytes of the input it took.
    pub len: usize,
}

/// A fixed header that has arrived completely.
struct FrameHead {
    header: FixedHeader,
    head_bytes: usize,
    total_bytes: usize,
}

/// Cuts the first packet out of `input`.
///
/// Returns `None` while it is incomplete; [`packet_bytes_needed`] then tells how many bytes it will take.
///
/// # Errors
/// Any violation of the fixed header, as soon as the bytes that show it have arrived. The limit counts
/// first, so a packet over it is never waited for.
#[inline]
pub fn next_frame(input: &[u8], limits: FrameLimits) -> Result<Option<Frame<'_>>, Violation> {
    let Some(head) = read_head(input, limits)? else { return Ok(None) };
    Ok(input.get(head.head_bytes..head.total_bytes).map(|body| Frame {
        header: head.header,
        body,
        len: head.total_bytes,
    }))
}

/// Length of the packet that `input` starts with, fixed header included, or `None` while the header itself
/// is incomplete. Never above the limit, so the reader may reserve this much.
///
/// # Errors
/// As [`next_frame`].
#[inline]
pub fn packet_bytes_needed(input: &[u8], limits: FrameLimits) -> Result<Option<usize>, Violation> {
    Ok(read_head(input, limits)?.map(|head| head.total_bytes))
}

#[inline]
fn read_head(input: &[u8], limits: FrameLimits) -> Result<Option<FrameHead>, Violation> {
    let Some((first, length_bytes)) = input.split_first() else { return Ok(None) };
    let header = FixedHeader::from_byte(*first)?;
    let Some((remaining_length, length_size)) = read_remaining_length(length_bytes)? else {
        return Ok(None);
    };
    let head_bytes = 1 + length_size;
    let total_bytes = head_bytes + remaining_length;
    if total_bytes > limits.packet_bytes_max {
        return Err(Violation::PacketTooLarge { announced: total_bytes, max: limits.packet_bytes_max });
    }
    Ok(Some(FrameHead { header, head_bytes, total_bytes }))
}

/// Reads a remaining length and its size in bytes; `None` while it is incomplete.
#[inline]
fn read_remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, Violation> {
    let mut value = 0_usize;
    for (index, byte) in input.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing: the number had a shorter form (A3).
            if *byte == 0 && index > 0 {
                return Err(Violation::RemainingLengthNotMinimal);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() < 4 { Ok(None) } else { Err(Violation::RemainingLengthTooLong) }
}

/// Size of the encoded remaining length, 1 to 4 bytes.
#[inline]
pub const fn remaining_length_size(remaining_length: usize) -> usize {
    match remaining_length {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Appends a fixed header.
///
/// # Errors
/// [`EncodeError::PacketTooLong`]; nothing was appended then.
#[inline]
pub(in crate::mqtt) fn put_fixed_header(
    out: &mut Vec<u8>,
    first_byte: u8,
    remaining_length: usize,
) -> Result<(), EncodeError> {
    if remaining_length > REMAINING_LENGTH_MAX {
        return Err(EncodeError::PacketTooLong { bytes: remaining_length, max: REMAINING_LENGTH_MAX });
    }
    let (head, head_bytes) = fixed_header(first_byte, remaining_length);
    out.extend(head.into_iter().take(head_bytes));
    Ok(())
}

/// A fixed header and its size in bytes, for a remaining length within the maximum.
#[inline]
fn fixed_header(first_byte: u8, remaining_length: usize) -> ([u8; FIXED_HEADER_BYTES_MAX], usize) {
    let mut head = [first_byte, 0, 0, 0, 0];
    let length_size = remaining_length_size(remaining_length);
    for (index, byte) in head.iter_mut().skip(1).take(length_size).enumerate() {
        let more = if index + 1 < length_size { 0x80 } else { 0 };
        *byte = (remaining_length >> (7 * index) & 0x7f) as u8 | more;
    }
    (head, 1 + length_size)
}

/// Puts the fixed header in front of the body that was appended to `out` from `start` on. For the rare
/// packets whose length is not known before they are written; the move costs one copy of the body.
///
/// # Errors
/// [`EncodeError::PacketTooLong`]; the body was removed again then.
pub(in crate::mqtt) fn prepend_fixed_header(
    out: &mut Vec<u8>,
    start: usize,
    first_byte: u8,
) -> Result<(), EncodeError> {
    let bytes = out.len() - start;
    if bytes > REMAINING_LENGTH_MAX {
        out.truncate(start);
        return Err(EncodeError::PacketTooLong { bytes, max: REMAINING_LENGTH_MAX });
    }
    let (head, head_bytes) = fixed_header(first_byte, bytes);
    out.splice(start..start, head.into_iter().take(head_bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1 << 20 };
    const PUBLISH: u8 = 0x30;

    #[test]
    fn cuts_one_packet_and_leaves_the_next() {
        let frame = next_frame(&[0xc0, 0, 0xe0, 0], LIMITS).unwrap().unwrap();
        assert_eq!(frame.header, FixedHeader { packet_type: PacketType::Pingreq, flags: 0 });
        assert_eq!((frame.body, frame.len), (&[][..], 2));
    }

    #[test]
    fn every_prefix_of_a_packet_is_incomplete_and_tells_its_length_once_known() {
        let mut packet = vec![PUBLISH, 0x80, 0x01];
        packet.resize(3 + 128, b'x');
        for end in 0..packet.len() {
            assert_eq!(next_frame(&packet[..end], LIMITS), Ok(None), "prefix of {end} bytes");
            let needed = packet_bytes_needed(&packet[..end], LIMITS).unwrap();
            assert_eq!(needed, (end >= 3).then_some(131), "prefix of {end} bytes");
        }
        assert_eq!(next_frame(&packet, LIMITS).unwrap().unwrap().len, 131);
    }

    #[test]
    fn a1_packet_over_the_limit_is_refused_from_its_header_alone() {
        let announced = REMAINING_LENGTH_MAX + 5;
        let limits = FrameLimits { packet_bytes_max: 4096 };
        let error = Violation::PacketTooLarge { announced, max: 4096 };
        assert_eq!(next_frame(&[0x10, 0xff, 0xff, 0xff, 0x7f], limits), Err(error));
        assert_eq!(packet_bytes_needed(&[0x10, 0xff, 0xff, 0xff, 0x7f], limits), Err(error));
    }

    #[test]
    fn limit_counts_the_whole_packet() {
        let limits = FrameLimits { packet_bytes_max: 130 };
        assert_eq!(next_frame(&[PUBLISH, 127], limits), Ok(None));
        assert_eq!(packet_bytes_needed(&[PUBLISH, 127], limits), Ok(Some(129)));
        let error = Violation::PacketTooLarge { announced: 131, max: 130 };
        assert_eq!(next_frame(&[PUBLISH, 0x80, 1], limits), Err(error));
    }

    #[test]
    fn a3_remaining_length_of_five_bytes_or_not_minimal_is_refused() {
        for input in [&[PUBLISH, 0x80, 0x80, 0x80, 0x80][..], &[PUBLISH, 0xff, 0xff, 0xff, 0xff, 0x01]] {
            assert_eq!(next_frame(input, LIMITS), Err(Violation::RemainingLengthTooLong), "{input:x?}");
        }
        for input in [
            &[PUBLISH, 0x80, 0x00][..],
            &[PUBLISH, 0x80, 0x80, 0x00],
            &[PUBLISH, 0xff, 0x00],
            &[PUBLISH, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(next_frame(input, LIMITS), Err(Violation::RemainingLengthNotMinimal), "{input:x?}");
        }
    }

    #[test]
    fn every_first_byte_is_a_known_type_with_its_flags_or_a_violation() {
        for byte in 0..=u8::MAX {
            let (bits, flags) = (byte >> 4, byte & 0x0f);
            let expected_flags = if matches!(bits, 6 | 8 | 10) { 2 } else { 0 };
            match FixedHeader::from_byte(byte) {
                Ok(header) => {
                    assert_eq!((header.packet_type as u8, header.flags), (bits, flags));
                    assert!(bits == 3 || flags == expected_flags, "{byte:#x}");
                }
                Err(Violation::ReservedPacketType { packet_type }) => assert!(matches!(packet_type, 0 | 15)),
                Err(error) => {
                    assert_eq!(error.clause(), "MQTT-2.2.2-2");
                    assert!(bits != 3 && flags != expected_flags, "{byte:#x}");
                }
            }
        }
    }

    #[test]
    fn remaining_length_round_trips_at_every_boundary() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, REMAINING_LENGTH_MAX] {
            let mut out = Vec::new();
            put_fixed_header(&mut out, PUBLISH, length).unwrap();
            assert_eq!(out.len(), 1 + remaining_length_size(length));
            assert_eq!(read_remaining_length(&out[1..]), Ok(Some((length, out.len() - 1))));
        }
        let mut out = Vec::new();
        assert!(put_fixed_header(&mut out, PUBLISH, REMAINING_LENGTH_MAX + 1).is_err());
        assert!(out.is_empty());
    }
}

//! SUBSCRIBE and SUBACK (MQTT 3.8 and 3.9).
//!
//! Framing errors end the connection. A filter whose *content* is malformed (`a#`, empty, too many levels) does
//! not: it comes out as it is and the session answers 0x80 for it (U-M14).

use crate::mqtt::field::FieldReader;
use crate::mqtt::frame::{Frame, PacketType, prepend_fixed_header};
use crate::mqtt::packet::EncodeError;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::mqtt::violation::Violation;

const FIELD: &str = "topic filter";

/// A SUBSCRIBE whose framing was checked to its last byte. How many filters one packet may hold is bounded
/// by the packet limit only; how many are granted is the session's decision (U-M12, A29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRef<'a> {
    /// Number that the SUBACK repeats.
    pub packet_identifier: PacketIdentifier,
    requests: SubscribeRequests<'a>,
}

impl<'a> SubscribeRef<'a> {
    /// The requests in the order of the packet, which is the order of the return codes in the SUBACK
    /// (MQTT-3.8.4-5). At least one.
    #[inline]
    pub const fn requests(&self) -> SubscribeRequests<'a> {
        self.requests
    }
}

/// One filter of a SUBSCRIBE. Well-formed UTF-8 without U+0000, otherwise *not* validated: use
/// [`crate::mqtt::topic::validate_topic_filter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRequest<'a> {
    /// The topic filter.
    pub filter: &'a str,
    /// The highest QoS that the client wants.
    pub qos: QoS,
}

/// Iterator over the requests of a SUBSCRIBE; its length is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRequests<'a> {
    encoded: &'a [u8],
    count: usize,
}

impl<'a> Iterator for SubscribeRequests<'a> {
    type Item = SubscribeRequest<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = FieldReader::new(self.encoded);
        // Decoding has accepted these bytes before, so the only end is the end of the packet.
        let request = read_request(&mut reader).ok()?;
        self.encoded = reader.rest();
        self.count = self.count.saturating_sub(1);
        Some(request)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for SubscribeRequests<'_> {}

fn read_request<'a>(reader: &mut FieldReader<'a>) -> Result<SubscribeRequest<'a>, Violation> {
    let filter = reader.string(FIELD)?;
    let value = reader.byte("requested QoS")?;
    let qos = QoS::from_bits(value).ok_or(Violation::RequestedQosReserved { value })?;
    Ok(SubscribeRequest { filter, qos })
}

/// Decodes SUBSCRIBE.
///
/// # Errors
/// Framing and strings (MQTT-1.5.3-1, -2), packet identifier 0, no filter (MQTT-3.8.3-3), a requested QoS
/// byte above 2 (MQTT-3.8.3-4).
pub fn decode<'a>(frame: &Frame<'a>) -> Result<SubscribeRef<'a>, Violation> {
    let mut reader = FieldReader::new(frame.body);
    let packet_identifier = reader.packet_identifier(PacketType::Subscribe)?;
    let encoded = reader.rest();
    let mut count = 0;
    while !reader.is_empty() {
        read_request(&mut reader)?;
        count += 1;
    }
    if count == 0 {
        return Err(Violation::SubscribeEmpty);
    }
    Ok(SubscribeRef { packet_identifier, requests: SubscribeRequests { encoded, count } })
}

/// Answer to one filter of a SUBSCRIBE (MQTT-3.9.3-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubackCode {
    /// The subscription exists with this QoS; never [`QoS::ExactlyOnce`] from this server (U-M3).
    Granted(QoS),
    /// The filter was refused.
    Failure,
}

impl SubackCode {
    /// The byte of the wire: 0, 1, 2 or 0x80.
    #[inline]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Granted(qos) => qos.bits(),
            Self::Failure => 0x80,
        }
    }

    /// The code for a byte of the wire, or `None` for a reserved value.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match (byte, QoS::from_bits(byte)) {
            (0x80, _) => Some(Self::Failure),
            (_, Some(qos)) => Some(Self::Granted(qos)),
            _ => None,
        }
    }
}

/// Appends SUBACK with one code per filter, in the order of the SUBSCRIBE (MQTT-3.8.4-5).
///
/// # Errors
/// [`EncodeError::PacketTooLong`], which the codes of a real SUBSCRIBE cannot reach.
pub fn encode_suback(
    out: &mut Vec<u8>,
    packet_identifier: PacketIdentifier,
    codes: impl IntoIterator<Item = SubackCode>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&packet_identifier.to_be_bytes());
    out.extend(codes.into_iter().map(SubackCode::byte));
    prepend_fixed_header(out, start, PacketType::Suback.first_byte())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::frame::{FrameLimits, next_frame};

    fn subscribe(body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x82, u8::try_from(body.len()).unwrap()];
        packet.extend_from_slice(body);
        packet
    }

    fn check(body: &[u8]) -> Result<Vec<(String, QoS)>, Violation> {
        let packet = subscribe(body);
        let frame = next_frame(&packet, FrameLimits { packet_bytes_max: 256 })?.unwrap();
        let decoded = decode(&frame)?;
        assert_eq!(decoded.packet_identifier.get(), 10);
        assert_eq!(decoded.requests().len(), decoded.requests().count());
        Ok(decoded.requests().map(|request| (request.filter.to_owned(), request.qos)).collect())
    }

    #[test]
    fn filters_come_out_in_order_even_when_malformed() {
        let body = b"\0\x0a\0\x03a/b\x01\0\x02a#\x02\0\0\x00";
        let expected = [("a/b", QoS::AtLeastOnce), ("a#", QoS::ExactlyOnce), ("", QoS::AtMostOnce)];
        assert_eq!(check(body), Ok(expected.map(|(filter, qos)| (filter.to_owned(), qos)).to_vec()));
    }

    #[test]
    fn malformed_subscribes_are_violations() {
        for (body, error) in [
            (&b""[..], Violation::Truncated { field: "packet identifier" }),
            (b"\0", Violation::Truncated { field: "packet identifier" }),
            (b"\0\0\0\x01a\0", Violation::PacketIdentifierZero { packet_type: PacketType::Subscribe }),
            (b"\0\x0a", Violation::SubscribeEmpty),
            (b"\0\x0a\0", Violation::Truncated { field: FIELD }),
            (b"\0\x0a\0\x02a", Violation::Truncated { field: FIELD }),
            (b"\0\x0a\0\x01a", Violation::Truncated { field: "requested QoS" }),
            (b"\0\x0a\0\x01a\x03", Violation::RequestedQosReserved { value: 3 }),
            (b"\0\x0a\0\x01a\x04", Violation::RequestedQosReserved { value: 4 }),
            (b"\0\x0a\0\x01a\x81", Violation::RequestedQosReserved { value: 0x81 }),
            (b"\0\x0a\0\x01\0\x00", Violation::NulCharacter { field: FIELD }),
            (b"\0\x0a\0\x01\xff\x00", Violation::IllFormedUtf8 { field: FIELD }),
            (b"\0\x0a\0\x01a\x00\0\x03\xed\xa0\x80\x00", Violation::IllFormedUtf8 { field: FIELD }),
            (b"\0\x0a\0\x01a\x00\0", Violation::Truncated { field: FIELD }),
        ] {
            assert_eq!(check(body), Err(error), "{body:x?}");
        }
    }

    #[test]
    fn subscribe_needs_its_fixed_flags() {
        for byte in [0x80, 0x81, 0x83, 0x8a, 0x8f] {
            let error = next_frame(&[byte, 0], FrameLimits { packet_bytes_max: 16 }).unwrap_err();
            assert_eq!(error.clause(), "MQTT-2.2.2-2");
        }
    }

    #[test]
    fn suback_follows_what_is_already_in_the_buffer() {
        let mut out = vec![0xd0, 0];
        let identifier = PacketIdentifier::new(10).unwrap();
        let codes = [SubackCode::Granted(QoS::AtLeastOnce), SubackCode::Failure];
        encode_suback(&mut out, identifier, codes).unwrap();
        assert_eq!(out, [0xd0, 0, 0x90, 4, 0, 10, 1, 0x80]);
    }

    #[test]
    fn suback_of_many_filters_has_a_longer_remaining_length() {
        let mut out = Vec::new();
        let codes = std::iter::repeat_n(SubackCode::Granted(QoS::AtMostOnce), 5000);
        encode_suback(&mut out, PacketIdentifier::FIRST, codes).unwrap();
        assert_eq!(out[..5], [0x90, 0x8a, 0x27, 0, 1]);
        assert_eq!(out.len(), 5 + 5000);
    }

    #[test]
    fn return_codes_round_trip() {
        for byte in 0..=u8::MAX {
            let valid = matches!(byte, 0..=2 | 0x80);
            assert_eq!(SubackCode::from_byte(byte).map(SubackCode::byte), valid.then_some(byte));
        }
    }
}

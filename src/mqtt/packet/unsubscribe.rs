//! UNSUBSCRIBE and UNSUBACK (MQTT 3.10 and 3.11).

use crate::mqtt::field::FieldReader;
use crate::mqtt::frame::{Frame, PacketType};
use crate::mqtt::packet::acknowledge::put_acknowledgement;
use crate::mqtt::qos::PacketIdentifier;
use crate::mqtt::violation::Violation;

const FIELD: &str = "topic filter";

/// An UNSUBSCRIBE whose framing was checked to its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeRef<'a> {
    /// Number that the UNSUBACK repeats.
    pub packet_identifier: PacketIdentifier,
    filters: UnsubscribeFilters<'a>,
}

impl<'a> UnsubscribeRef<'a> {
    /// The filters in the order of the packet, at least one. Well-formed UTF-8 without U+0000, otherwise not
    /// validated: a filter that was never subscribed, malformed ones included, is simply not found.
    #[inline]
    pub const fn filters(&self) -> UnsubscribeFilters<'a> {
        self.filters
    }
}

/// Iterator over the filters of an UNSUBSCRIBE; its length is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    encoded: &'a [u8],
    count: usize,
}

impl<'a> Iterator for UnsubscribeFilters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = FieldReader::new(self.encoded);
        // Decoding has accepted these bytes before, so the only end is the end of the packet.
        let filter = reader.string(FIELD).ok()?;
        self.encoded = reader.rest();
        self.count = self.count.saturating_sub(1);
        Some(filter)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for UnsubscribeFilters<'_> {}

/// Decodes UNSUBSCRIBE.
///
/// # Errors
/// Framing and strings (MQTT-1.5.3-1, -2), packet identifier 0, no filter (MQTT-3.10.3-2).
pub fn decode<'a>(frame: &Frame<'a>) -> Result<UnsubscribeRef<'a>, Violation> {
    let mut reader = FieldReader::new(frame.body);
    let packet_identifier = reader.packet_identifier(PacketType::Unsubscribe)?;
    let encoded = reader.rest();
    let mut count = 0;
    while !reader.is_empty() {
        reader.string(FIELD)?;
        count += 1;
    }
    if count == 0 {
        return Err(Violation::UnsubscribeEmpty);
    }
    Ok(UnsubscribeRef { packet_identifier, filters: UnsubscribeFilters { encoded, count } })
}

/// Appends UNSUBACK, which answers known and unknown filters alike (MQTT-3.10.4-5).
#[inline]
pub fn encode_unsuback(out: &mut Vec<u8>, packet_identifier: PacketIdentifier) {
    put_acknowledgement(out, PacketType::Unsuback, packet_identifier);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::frame::{FrameLimits, next_frame};

    fn check(body: &[u8]) -> Result<Vec<String>, Violation> {
        let mut packet = vec![0xa2, u8::try_from(body.len()).unwrap()];
        packet.extend_from_slice(body);
        let frame = next_frame(&packet, FrameLimits { packet_bytes_max: 256 })?.unwrap();
        let decoded = decode(&frame)?;
        assert_eq!(decoded.packet_identifier.get(), 10);
        assert_eq!(decoded.filters().len(), decoded.filters().count());
        Ok(decoded.filters().map(str::to_owned).collect())
    }

    #[test]
    fn filters_come_out_in_order_even_when_malformed() {
        assert_eq!(check(b"\0\x0a\0\x03a/b\0\x02a#\0\0"), Ok(vec!["a/b".into(), "a#".into(), String::new()]));
    }

    #[test]
    fn malformed_unsubscribes_are_violations() {
        for (body, error) in [
            (&b""[..], Violation::Truncated { field: "packet identifier" }),
            (b"\0\0\0\x01a", Violation::PacketIdentifierZero { packet_type: PacketType::Unsubscribe }),
            (b"\0\x0a", Violation::UnsubscribeEmpty),
            (b"\0\x0a\0", Violation::Truncated { field: FIELD }),
            (b"\0\x0a\0\x02a", Violation::Truncated { field: FIELD }),
            (b"\0\x0a\0\x01\0", Violation::NulCharacter { field: FIELD }),
            (b"\0\x0a\0\x02\xc0\xaf", Violation::IllFormedUtf8 { field: FIELD }),
        ] {
            assert_eq!(check(body), Err(error), "{body:x?}");
        }
    }

    #[test]
    fn unsuback_is_four_bytes() {
        let mut out = Vec::new();
        encode_unsuback(&mut out, PacketIdentifier::new(0x0102).unwrap());
        assert_eq!(out, [0xb0, 2, 1, 2]);
    }
}

//! Data representations shared by all packets (MQTT 1.5): two-byte integers, strings, binary data.

use crate::mqtt::frame::PacketType;
use crate::mqtt::packet::EncodeError;
use crate::mqtt::qos::PacketIdentifier;
use crate::mqtt::violation::Violation;

/// Longest string or binary field, in bytes: its length has 16 bits (MQTT-1.5.3).
pub(in crate::mqtt) const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// Reads the fields of one packet body from front to back.
#[derive(Clone, Copy, Debug)]
pub(in crate::mqtt) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    /// Starts at the first byte of the body.
    #[inline]
    pub(in crate::mqtt) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Whether every byte was read.
    #[inline]
    pub(in crate::mqtt) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that were not read yet.
    #[inline]
    pub(in crate::mqtt) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    #[inline]
    pub(in crate::mqtt) fn byte(&mut self, field: &'static str) -> Result<u8, Violation> {
        let (byte, rest) = self.rest.split_first().ok_or(Violation::Truncated { field })?;
        self.rest = rest;
        Ok(*byte)
    }

    /// A big-endian two-byte integer.
    #[inline]
    pub(in crate::mqtt) fn two_bytes(&mut self, field: &'static str) -> Result<u16, Violation> {
        let (bytes, rest) = self.rest.split_first_chunk::<2>().ok_or(Violation::Truncated { field })?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Binary data behind a two-byte length.
    #[inline]
    pub(in crate::mqtt) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], Violation> {
        let length = usize::from(self.two_bytes(field)?);
        let (data, rest) = self.rest.split_at_checked(length).ok_or(Violation::Truncated { field })?;
        self.rest = rest;
        Ok(data)
    }

    /// A string behind a two-byte length; U+0000 is still allowed, see [`Self::string`].
    #[inline]
    pub(in crate::mqtt) fn utf8(&mut self, field: &'static str) -> Result<&'a str, Violation> {
        std::str::from_utf8(self.binary(field)?).map_err(|_| Violation::IllFormedUtf8 { field })
    }

    /// A well-formed string (MQTT-1.5.3-1) without U+0000 (MQTT-1.5.3-2). U+FEFF is kept as it is
    /// (MQTT-1.5.3-3). Control characters and non-characters are accepted: the standard only permits to
    /// refuse them.
    #[inline]
    pub(in crate::mqtt) fn string(&mut self, field: &'static str) -> Result<&'a str, Violation> {
        let string = self.utf8(field)?;
        if contains_nul(string) { Err(Violation::NulCharacter { field }) } else { Ok(string) }
    }

    /// A packet identifier that is not zero (MQTT-2.3.1-1).
    #[inline]
    pub(in crate::mqtt) fn packet_identifier(
        &mut self,
        packet_type: PacketType,
    ) -> Result<PacketIdentifier, Violation> {
        let number = self.two_bytes("packet identifier")?;
        PacketIdentifier::new(number).ok_or(Violation::PacketIdentifierZero { packet_type })
    }

    /// Ends the packet: every byte must have been read.
    #[inline]
    pub(in crate::mqtt) fn finish(self, packet_type: PacketType) -> Result<(), Violation> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(Violation::TrailingBytes { packet_type, bytes }),
        }
    }
}

/// Looks for U+0000 without early exit, which the compiler turns into wide comparisons.
#[inline]
fn contains_nul(string: &str) -> bool {
    string.bytes().fold(false, |found, byte| found | (byte == 0))
}

/// The two-byte length of a field, or the error when it does not fit.
#[inline]
pub(in crate::mqtt) fn field_length(bytes: usize) -> Result<u16, EncodeError> {
    u16::try_from(bytes).map_err(|_| EncodeError::FieldTooLong { bytes, max: FIELD_BYTES_MAX })
}

/// Appends a string or binary data behind its two-byte length. On error nothing was appended.
#[inline]
pub(in crate::mqtt) fn put_field(out: &mut Vec<u8>, data: &[u8]) -> Result<(), EncodeError> {
    out.extend_from_slice(&field_length(data.len())?.to_be_bytes());
    out.extend_from_slice(data);
    Ok(())
}

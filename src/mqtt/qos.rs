//! Quality of service levels and packet identifiers.

use std::fmt;
use std::num::NonZeroU16;

/// Quality of service of a message or subscription (MQTT 4.3). Ordered from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: may be lost, is never repeated.
    AtMostOnce = 0,
    /// QoS 1: acknowledged with PUBACK, may be repeated.
    AtLeastOnce = 1,
    /// QoS 2: decoded, because the session must see it to refuse it (U-M3); never granted.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level for the two-bit number of the wire, or `None` for the reserved value 3 and above.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two-bit number of the wire.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Whether a PUBLISH of this level carries a packet identifier (MQTT-2.3.1-1, MQTT-2.3.1-5).
    #[inline]
    pub const fn has_packet_identifier(self) -> bool {
        !matches!(self, Self::AtMostOnce)
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(formatter)
    }
}

/// Number that ties a packet to its acknowledgement, 1 to 65535 (MQTT-2.3.1-1: never zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketIdentifier(NonZeroU16);

impl PacketIdentifier {
    /// The identifier a sender starts with.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// Wraps a number of the wire, or `None` for zero.
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number of the wire.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier after this one; 65535 is followed by 1.
    #[inline]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self::FIRST,
        }
    }

    /// The two bytes of the wire.
    #[inline]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.get().to_be_bytes()
    }
}

impl From<NonZeroU16> for PacketIdentifier {
    #[inline]
    fn from(number: NonZeroU16) -> Self {
        Self(number)
    }
}

impl From<PacketIdentifier> for NonZeroU16 {
    #[inline]
    fn from(identifier: PacketIdentifier) -> Self {
        identifier.0
    }
}

impl fmt::Display for PacketIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_of_service_three_does_not_exist() {
        for bits in 0..=u8::MAX {
            assert_eq!(QoS::from_bits(bits).map(QoS::bits), (bits < 3).then_some(bits));
        }
    }

    #[test]
    fn delivery_takes_the_weaker_of_two_levels() {
        assert_eq!(QoS::AtMostOnce.min(QoS::AtLeastOnce), QoS::AtMostOnce);
        assert!(QoS::AtLeastOnce < QoS::ExactlyOnce);
    }

    #[test]
    fn packet_identifiers_skip_zero_when_they_wrap() {
        assert_eq!(PacketIdentifier::new(0), None);
        let last = PacketIdentifier::new(u16::MAX).unwrap();
        assert_eq!(last.next(), PacketIdentifier::FIRST);
        assert_eq!(PacketIdentifier::FIRST.next().get(), 2);
    }
}

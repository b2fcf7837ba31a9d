//! What a peer can do wrong, each with the clause of the standard that it breaks.
//!
//! All of these end the connection. Soft refusals (a malformed filter in a SUBSCRIBE, U-M14) are not
//! violations; see [`crate::mqtt::topic`].

use thiserror::Error;

use crate::mqtt::frame::PacketType;
use crate::mqtt::topic::TopicNameError;

/// A broken rule of the protocol. The connection closes without an answer (U-M13).
///
/// Small and `Copy`: it never holds bytes of the peer, so it may be logged as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// U-M10: the fixed header alone announces more than the limit; nothing of the body was kept.
    #[error("packet of {announced} bytes is longer than {max} bytes")]
    PacketTooLarge {
        /// Length of the whole packet, fixed header included, in bytes.
        announced: usize,
        /// The limit that was in force, in bytes.
        max: usize,
    },
    /// MQTT-2.2.3: a remaining length has at most four bytes.
    #[error("remaining length has more than four bytes")]
    RemainingLengthTooLong,
    /// MQTT-2.2.3: a remaining length is written in its shortest form.
    #[error("remaining length is not written in its shortest form")]
    RemainingLengthNotMinimal,
    /// MQTT-2.2.1: packet types 0 and 15 are reserved.
    #[error("packet type {packet_type} is reserved")]
    ReservedPacketType {
        /// The four-bit type, 0 or 15.
        packet_type: u8,
    },
    /// MQTT-2.2.2-2: the flags of the fixed header differ from the value fixed for the type.
    #[error("{packet_type} has the reserved flags {flags:#06b}")]
    ReservedFlags {
        /// Type of the packet.
        packet_type: PacketType,
        /// The four flag bits.
        flags: u8,
    },
    /// MQTT-2.2.1: this type flows in the other direction only (A8).
    #[error("{packet_type} does not flow in this direction")]
    WrongDirection {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// MQTT-3.1.0-1: the first packet of a client is CONNECT.
    #[error("first packet is {packet_type}, not CONNECT")]
    FirstPacketNotConnect {
        /// Type of the packet that came instead.
        packet_type: PacketType,
    },
    /// MQTT-3.1.0-2: a client sends CONNECT once.
    #[error("second CONNECT on one connection")]
    SecondConnect,
    /// MQTT-2.2.3: the packet ends inside a field.
    #[error("packet ends inside the {field}")]
    Truncated {
        /// The field that is cut off.
        field: &'static str,
    },
    /// MQTT-2.2.3: bytes follow the last field of the packet.
    #[error("{packet_type} has {bytes} bytes after its last field")]
    TrailingBytes {
        /// Type of the packet.
        packet_type: PacketType,
        /// How many bytes are too many.
        bytes: usize,
    },
    /// MQTT-1.5.3-1: a string is not well-formed UTF-8 (surrogates and overlong forms included).
    #[error("{field} is not well-formed UTF-8")]
    IllFormedUtf8 {
        /// The field in question.
        field: &'static str,
    },
    /// MQTT-1.5.3-2: a string contains U+0000.
    #[error("{field} contains U+0000")]
    NulCharacter {
        /// The field in question.
        field: &'static str,
    },
    /// MQTT-3.1.2-1: the protocol name is neither `MQTT` nor `MQIsdp`.
    #[error("protocol name is neither MQTT nor MQIsdp")]
    ProtocolName,
    /// MQTT-3.1.2-3: bit 0 of the connect flags is zero.
    #[error("reserved connect flag is set")]
    ReservedConnectFlag,
    /// MQTT-3.1.2-13: without a will its QoS is zero.
    #[error("will QoS is set without a will")]
    WillQosWithoutWill,
    /// MQTT-3.1.2-14: the will QoS is not 3.
    #[error("will QoS is 3")]
    WillQosThree,
    /// MQTT-3.1.2-15: without a will its retain flag is zero.
    #[error("will retain is set without a will")]
    WillRetainWithoutWill,
    /// MQTT-3.1.2-22: a password comes with a user name only.
    #[error("password flag is set without the user name flag")]
    PasswordWithoutUsername,
    /// MQTT-2.3.1-1: the packet identifier is not zero.
    #[error("{packet_type} has packet identifier 0")]
    PacketIdentifierZero {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// MQTT-3.3.1-4: both QoS bits of a PUBLISH are set.
    #[error("PUBLISH has QoS 3")]
    QosThree,
    /// MQTT-3.3.1-2: DUP is zero in a PUBLISH of QoS 0.
    #[error("PUBLISH of QoS 0 has the DUP flag")]
    DupWithQosZero,
    /// MQTT-4.7.3-1: a topic name has at least one character.
    #[error("topic name is empty")]
    TopicNameEmpty,
    /// MQTT-3.3.2-2: a topic name contains no wildcard.
    #[error("topic name contains a wildcard")]
    TopicNameWildcard,
    /// Limit [`crate::mqtt::topic::TOPIC_LEVELS_MAX`] (A27).
    #[error("topic name has {levels} levels, more than {max}")]
    TopicNameTooManyLevels {
        /// Levels of the name.
        levels: usize,
        /// The limit.
        max: usize,
    },
    /// MQTT-3.8.3-4: the requested QoS of a subscription is 0, 1 or 2 and the other bits are zero.
    #[error("requested QoS byte is {value:#04x}")]
    RequestedQosReserved {
        /// The byte as it was sent.
        value: u8,
    },
    /// MQTT-3.8.3-3: a SUBSCRIBE has at least one topic filter.
    #[error("SUBSCRIBE has no topic filter")]
    SubscribeEmpty,
    /// MQTT-3.10.3-2: an UNSUBSCRIBE has at least one topic filter.
    #[error("UNSUBSCRIBE has no topic filter")]
    UnsubscribeEmpty,
    /// U-M3: packets of the QoS 2 flow are refused.
    #[error("{packet_type} received, but QoS 2 is not supported")]
    QosTwoNotSupported {
        /// PUBREC, PUBREL or PUBCOMP.
        packet_type: PacketType,
    },
    /// MQTT-3.2.2-6 and MQTT 3.2.2: a CONNACK with reserved bits or an unknown return code.
    #[error("CONNACK is {flags:#04x} {code:#04x}")]
    ConnackReserved {
        /// Byte of the acknowledge flags.
        flags: u8,
        /// Byte of the return code.
        code: u8,
    },
    /// MQTT-3.9.3-2: a SUBACK return code is 0x00, 0x01, 0x02 or 0x80.
    #[error("SUBACK return code is {code:#04x}")]
    SubackCodeReserved {
        /// The byte as it was sent.
        code: u8,
    },
}

impl Violation {
    /// The normative statement, section or limit that was broken: a stable label for logs and counters.
    pub const fn clause(&self) -> &'static str {
        match self {
            Self::PacketTooLarge { .. } => "U-M10",
            Self::RemainingLengthTooLong
            | Self::RemainingLengthNotMinimal
            | Self::Truncated { .. }
            | Self::TrailingBytes { .. } => "MQTT-2.2.3",
            Self::ReservedPacketType { .. } | Self::WrongDirection { .. } => "MQTT-2.2.1",
            Self::ReservedFlags { .. } => "MQTT-2.2.2-2",
            Self::FirstPacketNotConnect { .. } => "MQTT-3.1.0-1",
            Self::SecondConnect => "MQTT-3.1.0-2",
            Self::IllFormedUtf8 { .. } => "MQTT-1.5.3-1",
            Self::NulCharacter { .. } => "MQTT-1.5.3-2",
            Self::ProtocolName => "MQTT-3.1.2-1",
            Self::ReservedConnectFlag => "MQTT-3.1.2-3",
            Self::WillQosWithoutWill => "MQTT-3.1.2-13",
            Self::WillQosThree => "MQTT-3.1.2-14",
            Self::WillRetainWithoutWill => "MQTT-3.1.2-15",
            Self::PasswordWithoutUsername => "MQTT-3.1.2-22",
            Self::PacketIdentifierZero { .. } => "MQTT-2.3.1-1",
            Self::QosThree => "MQTT-3.3.1-4",
            Self::DupWithQosZero => "MQTT-3.3.1-2",
            Self::TopicNameEmpty => "MQTT-4.7.3-1",
            Self::TopicNameWildcard => "MQTT-3.3.2-2",
            Self::TopicNameTooManyLevels { .. } => "A27",
            Self::RequestedQosReserved { .. } => "MQTT-3.8.3-4",
            Self::SubscribeEmpty => "MQTT-3.8.3-3",
            Self::UnsubscribeEmpty => "MQTT-3.10.3-2",
            Self::QosTwoNotSupported { .. } => "U-M3",
            Self::ConnackReserved { .. } => "MQTT-3.2.2-6",
            Self::SubackCodeReserved { .. } => "MQTT-3.9.3-2",
        }
    }
}

impl From<TopicNameError> for Violation {
    fn from(error: TopicNameError) -> Self {
        match error {
            TopicNameError::Empty => Self::TopicNameEmpty,
            TopicNameError::Wildcard { .. } => Self::TopicNameWildcard,
            TopicNameError::Nul => Self::NulCharacter { field: "topic name" },
            // A name of a packet cannot exceed its 16-bit length prefix; the value is kept for completeness.
            TopicNameError::TooLong { .. } => Self::Truncated { field: "topic name" },
            TopicNameError::TooManyLevels { levels, max } => Self::TopicNameTooManyLevels { levels, max },
        }
    }
}

/// Why a CONNECT is refused: with an answer, or by closing the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// MQTT-3.1.2-2, U-M1: answer CONNACK with return code 1, then close. The rest of the packet was not
    /// read, because other levels (MQTT 5 is level 5) lay it out differently.
    #[error("protocol level {0:#04x} is not supported")]
    UnacceptableProtocolLevel(u8),
    /// Close without an answer (MQTT-3.1.4-1).
    #[error(transparent)]
    Violation(#[from] Violation),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_stay_small_enough_to_travel_in_results() {
        assert!(size_of::<Violation>() <= 24);
        assert!(size_of::<ConnectError>() <= 32);
    }

    #[test]
    fn messages_name_the_field_and_the_rule() {
        let error = Violation::ReservedFlags { packet_type: PacketType::Subscribe, flags: 0 };
        assert_eq!(error.to_string(), "SUBSCRIBE has the reserved flags 0b0000");
        assert_eq!(error.clause(), "MQTT-2.2.2-2");
        let error = ConnectError::from(Violation::IllFormedUtf8 { field: "client identifier" });
        assert_eq!(error.to_string(), "client identifier is not well-formed UTF-8");
    }
}

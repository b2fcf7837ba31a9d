//! CONNECT and CONNACK (MQTT 3.1 and 3.2).
//!
//! Decoding checks what the standard says about the bytes. What depends on the server's policy is left to
//! the session: the client identifier rule of U-M7 is offered as [`check_client_identifier`], and the will
//! topic is only a well-formed string, because a will to an impossible topic is dropped and does not refuse
//! the connection (U-M9; use [`crate::mqtt::topic::validate_topic_name`]).

use std::fmt;

use thiserror::Error;

use crate::mqtt::field::FieldReader;
use crate::mqtt::frame::{Frame, PacketType};
use crate::mqtt::qos::QoS;
use crate::mqtt::violation::{ConnectError, Violation};

/// Protocol level of MQTT 3.1.1, name `MQTT`.
pub const PROTOCOL_LEVEL_3_1_1: u8 = 4;

/// Protocol level of MQTT 3.1, name `MQIsdp`; accepted as a superset (U-M1).
pub const PROTOCOL_LEVEL_3_1: u8 = 3;

/// Longest client identifier, in bytes (U-M7).
pub const CLIENT_IDENTIFIER_BYTES_MAX: usize = 256;

/// The connect flags (MQTT 3.1.2.3).
pub(in crate::mqtt) mod flag {
    pub(in crate::mqtt) const USERNAME: u8 = 0b1000_0000;
    pub(in crate::mqtt) const PASSWORD: u8 = 0b0100_0000;
    pub(in crate::mqtt) const WILL_RETAIN: u8 = 0b0010_0000;
    pub(in crate::mqtt) const WILL_QOS_SHIFT: u8 = 3;
    pub(in crate::mqtt) const WILL: u8 = 0b0000_0100;
    pub(in crate::mqtt) const CLEAN_SESSION: u8 = 0b0000_0010;
    pub(in crate::mqtt) const RESERVED: u8 = 0b0000_0001;
}

/// A CONNECT of protocol level 3 or 4. `Debug` shows neither password nor will payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnectRef<'a> {
    /// [`PROTOCOL_LEVEL_3_1_1`] or [`PROTOCOL_LEVEL_3_1`].
    pub protocol_level: u8,
    /// Clean session flag; treated as set either way (U-M5).
    pub clean_session: bool,
    /// Keep alive in seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// Client identifier, possibly empty; see [`check_client_identifier`].
    pub client_id: &'a str,
    /// The will, if there is one.
    pub will: Option<WillRef<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password, any bytes.
    pub password: Option<&'a [u8]>,
}

/// The will of a CONNECT (MQTT 3.1.2.5). `Debug` does not show the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WillRef<'a> {
    /// Topic, a well-formed string that may be no valid topic name (U-M9).
    pub topic: &'a str,
    /// Application message, possibly empty.
    pub payload: &'a [u8],
    /// Quality of service; QoS 2 is treated as QoS 1 by the session (U-M9).
    pub qos: QoS,
    /// Retain flag, ignored (U-M9).
    pub retain: bool,
}

impl fmt::Debug for ConnectRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectRef")
            .field("protocol_level", &self.protocol_level)
            .field("clean_session", &self.clean_session)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("has_password", &self.password.is_some())
            .finish()
    }
}

impl fmt::Debug for WillRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WillRef")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish()
    }
}

/// Decodes the first packet of a connection, which must be CONNECT.
///
/// # Errors
/// [`Violation::FirstPacketNotConnect`] (A2), otherwise as [`decode`].
pub fn decode_first<'a>(frame: &Frame<'a>) -> Result<ConnectRef<'a>, ConnectError> {
    match frame.header.packet_type {
        PacketType::Connect => decode(frame),
        packet_type => Err(Violation::FirstPacketNotConnect { packet_type }.into()),
    }
}

/// Decodes CONNECT.
///
/// Level 3 is read as its own standard has it: the reserved flag and will flags without a will are ignored,
/// and a user name or password that is announced but missing at the end of the packet is none.
///
/// # Errors
/// [`ConnectError::UnacceptableProtocolLevel`] as soon as name and level are read, for every level but 4
/// under `MQTT` and 3 under `MQIsdp` (U-M1), or the violation by which the connection must close.
pub fn decode<'a>(frame: &Frame<'a>) -> Result<ConnectRef<'a>, ConnectError> {
    let mut reader = FieldReader::new(frame.body);
    let protocol_level = read_protocol_level(&mut reader)?;
    let lenient = protocol_level == PROTOCOL_LEVEL_3_1;
    let flags = reader.byte("connect flags")?;
    check_flags(flags, lenient)?;
    let keep_alive_s = reader.two_bytes("keep alive")?;
    let client_id = reader.string("client identifier")?;
    let will = if flags & flag::WILL != 0 { Some(read_will(&mut reader, flags)?) } else { None };
    let present = |bit: u8, reader: &FieldReader<'_>| flags & bit != 0 && !(lenient && reader.is_empty());
    let username = match present(flag::USERNAME, &reader) {
        true => Some(reader.string("user name")?),
        false => None,
    };
    let password = match present(flag::PASSWORD, &reader) {
        true => Some(reader.binary("password")?),
        false => None,
    };
    reader.finish(PacketType::Connect)?;
    Ok(ConnectRef {
        protocol_level,
        clean_session: flags & flag::CLEAN_SESSION != 0,
        keep_alive_s,
        client_id,
        will,
        username,
        password,
    })
}

fn read_protocol_level(reader: &mut FieldReader<'_>) -> Result<u8, ConnectError> {
    let expected = match reader.binary("protocol name")? {
        b"MQTT" => PROTOCOL_LEVEL_3_1_1,
        b"MQIsdp" => PROTOCOL_LEVEL_3_1,
        _ => return Err(Violation::ProtocolName.into()),
    };
    match reader.byte("protocol level")? {
        level if level == expected => Ok(level),
        level => Err(ConnectError::UnacceptableProtocolLevel(level)),
    }
}

fn check_flags(flags: u8, lenient: bool) -> Result<(), Violation> {
    let has = |bit: u8| flags & bit != 0;
    let will_qos = flags >> flag::WILL_QOS_SHIFT & 0b11;
    if has(flag::RESERVED) && !lenient {
        return Err(Violation::ReservedConnectFlag);
    }
    if has(flag::WILL) {
        if will_qos == 3 {
            return Err(Violation::WillQosThree);
        }
    } else if !lenient {
        if will_qos != 0 {
            return Err(Violation::WillQosWithoutWill);
        }
        if has(flag::WILL_RETAIN) {
            return Err(Violation::WillRetainWithoutWill);
        }
    }
    if has(flag::PASSWORD) && !has(flag::USERNAME) {
        return Err(Violation::PasswordWithoutUsername);
    }
    Ok(())
}

fn read_will<'a>(reader: &mut FieldReader<'a>, flags: u8) -> Result<WillRef<'a>, Violation> {
    Ok(WillRef {
        topic: reader.string("will topic")?,
        payload: reader.binary("will message")?,
        qos: QoS::from_bits(flags >> flag::WILL_QOS_SHIFT & 0b11).ok_or(Violation::WillQosThree)?,
        retain: flags & flag::WILL_RETAIN != 0,
    })
}

/// Why a client identifier is answered with return code 2 (U-M7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientIdentifierError {
    /// MQTT-3.1.3-8: an empty identifier needs clean session.
    #[error("client identifier is empty without clean session")]
    EmptyWithoutCleanSession,
    /// Limit [`CLIENT_IDENTIFIER_BYTES_MAX`].
    #[error("client identifier is longer than {max} bytes (got {bytes})")]
    TooLong {
        /// Length of the identifier in bytes.
        bytes: usize,
        /// [`CLIENT_IDENTIFIER_BYTES_MAX`].
        max: usize,
    },
}

/// The rule of U-M7. Decoding does not apply it; the session calls it and answers
/// [`ConnectReturnCode::IdentifierRejected`]. An empty identifier that passes is replaced by the session.
///
/// # Errors
/// [`ClientIdentifierError`].
pub fn check_client_identifier(connect: &ConnectRef<'_>) -> Result<(), ClientIdentifierError> {
    let bytes = connect.client_id.len();
    if bytes > CLIENT_IDENTIFIER_BYTES_MAX {
        return Err(ClientIdentifierError::TooLong { bytes, max: CLIENT_IDENTIFIER_BYTES_MAX });
    }
    if bytes == 0 && !connect.clean_session {
        return Err(ClientIdentifierError::EmptyWithoutCleanSession);
    }
    Ok(())
}

/// Answer to a CONNECT (MQTT 3.2.2.3, table 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// The session is open.
    Accepted = 0,
    /// Protocol level not supported.
    UnacceptableProtocolVersion = 1,
    /// Client identifier not allowed.
    IdentifierRejected = 2,
    /// The service cannot take the session now.
    ServerUnavailable = 3,
    /// The credential is malformed.
    BadUserNameOrPassword = 4,
    /// The credential is not accepted.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The code for a byte of the wire, or `None` for a reserved value.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Accepted,
            1 => Self::UnacceptableProtocolVersion,
            2 => Self::IdentifierRejected,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }
}

/// Appends CONNACK. Session present is always written as 0 with a code that refuses (MQTT-3.2.2-4).
pub fn encode_connack(out: &mut Vec<u8>, session_present: bool, code: ConnectReturnCode) {
    let present = session_present && code == ConnectReturnCode::Accepted;
    out.extend_from_slice(&[PacketType::Connack.first_byte(), 2, u8::from(present), code as u8]);
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;

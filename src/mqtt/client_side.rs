//! The client's half of the protocol, for our own command line and demonstration clients.
//!
//! What both sides send (PUBLISH, PUBACK) is in [`crate::mqtt::packet`].

use crate::mqtt::field::{FieldReader, put_field};
use crate::mqtt::frame::{Frame, PacketType, prepend_fixed_header};
use crate::mqtt::packet::connect::{ConnectRef, ConnectReturnCode, PROTOCOL_LEVEL_3_1, flag};
use crate::mqtt::packet::publish::{self, PublishRef};
use crate::mqtt::packet::subscribe::{SubackCode, SubscribeRequest};
use crate::mqtt::packet::{EncodeError, acknowledge, control};
use crate::mqtt::qos::PacketIdentifier;
use crate::mqtt::violation::Violation;

pub use crate::mqtt::packet::acknowledge::encode_puback;
pub use crate::mqtt::packet::publish::encode_publish;

/// A packet of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPacket<'a> {
    /// Answers CONNECT.
    Connack {
        /// Whether the server kept a session.
        session_present: bool,
        /// Accepted, or why not.
        code: ConnectReturnCode,
    },
    /// A message.
    Publish(PublishRef<'a>),
    /// Acknowledges a message of QoS 1.
    Puback(PacketIdentifier),
    /// Answers SUBSCRIBE.
    Suback(SubackRef<'a>),
    /// Answers UNSUBSCRIBE.
    Unsuback(PacketIdentifier),
    /// Answers PINGREQ.
    Pingresp,
}

/// A SUBACK whose codes were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubackRef<'a> {
    /// Number of the SUBSCRIBE.
    pub packet_identifier: PacketIdentifier,
    codes: &'a [u8],
}

impl<'a> SubackRef<'a> {
    /// One code per filter, in the order of the SUBSCRIBE.
    pub fn codes(&self) -> impl Iterator<Item = SubackCode> + 'a {
        self.codes.iter().filter_map(|code| SubackCode::from_byte(*code))
    }
}

/// Decodes a packet of a server.
///
/// # Errors
/// The violation by which a client closes the connection.
pub fn decode_server_packet<'a>(frame: &Frame<'a>) -> Result<ServerPacket<'a>, Violation> {
    let packet_type = frame.header.packet_type;
    match packet_type {
        PacketType::Connack => decode_connack(frame),
        PacketType::Publish => publish::decode(frame).map(ServerPacket::Publish),
        PacketType::Puback => acknowledge::decode(frame).map(ServerPacket::Puback),
        PacketType::Suback => decode_suback(frame).map(ServerPacket::Suback),
        PacketType::Unsuback => acknowledge::decode(frame).map(ServerPacket::Unsuback),
        PacketType::Pingresp => control::decode_empty(frame).map(|()| ServerPacket::Pingresp),
        PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
            Err(Violation::QosTwoNotSupported { packet_type })
        }
        PacketType::Connect
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::Pingreq
        | PacketType::Disconnect => Err(Violation::WrongDirection { packet_type }),
    }
}

fn decode_connack<'a>(frame: &Frame<'a>) -> Result<ServerPacket<'a>, Violation> {
    let mut reader = FieldReader::new(frame.body);
    let flags = reader.byte("connect acknowledge flags")?;
    let code = reader.byte("connect return code")?;
    reader.finish(PacketType::Connack)?;
    match ConnectReturnCode::from_byte(code) {
        Some(code) if flags <= 1 => Ok(ServerPacket::Connack { session_present: flags == 1, code }),
        _ => Err(Violation::ConnackReserved { flags, code }),
    }
}

fn decode_suback<'a>(frame: &Frame<'a>) -> Result<SubackRef<'a>, Violation> {
    let mut reader = FieldReader::new(frame.body);
    let packet_identifier = reader.packet_identifier(PacketType::Suback)?;
    let codes = reader.rest();
    if codes.is_empty() {
        return Err(Violation::Truncated { field: "return codes" });
    }
    match codes.iter().find(|code| SubackCode::from_byte(**code).is_none()) {
        Some(code) => Err(Violation::SubackCodeReserved { code: *code }),
        None => Ok(SubackRef { packet_identifier, codes }),
    }
}

/// Appends CONNECT, of level 3 under the name `MQIsdp` or of any other level under `MQTT`. A password is
/// written without a user name if the caller says so, which servers refuse (MQTT-3.1.2-22).
///
/// # Errors
/// [`EncodeError::FieldTooLong`]; nothing was appended then.
pub fn encode_connect(out: &mut Vec<u8>, connect: &ConnectRef<'_>) -> Result<(), EncodeError> {
    append_packet(out, PacketType::Connect, |body| {
        let name: &[u8] = if connect.protocol_level == PROTOCOL_LEVEL_3_1 { b"MQIsdp" } else { b"MQTT" };
        put_field(body, name)?;
        body.push(connect.protocol_level);
        body.push(connect_flags(connect));
        body.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
        put_field(body, connect.client_id.as_bytes())?;
        if let Some(will) = &connect.will {
            put_field(body, will.topic.as_bytes())?;
            put_field(body, will.payload)?;
        }
        if let Some(username) = connect.username {
            put_field(body, username.as_bytes())?;
        }
        if let Some(password) = connect.password {
            put_field(body, password)?;
        }
        Ok(())
    })
}

fn connect_flags(connect: &ConnectRef<'_>) -> u8 {
    let bit = |condition: bool, bit: u8| if condition { bit } else { 0 };
    let will = connect.will.map_or(0, |will| {
        flag::WILL | will.qos.bits() << flag::WILL_QOS_SHIFT | bit(will.retain, flag::WILL_RETAIN)
    });
    will | bit(connect.username.is_some(), flag::USERNAME)
        | bit(connect.password.is_some(), flag::PASSWORD)
        | bit(connect.clean_session, flag::CLEAN_SESSION)
}

/// Appends SUBSCRIBE. The caller gives at least one filter (MQTT-3.8.3-3) and valid ones.
///
/// # Errors
/// [`EncodeError`]; nothing was appended then.
pub fn encode_subscribe<'a>(
    out: &mut Vec<u8>,
    packet_identifier: PacketIdentifier,
    requests: impl IntoIterator<Item = SubscribeRequest<'a>>,
) -> Result<(), EncodeError> {
    append_packet(out, PacketType::Subscribe, |body| {
        body.extend_from_slice(&packet_identifier.to_be_bytes());
        for request in requests {
            put_field(body, request.filter.as_bytes())?;
            body.push(request.qos.bits());
        }
        Ok(())
    })
}

/// Appends UNSUBSCRIBE. The caller gives at least one filter (MQTT-3.10.3-2).
///
/// # Errors
/// [`EncodeError`]; nothing was appended then.
pub fn encode_unsubscribe<'a>(
    out: &mut Vec<u8>,
    packet_identifier: PacketIdentifier,
    filters: impl IntoIterator<Item = &'a str>,
) -> Result<(), EncodeError> {
    append_packet(out, PacketType::Unsubscribe, |body| {
        body.extend_from_slice(&packet_identifier.to_be_bytes());
        filters.into_iter().try_for_each(|filter| put_field(body, filter.as_bytes()))
    })
}

/// Appends PINGREQ.
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::Pingreq.first_byte(), 0]);
}

/// Appends DISCONNECT.
pub fn encode_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::Disconnect.first_byte(), 0]);
}

/// Appends a body and puts its fixed header in front; takes everything back when the body fails.
fn append_packet(
    out: &mut Vec<u8>,
    packet_type: PacketType,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    if let Err(error) = body(out) {
        out.truncate(start);
        return Err(error);
    }
    prepend_fixed_header(out, start, packet_type.first_byte())
}

#[cfg(test)]
#[path = "client_side_tests.rs"]
mod tests;

//! PUBLISH (MQTT 3.3), the packet of the hot path.
//!
//! A message for many subscribers is encoded once per class, QoS 0 and QoS 1, as a *template*; each copy of
//! the QoS 1 template then gets its own packet identifier at a known offset. For a large payload only the
//! head (fixed header, topic name, packet identifier) is encoded, and the payload is sent beside it.

use crate::mqtt::field::{FieldReader, field_length};
use crate::mqtt::frame::{Frame, PacketType, put_fixed_header, remaining_length_size};
use crate::mqtt::packet::EncodeError;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::mqtt::topic::validate_topic_name;
use crate::mqtt::violation::Violation;

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A message, borrowed from a frame or given for encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// Topic name; valid by [`validate_topic_name`] when decoded.
    pub topic: &'a str,
    /// Application message; may be empty.
    pub payload: &'a [u8],
    /// Quality of service. QoS 2 is decoded, the session refuses it (U-M3).
    pub qos: QoS,
    /// RETAIN flag, ignored from clients (U-M4).
    pub retain: bool,
    /// DUP flag: an attempt to deliver again. Never set with QoS 0.
    pub dup: bool,
    /// Present above QoS 0 and only there (MQTT-2.3.1-1, MQTT-2.3.1-5).
    pub packet_identifier: Option<PacketIdentifier>,
}

/// Decodes PUBLISH: no allocation, one check of the UTF-8 and one pass over the topic name.
///
/// # Errors
/// QoS 3 (MQTT-3.3.1-4), DUP with QoS 0 (MQTT-3.3.1-2), framing, an ill-formed, empty or wildcard topic name
/// (MQTT-1.5.3-1, MQTT-4.7.3-1, MQTT-3.3.2-2), packet identifier 0 (MQTT-2.3.1-1).
#[inline]
pub fn decode<'a>(frame: &Frame<'a>) -> Result<PublishRef<'a>, Violation> {
    let flags = frame.header.flags;
    let qos = QoS::from_bits(flags >> 1 & 0b11).ok_or(Violation::QosThree)?;
    let dup = flags & DUP != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(Violation::DupWithQosZero);
    }
    let mut reader = FieldReader::new(frame.body);
    let topic = reader.utf8("topic name")?;
    validate_topic_name(topic)?;
    let packet_identifier =
        if qos.has_packet_identifier() { Some(reader.packet_identifier(PacketType::Publish)?) } else { None };
    Ok(PublishRef { topic, payload: reader.rest(), qos, retain: flags & RETAIN != 0, dup, packet_identifier })
}

/// Size of a PUBLISH without its payload, in bytes, for a topic name and payload of these sizes. The packet
/// is this much plus the payload.
#[inline]
pub const fn publish_header_len(topic_bytes: usize, payload_bytes: usize, qos: QoS) -> usize {
    let variable_header = variable_header_len(topic_bytes, qos);
    1 + remaining_length_size(variable_header + payload_bytes) + variable_header
}

#[inline]
const fn variable_header_len(topic_bytes: usize, qos: QoS) -> usize {
    2 + topic_bytes + if qos.has_packet_identifier() { 2 } else { 0 }
}

/// Appends a whole PUBLISH. The topic name is not validated again. The packet identifier is written above
/// QoS 0 only.
///
/// # Errors
/// [`EncodeError`]; nothing was appended then.
#[inline]
pub fn encode_publish(out: &mut Vec<u8>, publish: &PublishRef<'_>) -> Result<(), EncodeError> {
    out.reserve(
        publish_header_len(publish.topic.len(), publish.payload.len(), publish.qos) + publish.payload.len(),
    );
    encode_publish_head(out, publish)?;
    out.extend_from_slice(publish.payload);
    Ok(())
}

/// Appends a PUBLISH up to its payload, which the caller sends right after it, all
/// `publish.payload.len()` bytes of it.
///
/// # Errors
/// [`EncodeError`]; nothing was appended then.
#[inline]
pub fn encode_publish_head(out: &mut Vec<u8>, publish: &PublishRef<'_>) -> Result<(), EncodeError> {
    let packet_identifier = match publish.packet_identifier {
        _ if !publish.qos.has_packet_identifier() => None,
        Some(identifier) => Some(identifier.to_be_bytes()),
        None => return Err(EncodeError::PacketIdentifierMissing),
    };
    let first_byte = first_byte(publish.qos, publish.dup, publish.retain);
    put_head(out, first_byte, publish.topic, publish.payload.len(), packet_identifier)
}

/// Where a template can be patched, counted from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateOffsets {
    /// Length of the encoded template in bytes: the whole packet, or its head.
    pub len: usize,
    /// Offset of the two bytes of the packet identifier; `None` for QoS 0.
    pub packet_identifier_at: Option<usize>,
}

/// Appends a whole PUBLISH with DUP 0 and, above QoS 0, a blank packet identifier that every copy must get
/// by [`append_publish_copy`] or [`patch_packet_identifier`] before it is sent.
///
/// # Errors
/// [`EncodeError`]; nothing was appended then.
pub fn encode_publish_template(
    out: &mut Vec<u8>,
    topic: &str,
    payload: &[u8],
    qos: QoS,
    retain: bool,
) -> Result<TemplateOffsets, EncodeError> {
    out.reserve(publish_header_len(topic.len(), payload.len(), qos) + payload.len());
    let head = encode_publish_head_template(out, topic, payload.len(), qos, retain)?;
    out.extend_from_slice(payload);
    Ok(TemplateOffsets { len: head.len + payload.len(), ..head })
}

/// As [`encode_publish_template`], but without the payload, whose size is given in bytes.
///
/// # Errors
/// [`EncodeError`]; nothing was appended then.
pub fn encode_publish_head_template(
    out: &mut Vec<u8>,
    topic: &str,
    payload_bytes: usize,
    qos: QoS,
    retain: bool,
) -> Result<TemplateOffsets, EncodeError> {
    let blank = qos.has_packet_identifier().then_some([0, 0]);
    put_head(out, first_byte(qos, false, retain), topic, payload_bytes, blank)?;
    let len = publish_header_len(topic.len(), payload_bytes, qos);
    Ok(TemplateOffsets { len, packet_identifier_at: blank.map(|_| len - 2) })
}

/// Appends a copy of a template, patched for one delivery. `template` is what
/// [`encode_publish_template`] or [`encode_publish_head_template`] appended. For a QoS 0 template the packet
/// identifier and the DUP flag are left out.
#[inline]
pub fn append_publish_copy(
    out: &mut Vec<u8>,
    template: &[u8],
    offsets: TemplateOffsets,
    packet_identifier: PacketIdentifier,
    dup: bool,
) {
    let start = out.len();
    out.extend_from_slice(template);
    if let (Some(at), Some(copy)) = (offsets.packet_identifier_at, out.get_mut(start..)) {
        patch_packet_identifier(copy, at, packet_identifier);
        if dup {
            patch_dup(copy);
        }
    }
}

/// Writes the packet identifier of an encoded PUBLISH at the offset that its template gave.
#[inline]
pub fn patch_packet_identifier(packet: &mut [u8], at: usize, packet_identifier: PacketIdentifier) {
    let slot = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>());
    debug_assert!(slot.is_some(), "offset {at} is outside of the packet");
    if let Some(slot) = slot {
        *slot = packet_identifier.to_be_bytes();
    }
}

/// Sets the DUP flag of an encoded PUBLISH above QoS 0, for a delivery that is repeated (MQTT-3.3.1-1).
#[inline]
pub fn patch_dup(packet: &mut [u8]) {
    if let Some(first_byte) = packet.first_mut() {
        *first_byte |= DUP;
    }
}

#[inline]
const fn first_byte(qos: QoS, dup: bool, retain: bool) -> u8 {
    PacketType::Publish.first_byte()
        | qos.bits() << 1
        | if dup && qos.has_packet_identifier() { DUP } else { 0 }
        | if retain { RETAIN } else { 0 }
}

#[inline]
fn put_head(
    out: &mut Vec<u8>,
    first_byte: u8,
    topic: &str,
    payload_bytes: usize,
    packet_identifier: Option<[u8; 2]>,
) -> Result<(), EncodeError> {
    let topic_length = field_length(topic.len())?;
    let identifier_bytes = if packet_identifier.is_some() { 2 } else { 0 };
    let remaining_length = payload_bytes.saturating_add(2 + topic.len() + identifier_bytes);
    put_fixed_header(out, first_byte, remaining_length)?;
    out.extend_from_slice(&topic_length.to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    if let Some(bytes) = packet_identifier {
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;

//! The little of MQTT 3.1.1 that a load generator needs, written apart from the product's codec on purpose:
//! a bug in one is then visible to the other.

use thiserror::Error;

/// Packet types, in the high four bits of the first byte (MQTT 3.1.1, table 2.1).
pub const CONNECT: u8 = 1;
/// Answer to CONNECT.
pub const CONNACK: u8 = 2;
/// An application message.
pub const PUBLISH: u8 = 3;
/// Acknowledgement of a QoS 1 PUBLISH.
pub const PUBACK: u8 = 4;
/// Request for subscriptions.
pub const SUBSCRIBE: u8 = 8;
/// Answer to SUBSCRIBE.
pub const SUBACK: u8 = 9;
/// Keep-alive request.
pub const PINGREQ: u8 = 12;
/// Keep-alive answer.
pub const PINGRESP: u8 = 13;
/// Clean end of a connection.
pub const DISCONNECT: u8 = 14;

/// What the peer sent is not MQTT as this generator understands it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// MQTT-2.2.3: a remaining length has four bytes at most.
    #[error("remaining length has more than four bytes")]
    RemainingLength,
    /// A packet ends before its last field.
    #[error("packet of type {0} is shorter than its fields")]
    Truncated(u8),
}

/// One complete packet inside a larger buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: type and flags.
    pub first: u8,
    /// Variable header and payload.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included.
    pub length: usize,
}

impl Frame<'_> {
    /// The packet type.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }
}

/// Cuts the first packet off `bytes`; `None` while it is not complete.
pub fn split(bytes: &[u8]) -> Result<Option<Frame<'_>>, Malformed> {
    let mut remaining = 0usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else { return Ok(None) };
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = 2 + index;
            let Some(body) = bytes.get(start..start + remaining) else { return Ok(None) };
            return Ok(Some(Frame { first: bytes[0], body, length: start + remaining }));
        }
    }
    Err(Malformed::RemainingLength)
}

/// A PUBLISH as read from the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Topic name, not checked for UTF-8.
    pub topic: &'a [u8],
    /// Present for QoS 1 and 2.
    pub packet_identifier: Option<u16>,
    /// The sender says that it may have sent this before.
    pub duplicate: bool,
    /// The application message.
    pub payload: &'a [u8],
}

/// Takes a PUBLISH apart.
#[inline]
pub fn read_publish<'a>(frame: &Frame<'a>) -> Result<Publish<'a>, Malformed> {
    let cut = || Malformed::Truncated(PUBLISH);
    let (length, rest) = frame.body.split_first_chunk::<2>().ok_or_else(cut)?;
    let (topic, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(cut)?;
    let duplicate = frame.first & 0x08 != 0;
    if frame.first & 0x06 == 0 {
        return Ok(Publish { topic, packet_identifier: None, duplicate, payload: rest });
    }
    let (identifier, payload) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    Ok(Publish { topic, packet_identifier: Some(u16::from_be_bytes(*identifier)), duplicate, payload })
}

/// The packet identifier that stands first in the body of PUBACK and SUBACK.
pub fn read_identifier(frame: &Frame<'_>) -> Result<u16, Malformed> {
    let bytes = frame.body.first_chunk::<2>().ok_or(Malformed::Truncated(frame.kind()))?;
    Ok(u16::from_be_bytes(*bytes))
}

fn fixed_header(out: &mut Vec<u8>, first: u8, mut remaining: usize) {
    out.push(first);
    loop {
        let byte = (remaining & 0x7f) as u8;
        remaining >>= 7;
        if remaining == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A CONNECT of a clean session with the given client id, credentials and keep alive.
pub fn connect(client_id: &str, login: Option<(&str, &str)>, keep_alive_s: u16) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    string(&mut body, "MQTT");
    body.push(4);
    body.push(if login.is_some() { 0b1100_0010 } else { 0b0000_0010 });
    body.extend_from_slice(&keep_alive_s.to_be_bytes());
    string(&mut body, client_id);
    if let Some((username, password)) = login {
        string(&mut body, username);
        string(&mut body, password);
    }
    packet(CONNECT << 4, &body)
}

/// A SUBSCRIBE for all `filters` at one QoS.
pub fn subscribe(packet_identifier: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = packet_identifier.to_be_bytes().to_vec();
    for filter in filters {
        string(&mut body, filter);
        body.push(qos);
    }
    packet(SUBSCRIBE << 4 | 0b0010, &body)
}

/// A PUBACK.
#[inline]
pub fn puback(packet_identifier: u16) -> [u8; 4] {
    let [high, low] = packet_identifier.to_be_bytes();
    [PUBACK << 4, 2, high, low]
}

/// Any packet from its first byte and body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    fixed_header(&mut out, first, body.len());
    out.extend_from_slice(body);
    out
}

/// A PUBLISH that is copied for every message; only identifier and payload stamp differ.
#[derive(Debug, Clone)]
pub struct PublishTemplate {
    /// The whole packet.
    pub bytes: Vec<u8>,
    /// Where the packet identifier stands (QoS 1 only).
    pub identifier_at: Option<usize>,
    /// Where the payload begins.
    pub payload_at: usize,
}

/// Builds the template for one publisher.
pub fn publish_template(topic: &str, qos: u8, payload_bytes: usize) -> PublishTemplate {
    let identifier_bytes = if qos > 0 { 2 } else { 0 };
    let mut bytes = Vec::with_capacity(payload_bytes + topic.len() + 9);
    fixed_header(&mut bytes, PUBLISH << 4 | qos << 1, 2 + topic.len() + identifier_bytes + payload_bytes);
    string(&mut bytes, topic);
    let identifier_at = (qos > 0).then_some(bytes.len());
    let payload_at = bytes.len() + identifier_bytes;
    bytes.resize(payload_at, 0);
    bytes.extend((0..payload_bytes).map(|index| b'a' + (index % 26) as u8));
    PublishTemplate { bytes, identifier_at, payload_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_has_the_bytes_of_the_standard() {
        let bytes = connect("c1", Some(("u", "p")), 60);
        assert_eq!(bytes, b"\x10\x14\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02c1\x00\x01u\x00\x01p");
    }

    #[test]
    fn a_template_reads_back_as_the_publish_it_stands_for() {
        let template = publish_template("bench/7", 1, 300);
        let frame = split(&template.bytes).unwrap().unwrap();
        assert_eq!((frame.length, frame.kind()), (template.bytes.len(), PUBLISH));
        let publish = read_publish(&frame).unwrap();
        assert_eq!((publish.topic, publish.packet_identifier), (&b"bench/7"[..], Some(0)));
        assert_eq!(publish.payload, &template.bytes[template.payload_at..]);
        assert_eq!(publish.payload.len(), 300);
    }

    #[test]
    fn an_incomplete_packet_is_waited_for() {
        let template = publish_template("t", 0, 200);
        for cut in 0..template.bytes.len() {
            assert_eq!(split(&template.bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn a_fifth_length_byte_is_refused() {
        assert_eq!(split(b"\x30\x80\x80\x80\x80\x01"), Err(Malformed::RemainingLength));
    }
}

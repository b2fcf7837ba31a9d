//! The MQTT 3.1.1 packets of the test client, as bytes.
//!
//! This codec is deliberately separate from the server's: it encodes whatever a test asks for, legal or
//! not, and decodes only what a server may send.

/// A will message inside [`Connect`].
#[derive(Clone, Debug)]
pub struct Will {
    /// Topic bytes, not checked.
    pub topic: Vec<u8>,
    /// Payload of the will.
    pub payload: Vec<u8>,
    /// Quality of service, 0 to 3; 3 is illegal and may be asked for.
    pub quality: u8,
    /// The will's retain flag.
    pub retain: bool,
}

/// A CONNECT packet. Every field goes to the wire as it stands.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Protocol name, `MQTT` unless changed.
    pub protocol_name: Vec<u8>,
    /// Protocol level, 4 unless changed.
    pub level: u8,
    /// Overrides the flags that the other fields imply.
    pub flags: Option<u8>,
    /// The clean session flag.
    pub clean_session: bool,
    /// Keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Client identifier, not checked.
    pub client_id: Vec<u8>,
    /// The will, if any.
    pub will: Option<Will>,
    /// User name, absent without the flag.
    pub user_name: Option<Vec<u8>>,
    /// Password, absent without the flag.
    pub password: Option<Vec<u8>>,
}

impl Connect {
    /// A CONNECT with clean session, a keep-alive of 60 s and no credentials.
    pub fn new(client_id: &str) -> Self {
        Self {
            protocol_name: b"MQTT".to_vec(),
            level: 4,
            flags: None,
            clean_session: true,
            keep_alive_s: 60,
            client_id: client_id.as_bytes().to_vec(),
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// Adds a user name and a password.
    pub fn login(mut self, user_name: &str, password: &str) -> Self {
        self.user_name = Some(user_name.as_bytes().to_vec());
        self.password = Some(password.as_bytes().to_vec());
        self
    }

    /// Sets the keep-alive in seconds.
    pub fn keep_alive_s(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    /// Sets the clean session flag.
    pub fn clean_session(mut self, clean: bool) -> Self {
        self.clean_session = clean;
        self
    }

    /// Adds a will.
    pub fn will(mut self, topic: &str, payload: &[u8], quality: u8, retain: bool) -> Self {
        self.will = Some(Will { topic: topic.into(), payload: payload.into(), quality, retain });
        self
    }

    /// The packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_field(&mut body, &self.protocol_name);
        body.push(self.level);
        body.push(self.flags.unwrap_or_else(|| self.implied_flags()));
        body.extend(self.keep_alive_s.to_be_bytes());
        put_field(&mut body, &self.client_id);
        if let Some(will) = &self.will {
            put_field(&mut body, &will.topic);
            put_field(&mut body, &will.payload);
        }
        for field in [&self.user_name, &self.password].into_iter().flatten() {
            put_field(&mut body, field);
        }
        frame(0x10, &body)
    }

    fn implied_flags(&self) -> u8 {
        let will =
            self.will.as_ref().map_or(0, |will| 0x04 | (will.quality << 3) | (u8::from(will.retain) << 5));
        (u8::from(self.clean_session) << 1)
            | will
            | (u8::from(self.password.is_some()) << 6)
            | (u8::from(self.user_name.is_some()) << 7)
    }
}

/// A message, sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Quality of service, 0 or 1 when received.
    pub quality: u8,
    /// The retain flag.
    pub retain: bool,
    /// The DUP flag.
    pub duplicate: bool,
    /// Packet identifier, 0 with QoS 0.
    pub packet_identifier: u16,
}

impl Message {
    /// A live message without flags.
    pub fn new(topic: &str, payload: &[u8], quality: u8) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            quality,
            retain: false,
            duplicate: false,
            packet_identifier: 0,
        }
    }

    /// The PUBLISH packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        publish_bytes(self, self.topic.as_bytes())
    }

    /// The payload as text, for messages of assertions.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A PUBLISH whose topic need not be UTF-8.
pub fn publish_bytes(message: &Message, topic: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + message.payload.len() + 4);
    put_field(&mut body, topic);
    if message.quality > 0 {
        body.extend(message.packet_identifier.to_be_bytes());
    }
    body.extend(&message.payload);
    let flags = (u8::from(message.duplicate) << 3) | ((message.quality & 3) << 1) | u8::from(message.retain);
    frame(0x30 | flags, &body)
}

/// A SUBSCRIBE packet.
pub fn subscribe(packet_identifier: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_identifier.to_be_bytes().to_vec();
    for (filter, quality) in filters {
        put_field(&mut body, filter.as_bytes());
        body.push(*quality);
    }
    frame(0x82, &body)
}

/// An UNSUBSCRIBE packet.
pub fn unsubscribe(packet_identifier: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_identifier.to_be_bytes().to_vec();
    for filter in filters {
        put_field(&mut body, filter.as_bytes());
    }
    frame(0xa2, &body)
}

/// A PUBACK packet.
pub fn puback(packet_identifier: u16) -> Vec<u8> {
    frame(0x40, &packet_identifier.to_be_bytes())
}

/// The PINGREQ packet.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// The DISCONNECT packet.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Appends a two-byte length and the field. Longer fields are a mistake of the test.
pub fn put_field(body: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).expect("a field of a test packet fits into 65535 bytes");
    body.extend(length.to_be_bytes());
    body.extend(field);
}

/// A whole packet: first byte, minimal remaining length, body.
pub fn frame(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first_byte];
    packet.extend(remaining_length(body.len()));
    packet.extend(body);
    packet
}

/// The variable-length encoding of a remaining length (MQTT 3.1.1, section 2.2.3).
pub fn remaining_length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length % 128).expect("a remainder of 128 fits into a byte");
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return bytes;
        }
    }
}

/// A packet that a server may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK.
    ConnAck {
        /// The session present flag.
        session_present: bool,
        /// Return code.
        code: u8,
    },
    /// PUBLISH.
    Publish(Message),
    /// PUBACK with its packet identifier.
    PubAck(u16),
    /// SUBACK.
    SubAck {
        /// Packet identifier of the SUBSCRIBE.
        packet_identifier: u16,
        /// One return code per filter.
        codes: Vec<u8>,
    },
    /// UNSUBACK with its packet identifier.
    UnsubAck(u16),
    /// PINGRESP.
    PingResp,
    /// Anything else, which no test expects.
    Unexpected(Vec<u8>),
}

/// Takes one packet from the front of `bytes`; `None` while it is incomplete. Returns the packet and its
/// length.
pub fn decode(bytes: &[u8]) -> Option<(Packet, usize)> {
    let mut length = 0_usize;
    let mut at = 1;
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        assert!(at < 5, "the server sent a remaining length of more than four bytes");
    }
    let body = bytes.get(at..at + length)?;
    Some((decode_body(bytes[0], body), at + length))
}

fn decode_body(first_byte: u8, body: &[u8]) -> Packet {
    let identifier = || u16::from_be_bytes([body[0], body[1]]);
    match (first_byte, body.len()) {
        (0x20, 2) => Packet::ConnAck { session_present: body[0] & 1 == 1, code: body[1] },
        (0x30..=0x3f, _) => decode_publish(first_byte, body),
        (0x40, 2) => Packet::PubAck(identifier()),
        (0x90, 3..) => Packet::SubAck { packet_identifier: identifier(), codes: body[2..].to_vec() },
        (0xb0, 2) => Packet::UnsubAck(identifier()),
        (0xd0, 0) => Packet::PingResp,
        _ => Packet::Unexpected([&[first_byte], body].concat()),
    }
}

fn decode_publish(first_byte: u8, body: &[u8]) -> Packet {
    let unexpected = || Packet::Unexpected([&[first_byte], body].concat());
    let quality = (first_byte >> 1) & 3;
    let Some((length, rest)) = body.split_first_chunk::<2>() else { return unexpected() };
    let Some((topic, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
        return unexpected();
    };
    let (packet_identifier, payload) = match (quality, rest.split_first_chunk::<2>()) {
        (0, _) => (0, rest),
        (1, Some((identifier, payload))) => (u16::from_be_bytes(*identifier), payload),
        _ => return unexpected(),
    };
    let Ok(topic) = String::from_utf8(topic.to_vec()) else { return unexpected() };
    Packet::Publish(Message {
        topic,
        payload: payload.to_vec(),
        quality,
        retain: first_byte & 1 == 1,
        duplicate: first_byte & 8 == 8,
        packet_identifier,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_survives_the_round_trip() {
        let sent = Message { packet_identifier: 7, ..Message::new("a/b", b"payload", 1) };
        let bytes = sent.encode();
        assert_eq!(decode(&bytes), Some((Packet::Publish(sent), bytes.len())));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn remaining_length_has_up_to_four_bytes() {
        assert_eq!(remaining_length(0), [0]);
        assert_eq!(remaining_length(128), [0x80, 1]);
        assert_eq!(remaining_length(268_435_455), [0xff, 0xff, 0xff, 0x7f]);
    }
}

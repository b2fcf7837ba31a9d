//! Encoded PUBLISH packets, shared by every subscriber that gets the message under the same name.

use std::sync::Arc;

use crate::mqtt::packet::publish::{encode_publish_head_template, encode_publish_template};
use crate::mqtt::qos::QoS;

/// Payloads up to this size are copied into the connections' buffers; larger ones are shared and written vectored.
pub const COPIED_PAYLOAD_BYTES_MAX: usize = 2048;

/// A large payload, shared; `None` when the payload stands inside the encoded bytes.
pub type SharedPayload = Option<Arc<[u8]>>;

/// An encoded PUBLISH with QoS 1 whose packet identifier is still zero: each session writes its own when it copies
/// the head (MQTT-2.3.1-4).
#[derive(Debug, Clone)]
pub struct AcknowledgedFrame {
    /// Fixed header, topic, packet identifier and, if it is small, the payload.
    pub head: Arc<[u8]>,
    /// The payload, if it is large.
    pub payload: SharedPayload,
    /// Where the two bytes of the packet identifier are in `head`.
    pub packet_identifier_at: u32,
}

impl AcknowledgedFrame {
    /// The size of the whole packet, in bytes.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.payload.as_ref().map_or(0, |payload| payload.len())
    }
}

/// Why encoding cannot fail here: topics and payloads were bounded when they came in.
const ENCODABLE: &str = "a delivered name has fewer than 65,536 bytes and a payload fewer than 256 MiB";

/// The payload of a publish on its way out: borrowed from the read buffer while it is small, shared when it is not.
#[derive(Debug, Clone)]
pub enum OutgoingPayload<'a> {
    /// A small payload.
    Copied(&'a [u8]),
    /// A large payload.
    Shared(Arc<[u8]>),
}

impl<'a> OutgoingPayload<'a> {
    /// Shares `payload` if it is large: this is its only copy on this node.
    pub fn new(payload: &'a [u8]) -> Self {
        if payload.len() > COPIED_PAYLOAD_BYTES_MAX {
            Self::Shared(Arc::from(payload))
        } else {
            Self::Copied(payload)
        }
    }

    /// The payload itself.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(payload) => payload,
            Self::Shared(payload) => payload,
        }
    }
}

/// Encodes a QoS 0 PUBLISH into `scratch` (cleared first); returns what remains to be written after it.
pub fn encode_plain(
    scratch: &mut Vec<u8>,
    topic: &str,
    payload: &OutgoingPayload<'_>,
    retain: bool,
) -> SharedPayload {
    scratch.clear();
    match payload {
        OutgoingPayload::Copied(payload) => {
            encode_publish_template(scratch, topic, payload, QoS::AtMostOnce, retain).expect(ENCODABLE);
            None
        }
        OutgoingPayload::Shared(payload) => {
            encode_publish_head_template(scratch, topic, payload.len(), QoS::AtMostOnce, retain)
                .expect(ENCODABLE);
            Some(Arc::clone(payload))
        }
    }
}

/// Encodes a QoS 1 PUBLISH, with `scratch` as working space.
pub fn encode_acknowledged(
    scratch: &mut Vec<u8>,
    topic: &str,
    payload: &OutgoingPayload<'_>,
    retain: bool,
) -> AcknowledgedFrame {
    scratch.clear();
    let (offsets, payload) = match payload {
        OutgoingPayload::Copied(payload) => {
            let offsets = encode_publish_template(scratch, topic, payload, QoS::AtLeastOnce, retain);
            (offsets.expect(ENCODABLE), None)
        }
        OutgoingPayload::Shared(payload) => {
            let offsets =
                encode_publish_head_template(scratch, topic, payload.len(), QoS::AtLeastOnce, retain);
            (offsets.expect(ENCODABLE), Some(Arc::clone(payload)))
        }
    };
    let at = offsets.packet_identifier_at.expect("a QoS 1 PUBLISH has a packet identifier");
    AcknowledgedFrame {
        head: Arc::from(scratch.as_slice()),
        payload,
        packet_identifier_at: u32::try_from(at).expect("a topic is shorter than 65,536 bytes"),
    }
}

//! The bytes of a chunk: messages for one node, collected by one sender.
//!
//! A chunk stands for itself. The topics that it uses are written into it once and are numbered by their order; the
//! number means nothing outside of the chunk. So neither the end of an epoch of a node nor a chunk that was dropped can
//! make a number mean two things, and both sides keep nothing from chunk to chunk but caches.
//!
//! Layout, all numbers big-endian: one byte [`VERSION`], then frames until the end, each with its tag in front:
//!
//! | Tag | Frame | Then |
//! | --- | --- | --- |
//! | 1 | the space of the topics that follow | kind (1 registry, 2 broker), length (1 byte), id |
//! | 2 | a topic; its number is that of topics before it | length (2 bytes), canonical topic |
//! | 3, 4 | a message with QoS 0, 1 | number of its topic (2 bytes), length (4 bytes), payload |
//!
//! Whatever characters a topic holds, they are bytes behind a length and end nothing (hostile A38).

use crate::domain::id::{BrokerId, IdError, RegistryId};
use crate::domain::principal::SpaceId;
use crate::mqtt::qos::QoS;

/// The first byte of a chunk. A node reads what the version before it wrote, and refuses what it does not know.
pub const VERSION: u8 = 1;

/// A chunk is sent before the end of the turn when it has so many bytes. One message may make it longer.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Topics of a chunk, at most: their numbers have two bytes.
pub const TOPICS_MAX: usize = 1 << 16;

/// The largest payload that MQTT can carry, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 268_435_455;

const SPACE: u8 = 1;
const TOPIC: u8 = 2;
const MESSAGE_QOS_0: u8 = 3;
const MESSAGE_QOS_1: u8 = 4;

const REGISTRY: u8 = 1;
const BROKER: u8 = 2;

/// A chunk being written.
#[derive(Debug, Default)]
pub struct ChunkWriter {
    bytes: Vec<u8>,
    space: Option<SpaceId>,
    topics: usize,
}

impl ChunkWriter {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether another topic has a number left.
    pub fn has_room_for_topic(&self) -> bool {
        self.topics < TOPICS_MAX
    }

    /// Writes a topic of `space` and returns its number. The caller has asked [`Self::has_room_for_topic`].
    ///
    /// # Panics
    /// If the topic has 65,536 bytes or more, or the id of the space more than 255: both were bounded when they came in.
    pub fn topic(&mut self, space: &SpaceId, topic: &str) -> u16 {
        self.start();
        if self.space.as_ref() != Some(space) {
            let kind = match space {
                SpaceId::Registry(_) => REGISTRY,
                SpaceId::Broker(_) => BROKER,
            };
            let length = u8::try_from(space.as_str().len()).expect("an id has at most 50 characters");
            self.bytes.extend_from_slice(&[SPACE, kind, length]);
            self.bytes.extend_from_slice(space.as_str().as_bytes());
            self.space = Some(space.clone());
        }
        let length = u16::try_from(topic.len()).expect("a topic has fewer than 65,536 bytes");
        self.bytes.push(TOPIC);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(topic.as_bytes());
        let number = u16::try_from(self.topics).expect("the caller has asked whether there is room");
        self.topics += 1;
        number
    }

    /// Writes a message to topic `number` of this chunk. QoS 2 does not exist behind the session and counts as 1.
    ///
    /// # Panics
    /// If the payload is larger than [`PAYLOAD_BYTES_MAX`]: it came in a packet.
    pub fn message(&mut self, number: u16, qos: QoS, payload: &[u8]) {
        self.start();
        let length = u32::try_from(payload.len()).expect("a payload has fewer than 2^28 bytes").to_be_bytes();
        let [high, low] = number.to_be_bytes();
        let tag = if qos == QoS::AtMostOnce { MESSAGE_QOS_0 } else { MESSAGE_QOS_1 };
        self.bytes.reserve(7 + payload.len());
        self.bytes.extend_from_slice(&[tag, high, low, length[0], length[1], length[2], length[3]]);
        self.bytes.extend_from_slice(payload);
    }

    /// Takes the chunk out, to begin the next one. What is taken has no more than twice the memory that it needs: it may
    /// wait long, and is counted by its length.
    pub fn take(&mut self) -> Vec<u8> {
        self.space = None;
        self.topics = 0;
        if self.bytes.len() < self.bytes.capacity() / 2 {
            let chunk = self.bytes.clone();
            self.bytes.clear();
            return chunk;
        }
        // The next chunk of a busy turn is as long as this one.
        let next = Vec::with_capacity(self.bytes.len().min(CHUNK_BYTES));
        std::mem::replace(&mut self.bytes, next)
    }

    /// The chunk, if it is the only one.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn start(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
        }
    }
}

/// A part of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The topics that follow are in this space.
    Space(SpaceId),
    /// A topic; its number is that of topics before it. Not checked here: it is any text.
    Topic(&'a str),
    /// A message to a topic that came before it.
    Message {
        /// The number of the topic.
        topic: u16,
        /// 0 or 1.
        qos: QoS,
        /// The message.
        payload: &'a [u8],
    },
}

/// Why bytes are not a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not a version that this node reads.
    #[error("unknown version {0}")]
    Version(u8),
    /// It ends in the middle of a frame.
    #[error("it ends within a frame")]
    Truncated,
    /// No such frame.
    #[error("unknown frame {0}")]
    UnknownFrame(u8),
    /// No such kind of space.
    #[error("unknown kind of space {0}")]
    UnknownSpaceKind(u8),
    /// The id of a space is none.
    #[error("id of a space: {0}")]
    SpaceId(#[from] IdError),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A topic came before any space.
    #[error("a topic comes before its space")]
    NoSpace,
    /// More topics than numbers.
    #[error("more than {TOPICS_MAX} topics")]
    TooManyTopics,
    /// A message names a topic that did not come before it.
    #[error("message to topic {number} of {topics}")]
    UnknownTopic {
        /// The number it names.
        number: u16,
        /// Topics before the message.
        topics: usize,
    },
    /// A payload is longer than MQTT allows.
    #[error("payload of {0} bytes")]
    PayloadTooLarge(usize),
}

/// Reads a chunk. Yields frames until the end or the first error, and nothing after an error.
#[derive(Debug)]
pub struct ChunkReader<'a> {
    rest: &'a [u8],
    has_space: bool,
    topics: usize,
}

impl<'a> ChunkReader<'a> {
    /// A reader of `chunk`.
    ///
    /// # Errors
    /// [`ChunkError::Version`], or [`ChunkError::Truncated`] if there is not even a version.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        match chunk.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest, has_space: false, topics: 0 }),
            Some((version, _)) => Err(ChunkError::Version(*version)),
            None => Err(ChunkError::Truncated),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ChunkError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(ChunkError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], ChunkError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ChunkError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn text(&mut self, bytes: usize) -> Result<&'a str, ChunkError> {
        std::str::from_utf8(self.take(bytes)?).map_err(|_| ChunkError::Text)
    }

    fn frame(&mut self) -> Result<Frame<'a>, ChunkError> {
        let [tag] = self.number()?;
        match tag {
            SPACE => self.space(),
            TOPIC => self.topic(),
            MESSAGE_QOS_0 => self.message(QoS::AtMostOnce),
            MESSAGE_QOS_1 => self.message(QoS::AtLeastOnce),
            _ => Err(ChunkError::UnknownFrame(tag)),
        }
    }

    fn space(&mut self) -> Result<Frame<'a>, ChunkError> {
        let [kind, length] = self.number()?;
        let id = self.text(usize::from(length))?;
        let space = match kind {
            REGISTRY => SpaceId::Registry(RegistryId::parse(id)?),
            BROKER => SpaceId::Broker(BrokerId::parse(id)?),
            _ => return Err(ChunkError::UnknownSpaceKind(kind)),
        };
        self.has_space = true;
        Ok(Frame::Space(space))
    }

    fn topic(&mut self) -> Result<Frame<'a>, ChunkError> {
        if !self.has_space {
            return Err(ChunkError::NoSpace);
        }
        if self.topics == TOPICS_MAX {
            return Err(ChunkError::TooManyTopics);
        }
        let length = u16::from_be_bytes(self.number()?);
        let topic = self.text(usize::from(length))?;
        self.topics += 1;
        Ok(Frame::Topic(topic))
    }

    fn message(&mut self, qos: QoS) -> Result<Frame<'a>, ChunkError> {
        let topic = u16::from_be_bytes(self.number()?);
        if usize::from(topic) >= self.topics {
            return Err(ChunkError::UnknownTopic { number: topic, topics: self.topics });
        }
        let length = usize::try_from(u32::from_be_bytes(self.number()?)).unwrap_or(usize::MAX);
        if length > PAYLOAD_BYTES_MAX {
            return Err(ChunkError::PayloadTooLarge(length));
        }
        Ok(Frame::Message { topic, qos, payload: self.take(length)? })
    }
}

impl<'a> Iterator for ChunkReader<'a> {
    type Item = Result<Frame<'a>, ChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.frame();
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

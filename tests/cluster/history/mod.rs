//! What the clients of a cluster did and saw, in the order of one monotonic clock.
//!
//! What a client *does* is noted before it is sent, what it *sees* after it was read. So if one event is later than
//! another here, it was later in truth wherever the rules need it.

mod recorder;

use std::{fmt, sync::Arc};

pub use recorder::Recorder;

/// Nanoseconds since the recorder was made.
pub type Time = u64;

/// One connection attempt with all that follows on it.
pub type SessionNumber = u32;

/// One entity with one client identifier: at most one session of it may live.
pub type ClientNumber = u32;

/// A topic by its number in the workload's table.
pub type TopicNumber = u32;

/// A message; later ones of a session have higher numbers.
pub type MessageNumber = u64;

/// Something that is written by one writer again and again: a device, an alias, a permanent topic.
pub type Key = u32;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something happened to a session.
    Session(SessionNumber, Deed),
    /// A write of the catalog was sent.
    Writing {
        /// What is written.
        key: Key,
        /// The value.
        value: u64,
    },
    /// The write was acknowledged.
    Written {
        /// What is written.
        key: Key,
        /// The value.
        value: u64,
    },
    /// A node told the hash of its state.
    State {
        /// Which node.
        node: usize,
        /// Log index of the state.
        index: u64,
        /// Its hash.
        hash: String,
    },
    /// The nemesis did something.
    Fault(String),
}

/// What a client did or saw on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It opens the connection and will send CONNECT.
    Connecting {
        /// Who it is.
        client: ClientNumber,
        /// The node it turned to.
        node: usize,
    },
    /// CONNACK with code 0 came.
    Connected,
    /// CONNACK with another code came.
    Refused(u8),
    /// SUBSCRIBE is sent for a filter that selects these topics.
    Subscribing(Arc<[TopicNumber]>),
    /// SUBACK came and granted a filter that selects these topics.
    Subscribed(Arc<[TopicNumber]>),
    /// UNSUBSCRIBE is sent for a filter that selects these topics.
    Unsubscribing(Arc<[TopicNumber]>),
    /// PUBLISH is sent.
    Publishing {
        /// Which message.
        message: MessageNumber,
        /// To which topic.
        topic: TopicNumber,
        /// Quality of service.
        quality: u8,
    },
    /// PUBACK came.
    Acknowledged(MessageNumber),
    /// PUBLISH came. Nothing is assumed about it: the message may be unknown.
    Received {
        /// Which message.
        message: MessageNumber,
        /// On which topic, if it is one of the table.
        topic: Option<TopicNumber>,
        /// Quality of service of the delivery.
        quality: u8,
        /// The DUP flag.
        duplicate: bool,
    },
    /// The server answered something that was sent at this time.
    Answered(Time),
    /// The server ended the connection, or it broke.
    Lost,
    /// The client ended it.
    Left,
}

/// All that was recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order of time.
    pub events: Vec<Event>,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at % 1_000_000_000 / 1000);
        write!(formatter, "{seconds:5}.{micros:06} ")?;
        match &self.what {
            What::Session(session, deed) => write!(formatter, "session {session}: {deed:?}"),
            What::Fault(text) => write!(formatter, "-- {text}"),
            other => write!(formatter, "{other:?}"),
        }
    }
}

//! Sessions of clients, as every node of a cluster knows them.
//!
//! A session lasts as long as its connection. It belongs to the node that holds the connection, and to that node's
//! *epoch*: when the epoch ends, all sessions in it end, whether the node can still say so or not.

use std::fmt;
use std::net::IpAddr;

use smol_str::SmolStr;

use super::credential::CredentialReference;
use super::principal::Principal;
use super::timestamp::Timestamp;
use crate::mqtt::qos::QoS;

/// Names a session among all that the cluster has ever had, as long as its node counts its generations on: the place of
/// the connection on its node. Ordered by node first, so that the sessions of a node are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The node's Raft identifier.
    pub node: u32,
    /// The lane, that is the thread of the node that serves the connection.
    pub lane: u16,
    /// The place within the lane.
    pub index: u32,
    /// Counts the users of the place.
    pub generation: u32,
}

impl SessionId {
    /// The least of all identifiers of sessions of a node.
    pub const fn first_of(node: u32) -> Self {
        Self { node, lane: 0, index: 0, generation: 0 }
    }

    /// The greatest of all identifiers of sessions of a node.
    pub const fn last_of(node: u32) -> Self {
        Self { node, lane: u16::MAX, index: u32::MAX, generation: u32::MAX }
    }

    /// Reads the text that [`fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 28 || !text.bytes().all(is_digit) {
            return None;
        }
        Some(Self {
            node: u32::from_str_radix(&text[..8], 16).ok()?,
            lane: u16::from_str_radix(&text[8..12], 16).ok()?,
            index: u32::from_str_radix(&text[12..20], 16).ok()?,
            generation: u32::from_str_radix(&text[20..], 16).ok()?,
        })
    }
}

/// 28 lower-case hex digits; texts have the order of the identifiers.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, lane, index, generation } = self;
        write!(f, "{node:08x}{lane:04x}{index:08x}{generation:08x}")
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Where its connection is.
    pub id: SessionId,
    /// The epoch of its node in which it was opened.
    pub epoch: u64,
    /// Who it is.
    pub principal: Principal,
    /// The client identifier as sent; may be empty. Of a device there is at most one session with the same that is not
    /// empty (U-M6).
    pub client_id: SmolStr,
    /// What it logged in with; its removal ends the session (U-A11).
    pub credential: CredentialReference,
    /// The address of the client, if known.
    pub peer: Option<IpAddr>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its subscriptions.
    pub subscriptions: Subscriptions,
}

/// The subscriptions of a session: topic filters as sent, each once, with the granted QoS, in the order in which they
/// came to be. Kept in one piece of memory, because there are as many of these as there are connections in the cluster.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Subscriptions {
    /// For each the digit of its QoS, the filter, and [`END`].
    packed: Box<str>,
}

/// Ends a subscription in memory. No string of MQTT has it (MQTT-1.5.3-2).
const END: char = '\0';

/// A topic filter contains the character U+0000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a topic filter must not contain the character U+0000")]
pub struct NulInFilter;

impl Subscriptions {
    /// Of the filters in `list`, which has each once.
    ///
    /// # Errors
    /// [`NulInFilter`].
    pub fn new<'a>(list: impl IntoIterator<Item = (&'a str, QoS)>) -> Result<Self, NulInFilter> {
        let mut packed = String::new();
        for (filter, qos) in list {
            if filter.contains(END) {
                return Err(NulInFilter);
            }
            packed.push(char::from(b'0' + qos.bits()));
            packed.push_str(filter);
            packed.push(END);
        }
        Ok(Self { packed: packed.into() })
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, QoS)> {
        self.packed.split_terminator(END).map(|entry| {
            let (digit, filter) = entry.split_at(1);
            let qos = QoS::from_bits(digit.as_bytes()[0] - b'0').expect("only digits of a QoS are written");
            (filter, qos)
        })
    }

    /// How many there are. Takes a number of steps in the order of their length, as all look-ups here.
    pub fn len(&self) -> usize {
        self.packed.matches(END).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The granted QoS of a filter, if it is subscribed to.
    pub fn qos(&self, filter: &str) -> Option<QoS> {
        self.iter().find(|(known, _)| *known == filter).map(|(_, qos)| qos)
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// Its connection ended.
    Closed,
    /// The same device opened another with the same client identifier (U-M6).
    TakenOver {
        /// The other.
        by: SessionId,
    },
    /// Its credential or entity was removed, or its registry disabled (U-A11, U-D3).
    Revoked,
    /// The epoch of its node ended.
    NodeGone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_and_sort_like_their_texts() {
        let ids = [
            SessionId::first_of(1),
            SessionId { node: 1, lane: 1, index: 10, generation: 3 },
            SessionId { node: 1, lane: 2, index: 9, generation: 255 },
            SessionId::last_of(1),
            SessionId::first_of(u32::MAX),
        ];
        let texts = ids.map(|id| id.to_string());
        assert!(ids.is_sorted() && texts.is_sorted());
        assert_eq!(texts.each_ref().map(|text| SessionId::parse(text)), ids.map(Some));
        for text in
            ["", "0", &"g".repeat(28), &"A".repeat(28), &"0".repeat(29), "+000000000000000000000000000"]
        {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn subscriptions_keep_order_and_text() {
        let list =
            [("$devices/+/events/#", QoS::AtLeastOnce), ("", QoS::AtMostOnce), ("ж\n/1", QoS::AtLeastOnce)];
        let subscriptions = Subscriptions::new(list).expect("no NUL");
        assert_eq!(subscriptions.iter().collect::<Vec<_>>(), list);
        assert_eq!(subscriptions.len(), 3);
        assert_eq!(subscriptions.qos("ж\n/1"), Some(QoS::AtLeastOnce));
        assert_eq!(subscriptions.qos("ж"), None);
        assert!(Subscriptions::default().is_empty() && !subscriptions.is_empty());
        assert_eq!(Subscriptions::default().len(), 0);
        assert_eq!(Subscriptions::new([("a\0b", QoS::AtMostOnce)]), Err(NulInFilter));
    }
}

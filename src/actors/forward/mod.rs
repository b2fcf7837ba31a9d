//! Messages for the sessions of other nodes: collected per node, sent in chunks, acknowledged when they are there.
//!
//! [`outgoing`] is a lane's side of sending, [`incoming`] what is done with the chunks of others, [`wire`] the bytes of a
//! chunk. Here is what all threads of the node share: the links, the limit, and who waits outside of lanes.
//!
//! Invariants: a message crosses to a node once, whatever number of its sessions get it, and never leaves that node
//! again; messages of one publisher keep their order; a PUBACK waits for every node that was sent the message, or for the
//! end of that node's epoch.

#[cfg(test)]
pub mod fixture;
pub mod incoming;
pub mod outgoing;
pub mod wire;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rookery_cluster::{LinkLoad, Links};
use tokio::sync::watch;

use self::wire::ChunkWriter;
use super::routes::Route;
use crate::mqtt::qos::QoS;

/// Default for the bytes on the way to one node above which its publishers wait.
pub const BACKLOG_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The links to other nodes, as far as they are needed here.
pub trait PeerLinks: Send + Sync {
    /// See [`Links::send`].
    fn send(&self, node_id: u64, chunk: Bytes) -> Option<u64>;

    /// See [`Links::load`].
    fn load(&self, node_id: u64) -> LinkLoad;
}

impl PeerLinks for Links {
    fn send(&self, node_id: u64, chunk: Bytes) -> Option<u64> {
        Self::send(self, node_id, chunk)
    }

    fn load(&self, node_id: u64) -> LinkLoad {
        Self::load(self, node_id)
    }
}

/// What is counted on threads that are no lane; the rest is in [`super::lane::counters`].
#[derive(Debug, Default)]
pub struct ForwardingCounters {
    /// Messages sent to other nodes, once for each node.
    pub messages_forwarded: AtomicU64,
    /// Messages not sent because too much was on the way to a node.
    pub messages_dropped_link_full: AtomicU64,
    /// Messages that came from other nodes.
    pub messages_from_nodes: AtomicU64,
    /// Chunks of other nodes that could not be read, and were dropped.
    pub chunks_malformed: AtomicU64,
}

/// A chunk on its way: the node and the sequence on the link to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The Raft identifier of the node.
    pub node_id: u64,
    /// The sequence that the link has given.
    pub sequence: u64,
}

/// Shared by all lanes and the rest of the node.
pub struct Forwarding {
    links: OnceLock<Box<dyn PeerLinks>>,
    backlog_bytes_max: usize,
    /// By node: the last sequence that its link has given. Sending is done under a shared lock: see [`Self::last_sent`].
    sent: RwLock<HashMap<u64, AtomicU64>>,
    /// By node: the sequence up to which nothing is left to wait for.
    settled: Mutex<HashMap<u64, watch::Sender<u64>>>,
    /// What is counted outside of lanes.
    pub counters: ForwardingCounters,
}

impl Forwarding {
    /// Without links yet: until [`Self::connect`] nobody is reached.
    pub fn new(backlog_bytes_max: usize) -> Self {
        Self {
            links: OnceLock::new(),
            backlog_bytes_max,
            sent: RwLock::default(),
            settled: Mutex::default(),
            counters: ForwardingCounters::default(),
        }
    }

    /// From now on messages go out over `links`. The first call counts.
    pub fn connect(&self, links: impl PeerLinks + 'static) {
        let _ = self.links.set(Box::new(links));
    }

    /// Bytes on the way to a node above which its publishers wait.
    pub fn backlog_bytes_max(&self) -> usize {
        self.backlog_bytes_max
    }

    /// Queues a chunk for a node. `None` if the node has no sessions any more.
    fn send(&self, node_id: u64, chunk: Vec<u8>) -> Option<u64> {
        let links = self.links.get()?;
        let mut sent = self.sent.read();
        if !sent.contains_key(&node_id) {
            drop(sent);
            self.sent.write().entry(node_id).or_default();
            sent = self.sent.read();
        }
        let sequence = links.send(node_id, Bytes::from(chunk))?;
        if let Some(last) = sent.get(&node_id) {
            last.fetch_max(sequence, Ordering::Relaxed);
        }
        Some(sequence)
    }

    /// The last sequence that the link to a node has given, with nobody in the middle of sending.
    ///
    /// While a link ends it gives none. So from within [`rookery_cluster::PeerService::link_ended`] this is the last
    /// sequence of the epoch that has ended, and all later ones are of the next.
    pub fn last_sent(&self, node_id: u64) -> u64 {
        self.sent.write().get(&node_id).map_or(0, |last| last.load(Ordering::Relaxed))
    }

    /// What is on the way to a node.
    fn load(&self, node_id: u64) -> LinkLoad {
        self.links.get().map(|links| links.load(node_id)).unwrap_or_default()
    }

    /// Whether more is on the way to a node of `route` than may be.
    pub fn is_congested(&self, route: &Route) -> bool {
        route.remotes().iter().any(|remote| self.is_full(remote.node_id))
    }

    fn is_full(&self, node_id: u64) -> bool {
        self.load(node_id).backlog_bytes > self.backlog_bytes_max
    }

    /// Sends a message to the other nodes of its route at once, from a thread that is no lane. With QoS 0
    /// a node to which too much is on the way does not get it: nobody can be made to wait here; who can wait asks
    /// [`Self::is_congested`] first.
    pub fn send_message(&self, route: &Route, payload: &[u8], qos: QoS) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for remote in route.remotes() {
            // Who publishes with QoS 1 and waits has asked before; what slips in between is bounded by the calls in progress.
            if qos == QoS::AtMostOnce && self.is_full(remote.node_id) {
                self.counters.messages_dropped_link_full.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let mut chunk = ChunkWriter::default();
            let number = chunk.topic(route.space(), route.topic.as_str());
            chunk.message(number, qos.min(remote.qos), payload);
            self.counters.messages_forwarded.fetch_add(1, Ordering::Relaxed);
            let sequence = self.send(remote.node_id, chunk.finish());
            tickets.extend(sequence.map(|sequence| Ticket { node_id: remote.node_id, sequence }));
        }
        tickets
    }

    /// Waits until each of the nodes has taken its chunk, or its epoch has ended.
    pub async fn wait_for(&self, tickets: &[Ticket]) {
        for ticket in tickets {
            let mut settled = self.settled(ticket.node_id).subscribe();
            // The sender lives as long as `self`.
            let _ = settled.wait_for(|sequence| *sequence >= ticket.sequence).await;
        }
    }

    /// Nothing is left to wait for on the way to the node, up to `sequence`.
    pub fn settle(&self, node_id: u64, sequence: u64) {
        self.settled(node_id).send_if_modified(|known| {
            let grows = *known < sequence;
            *known = sequence.max(*known);
            grows
        });
    }

    fn settled(&self, node_id: u64) -> watch::Sender<u64> {
        self.settled.lock().entry(node_id).or_insert_with(|| watch::channel(0).0).clone()
    }
}

#[cfg(test)]
mod tests;

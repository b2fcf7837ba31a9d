//! Links for tests: they keep what is sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_cluster::LinkLoad;

use super::wire::{ChunkReader, Frame};
use super::{Forwarding, PeerLinks};
use crate::mqtt::qos::QoS;

/// What the nodes look like from this one.
#[derive(Default)]
pub struct Network {
    /// Every chunk that was sent, in order, with node and sequence.
    pub sent: Vec<(u64, u64, Bytes)>,
    /// By node.
    pub loads: HashMap<u64, LinkLoad>,
    /// Nodes without sessions.
    pub unregistered: HashSet<u64>,
    sequences: HashMap<u64, u64>,
}

/// Links that keep what is sent; clones share it.
#[derive(Clone, Default)]
pub struct FakeLinks(pub Arc<Mutex<Network>>);

impl PeerLinks for FakeLinks {
    fn send(&self, node_id: u64, chunk: Bytes) -> Option<u64> {
        let mut network = self.0.lock();
        if network.unregistered.contains(&node_id) {
            return None;
        }
        let sequence = network.sequences.entry(node_id).or_default();
        *sequence += 1;
        let sequence = *sequence;
        network.sent.push((node_id, sequence, chunk));
        Some(sequence)
    }

    fn load(&self, node_id: u64) -> LinkLoad {
        let up = LinkLoad { backlog_bytes: 0, is_connected: true };
        self.0.lock().loads.get(&node_id).copied().unwrap_or(up)
    }
}

impl FakeLinks {
    /// What a node shares that has these links.
    pub fn forwarding(&self, backlog_bytes_max: usize) -> Arc<Forwarding> {
        let forwarding = Forwarding::new(backlog_bytes_max);
        forwarding.connect(self.clone());
        Arc::new(forwarding)
    }

    /// The load of a node from now on.
    pub fn set_load(&self, node_id: u64, backlog_bytes: usize, is_connected: bool) {
        self.0.lock().loads.insert(node_id, LinkLoad { backlog_bytes, is_connected });
    }

    /// The messages of each chunk that was sent to a node: topic, QoS and payload.
    pub fn messages(&self, node_id: u64) -> Vec<Vec<(String, QoS, Vec<u8>)>> {
        let network = self.0.lock();
        let chunks = network.sent.iter().filter(|(to, ..)| *to == node_id);
        chunks.map(|(_, _, chunk)| messages(chunk)).collect()
    }
}

fn messages(chunk: &[u8]) -> Vec<(String, QoS, Vec<u8>)> {
    let (mut topics, mut messages) = (Vec::new(), Vec::new());
    for frame in ChunkReader::new(chunk).expect("a version") {
        match frame.expect("a chunk") {
            Frame::Space(_) => {}
            Frame::Topic(topic) => topics.push(topic.to_owned()),
            Frame::Message { topic, qos, payload } => {
                messages.push((topics[usize::from(topic)].clone(), qos, payload.to_vec()));
            }
        }
    }
    messages
}

//! A lane's side of sending to other nodes: one buffer per node, shipped once per turn, and who waits for what.
//!
//! A message that is waited for is noted under the *serial* of the chunk that it stands in: the lane's own number,
//! known at once. When the chunk is shipped the link tells its sequence, and the pair is remembered; when the node has
//! taken the sequence, all that waits for the serial or an earlier one is settled. Both queues are in order, so nothing is
//! searched, and nothing is allocated per message.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rookery_cluster::LinkLoad;

use super::Forwarding;
use super::wire::{CHUNK_BYTES, ChunkWriter};
use crate::actors::lane::Target;
use crate::actors::routes::Route;
use crate::clock;
use crate::mqtt::qos::QoS;
use crate::observe::histogram::Histogram;

/// The upper bits of a serial are the lane: no two chunks of the process have the same.
const LANE_SHIFT: u32 = 48;

/// Another node on a route.
#[derive(Debug)]
pub struct Remote {
    /// Its Raft identifier.
    pub node_id: u64,
    /// The highest QoS that a session there was granted.
    pub qos: QoS,
    /// The number of the topic in the chunk in which it was last written.
    numbered: Cell<Numbered>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Numbered {
    /// 0 in none.
    serial: u64,
    number: u16,
}

impl Remote {
    /// A node on a route that nothing was sent over.
    pub fn new(node_id: u64, qos: QoS) -> Self {
        Self { node_id, qos, numbered: Cell::default() }
    }
}

/// The place of an acknowledgement among those that are owed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedPlace {
    /// The connection.
    pub target: Target,
    /// The number of the acknowledgement.
    pub number: u32,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Nodes that it is on its way to.
    pub nodes: u16,
    /// Nodes that do not get it: QoS 0, unreachable, and the limit is reached.
    pub dropped: u16,
}

/// Everything on its way from this lane to other nodes.
pub struct Outgoing {
    shared: Arc<Forwarding>,
    first_serial: u64,
    /// Those that were ever sent to; a handful.
    nodes: Vec<NodeOutgoing>,
}

struct NodeOutgoing {
    node_id: u64,
    chunk: ChunkWriter,
    /// Of the chunk being written.
    serial: u64,
    /// Whether a message of the chunk being written is waited for.
    is_awaited: bool,
    /// Chunks that are waited for, with their sequences; `None` if the node had no sessions any more.
    shipped: VecDeque<(u64, Option<u64>)>,
    /// Up to this sequence nothing is left to wait for.
    settled: u64,
    /// A chunk that is waited for and whose time is measured, by its serial, and when it was shipped.
    followed: Option<(u64, Instant)>,
    /// Who waits, with the serial of the chunk.
    awaiting: VecDeque<(u64, OwedPlace)>,
    /// As it was when something was last sent.
    load: LinkLoad,
    /// Connections that wait for the load to fall.
    paused: Vec<Target>,
}

impl Outgoing {
    /// For lane number `lane`.
    pub fn new(lane: u16, shared: Arc<Forwarding>) -> Self {
        Self { shared, first_serial: (u64::from(lane) << LANE_SHIFT) + 1, nodes: Vec::new() }
    }

    fn node(&mut self, node_id: u64) -> &mut NodeOutgoing {
        let at = self.nodes.iter().position(|node| node.node_id == node_id).unwrap_or_else(|| {
            self.nodes.push(NodeOutgoing::new(node_id, self.first_serial));
            self.nodes.len() - 1
        });
        &mut self.nodes[at]
    }

    /// The node for which a publisher has to wait before its message may take `route`, if any.
    ///
    /// A message with QoS 0 does not wait for a node that cannot be reached: it is dropped for that one.
    pub fn congested_node(&self, route: &Route, qos: QoS) -> Option<u64> {
        let limit = self.shared.backlog_bytes_max();
        let waits =
            |node: &&NodeOutgoing| node.is_full(limit) && (node.load.is_connected || qos != QoS::AtMostOnce);
        let known = |node_id| self.nodes.iter().find(|node| node.node_id == node_id);
        route.remotes().iter().filter_map(|remote| known(remote.node_id)).find(waits).map(|node| node.node_id)
    }

    /// Puts a message into the buffers of the other nodes of its route. `owed`, if any, waits for all of them.
    pub fn append(&mut self, route: &Route, payload: &[u8], qos: QoS, owed: Option<OwedPlace>) -> Forwarded {
        let mut forwarded = Forwarded::default();
        let limit = self.shared.backlog_bytes_max();
        for remote in route.remotes() {
            let node = self.node(remote.node_id);
            if qos == QoS::AtMostOnce && node.is_full(limit) && !node.load.is_connected {
                forwarded.dropped += 1;
                continue;
            }
            forwarded.nodes += 1;
            node.append(route, remote, payload, qos);
            if let Some(owed) = owed {
                node.is_awaited = true;
                node.awaiting.push_back((node.serial, owed));
            }
            if node.chunk.len() >= CHUNK_BYTES || !node.chunk.has_room_for_topic() {
                let shared = Arc::clone(&self.shared);
                self.node(remote.node_id).ship(&shared);
            }
        }
        forwarded
    }

    /// Sends what was collected.
    pub fn ship(&mut self) {
        for node in &mut self.nodes {
            node.ship(&self.shared);
        }
    }

    /// Nothing is left to wait for on the way to the node, up to `sequence`: it has taken it, or its epoch has ended.
    pub fn settle(&mut self, node_id: u64, sequence: u64) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.node_id == node_id) {
            node.settled = node.settled.max(sequence);
        }
    }

    /// Takes out, in order, what has nothing left to wait for on the way to one of its nodes, and notes how long some of
    /// it took.
    pub fn take_settled(&mut self, settled: &mut Vec<OwedPlace>, times: &Histogram) {
        for node in &mut self.nodes {
            node.take_settled(settled, times);
        }
    }

    /// Remembers a connection that is not read until the load of the node has fallen.
    pub fn pause(&mut self, node_id: u64, target: Target) {
        self.node(node_id).paused.push(target);
    }

    /// Looks at the load of full nodes again and takes out the connections that may go on.
    ///
    /// They go on when half of the limit is free, so that they do not stop again at their first message.
    pub fn take_resumed(&mut self, resumed: &mut Vec<Target>) {
        let limit = self.shared.backlog_bytes_max();
        for node in &mut self.nodes {
            if !node.is_full(limit) && node.paused.is_empty() {
                continue;
            }
            node.load = self.shared.load(node.node_id);
            if node.load.backlog_bytes + node.chunk.len() <= limit / 2 {
                resumed.append(&mut node.paused);
            }
        }
    }

    /// Whether the lane has to hear of what other nodes have taken.
    pub fn is_waiting(&self) -> bool {
        let limit = self.shared.backlog_bytes_max();
        self.nodes.iter().any(|node| {
            node.is_awaited || !node.shipped.is_empty() || !node.paused.is_empty() || node.is_full(limit)
        })
    }
}

impl NodeOutgoing {
    fn new(node_id: u64, serial: u64) -> Self {
        Self {
            node_id,
            chunk: ChunkWriter::default(),
            serial,
            is_awaited: false,
            shipped: VecDeque::new(),
            settled: 0,
            followed: None,
            awaiting: VecDeque::new(),
            load: LinkLoad::default(),
            paused: Vec::new(),
        }
    }

    fn is_full(&self, limit: usize) -> bool {
        self.load.backlog_bytes + self.chunk.len() > limit
    }

    fn append(&mut self, route: &Route, remote: &Remote, payload: &[u8], qos: QoS) {
        let mut numbered = remote.numbered.get();
        if numbered.serial != self.serial {
            let number = self.chunk.topic(route.space(), route.topic.as_str());
            numbered = Numbered { serial: self.serial, number };
            remote.numbered.set(numbered);
        }
        self.chunk.message(numbered.number, qos.min(remote.qos), payload);
    }

    fn ship(&mut self, shared: &Forwarding) {
        if self.chunk.is_empty() {
            return;
        }
        let sequence = shared.send(self.node_id, self.chunk.take());
        if std::mem::take(&mut self.is_awaited) {
            self.shipped.push_back((self.serial, sequence));
            if self.followed.is_none() && sequence.is_some() {
                self.followed = Some((self.serial, clock::monotonic()));
            }
        }
        self.serial += 1;
        self.load = shared.load(self.node_id);
    }

    fn take_settled(&mut self, settled: &mut Vec<OwedPlace>, times: &Histogram) {
        let up_to = self.settled;
        let is_settled =
            |shipped: &mut (u64, Option<u64>)| shipped.1.is_none_or(|sequence| sequence <= up_to);
        while let Some((serial, _)) = self.shipped.pop_front_if(is_settled) {
            if let Some((_, since)) = self.followed.take_if(|(followed, _)| *followed == serial) {
                times.record(since.elapsed());
            }
            while let Some((_, owed)) = self.awaiting.pop_front_if(|(waits_for, _)| *waits_for <= serial) {
                settled.push(owed);
            }
        }
    }
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;

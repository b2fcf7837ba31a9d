//! Deliveries between nodes: in order, each once, bounded.

use bytes::Bytes;

/// The links to all other registered nodes; clones share them.
#[derive(Clone, Default)]
pub struct Links {}

/// What waits on the way to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkLoad {
    /// Bytes that are queued or not acknowledged yet.
    pub backlog_bytes: usize,
    /// Whether there is a connection at the moment.
    pub is_connected: bool,
}

impl Links {
    /// Queues a chunk for a registered node and returns its sequence, by which [`crate::PeerService::acknowledged`] tells
    /// that the node has taken it. Sequences to one node grow by one. `None` if the node is not registered: it has no
    /// sessions, so there is nobody to deliver to.
    ///
    /// Never blocks and never refuses: the caller looks at [`Self::load`] and stops reading its clients in time.
    #[must_use]
    pub fn send(&self, _node_id: u64, _chunk: Bytes) -> Option<u64> {
        None
    }

    /// What waits on the way to the node.
    #[must_use]
    pub fn load(&self, _node_id: u64) -> LinkLoad {
        LinkLoad::default()
    }
}

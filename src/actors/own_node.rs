//! Which node of the cluster this is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// This node's Raft identifier; clones share it. A node that has still to join its cluster has none, and no sessions.
#[derive(Debug, Clone, Default)]
pub struct OwnNode {
    /// 0 while it is unknown.
    id: Arc<AtomicU32>,
}

impl OwnNode {
    /// The identifier, once it is known. It never changes then.
    pub fn get(&self) -> Option<u32> {
        Some(self.id.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    /// The node has been given its identifier.
    pub fn set(&self, id: u32) {
        self.id.store(id, Ordering::Release);
    }
}

//! The address of a connection's outbox.

use crate::domain::session::SessionId;

/// Where the outbox of one connection is: which lane, which place in it, and which of the connections that used the
/// place one after the other. A slot outlives its connection; a stale one is recognised by its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The lane, that is the arbiter thread; an index into [`super::lane::Lanes`].
    pub lane: u16,
    /// The place within the lane's slab.
    pub index: u32,
    /// Counts the users of the place, so that a late delivery never reaches the wrong client.
    pub generation: u32,
}

impl Slot {
    /// What the session of this connection is called in the whole cluster, on node `node`.
    pub fn session(self, node: u32) -> SessionId {
        let Self { lane, index, generation } = self;
        SessionId { node, lane, index, generation }
    }
}

impl From<SessionId> for Slot {
    /// Where the session's connection is on its own node.
    fn from(id: SessionId) -> Self {
        Self { lane: id.lane, index: id.index, generation: id.generation }
    }
}

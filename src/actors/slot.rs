//! The address of a connection's outbox.

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

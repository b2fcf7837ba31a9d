//! Connections whose session may begin when an older one of the same client has ended (U-M6).

use std::collections::HashMap;

use super::Attach;
use crate::actors::slot::Slot;

/// Those who wait: at most one for each older session. The newest wins, so whoever waited before it has lost already;
/// a thousand connections with one client identifier cost a thousand steps, not a million.
#[derive(Default)]
pub struct Waiting {
    by_rival: HashMap<Slot, Attach>,
    /// For whom each of them waits.
    rivals: HashMap<Slot, Slot>,
}

impl Waiting {
    /// Lets a connection wait until the session in `rival` has ended. Returns the connection that waited for it until
    /// now.
    pub fn put(&mut self, rival: Slot, attach: Attach) -> Option<Slot> {
        self.rivals.insert(attach.slot, rival);
        let earlier = self.by_rival.insert(rival, attach)?;
        self.rivals.remove(&earlier.slot);
        Some(earlier.slot)
    }

    /// The session in `rival` has ended: whose turn it is.
    pub fn take(&mut self, rival: Slot) -> Option<Attach> {
        let attach = self.by_rival.remove(&rival)?;
        self.rivals.remove(&attach.slot);
        Some(attach)
    }

    /// A connection has ended, perhaps one that waited.
    pub fn forget(&mut self, slot: Slot) {
        if let Some(rival) = self.rivals.remove(&slot) {
            self.by_rival.remove(&rival);
        }
    }

    /// All that wait.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.rivals.keys().copied()
    }
}

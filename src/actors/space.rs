//! The shared part of a topic space on this node: its subscription index, and the epochs by which cached routes are
//! known to be current.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::slot::Slot;
use crate::domain::address::CanonicalTopic;
use crate::domain::index::{Matches, SubscriptionIndex};
use crate::domain::principal::SpaceId;

/// Spaces made since the start.
static SPACES: AtomicU64 = AtomicU64::new(0);

/// How many changes of its index a space may see before it reaches the epochs of the next: a million per second for
/// twelve days.
const EPOCH_BITS: u32 = 40;

/// What a cached route depends on. It is current while both numbers are unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epochs {
    /// Changes with every change of the subscription index.
    pub index: u64,
    /// Changes whenever a device or alias of the space comes, changes or goes.
    pub names: u64,
}

/// A topic space on this node. The registry actor is the only writer of its index; connections only read.
#[derive(Debug)]
pub struct Space {
    /// Whose space it is.
    pub id: SpaceId,
    index: RwLock<SubscriptionIndex<Slot>>,
    index_epoch: AtomicU64,
    names_epoch: AtomicU64,
}

impl Space {
    /// A space without subscriptions.
    pub fn new(id: SpaceId) -> Self {
        // A successor of the same id starts in epochs of its own, or a cached route of its predecessor, whose
        // sessions are gone, could pass for current.
        let first_epoch = SPACES.fetch_add(1, Ordering::Relaxed) << EPOCH_BITS;
        Self {
            id,
            index: RwLock::new(SubscriptionIndex::default()),
            index_epoch: AtomicU64::new(first_epoch),
            names_epoch: AtomicU64::new(0),
        }
    }

    /// The epochs now. A route computed after this call is at least as new as they say.
    pub fn epochs(&self) -> Epochs {
        Epochs {
            index: self.index_epoch.load(Ordering::Acquire),
            names: self.names_epoch.load(Ordering::Acquire),
        }
    }

    /// Changes the index; for the registry actor only. Whoever holds the catalog lock may call it, never the other
    /// way round.
    pub fn change<T>(&self, change: impl FnOnce(&mut SubscriptionIndex<Slot>) -> T) -> T {
        let mut index = self.index.write();
        let result = change(&mut index);
        self.index_epoch.fetch_add(1, Ordering::Release);
        result
    }

    /// The names of the space have changed; called while the change is applied to the catalog.
    pub fn names_changed(&self) {
        self.names_epoch.fetch_add(1, Ordering::Release);
    }

    /// Who subscribes to the topic, under which names.
    pub fn matches(&self, topic: &CanonicalTopic, aliases: &[(&str, &str)], found: &mut Matches<Slot>) {
        self.index.read().matches(topic, aliases, found);
    }

    /// Subscriptions in the index, for metrics.
    pub fn subscriptions(&self) -> usize {
        self.index.read().len()
    }
}

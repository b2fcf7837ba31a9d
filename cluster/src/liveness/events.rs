//! What happened to the cluster lately, as this node saw it, for operators.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::lease::now_ns;

/// Events kept; older ones are forgotten.
const KEPT_MAX: usize = 1_000;
/// A subscriber that is further behind misses events, and is told how many.
const BEHIND_MAX: usize = 256;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterEventKind {
    /// This node knows another leader, or none.
    LeaderChanged,
    /// A node serves clients from now on.
    NodeRegistered,
    /// A node was given up, left or was removed: its sessions are over.
    NodeGivenUp,
    /// This node serves nobody from now on.
    Fenced,
    /// This node serves again.
    Unfenced,
    /// Voters and learners have changed.
    MembershipChanged,
}

impl ClusterEventKind {
    /// The word shown to operators.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ClusterEventKind::LeaderChanged => "leader changed",
            ClusterEventKind::NodeRegistered => "node registered",
            ClusterEventKind::NodeGivenUp => "node given up",
            ClusterEventKind::Fenced => "fenced",
            ClusterEventKind::Unfenced => "unfenced",
            ClusterEventKind::MembershipChanged => "membership changed",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEvent {
    /// Counts the events of this process from 1.
    pub sequence: u64,
    /// When this node noticed, on the clock of [`now_ns`].
    pub at_ns: u64,
    /// The log entry that says so, if one does.
    pub index: Option<u64>,
    /// What it is about.
    pub kind: ClusterEventKind,
    /// The node it is about; 0 for none.
    pub node_id: u64,
    /// The whole story in one sentence.
    pub text: String,
}

/// The newest 1,000 events of this process; clones share them.
#[derive(Debug, Clone)]
pub struct ClusterEvents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Arc<ClusterEvent>>,
}

#[derive(Debug, Default)]
struct Kept {
    last_sequence: u64,
    events: VecDeque<Arc<ClusterEvent>>,
    /// While a node starts, it applies what happened long ago.
    is_open: bool,
}

impl Default for ClusterEvents {
    fn default() -> ClusterEvents {
        let kept = Mutex::new(Kept::default());
        ClusterEvents { inner: Arc::new(Inner { kept, sender: broadcast::channel(BEHIND_MAX).0 }) }
    }
}

impl ClusterEvents {
    /// The events after `sequence` that are still kept, oldest first.
    #[must_use]
    pub fn since(&self, sequence: u64) -> Vec<Arc<ClusterEvent>> {
        let kept = self.inner.kept.lock();
        kept.events.iter().filter(|event| event.sequence > sequence).cloned().collect()
    }

    /// The events from now on. A receiver that does not keep up misses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<ClusterEvent>> {
        self.inner.sender.subscribe()
    }

    /// From now on events are taken; those before are history that is applied again.
    pub(crate) fn open(&self) {
        self.inner.kept.lock().is_open = true;
    }

    /// Adds an event and logs it.
    pub(crate) fn push(&self, kind: ClusterEventKind, node_id: u64, index: Option<u64>, text: String) {
        let mut kept = self.inner.kept.lock();
        if !kept.is_open {
            return;
        }
        match kind {
            ClusterEventKind::Fenced | ClusterEventKind::NodeGivenUp => tracing::warn!(node_id, "{text}"),
            _ => tracing::info!(node_id, "{text}"),
        }
        kept.last_sequence += 1;
        let event =
            ClusterEvent { sequence: kept.last_sequence, at_ns: now_ns(), index, kind, node_id, text };
        let event = Arc::new(event);
        if kept.events.len() == KEPT_MAX {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        // Under the lock, so that subscribers see them in order. Nobody may be listening.
        let _nobody = self.inner.sender.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_told_in_order() {
        let events = ClusterEvents::default();
        events.push(ClusterEventKind::Fenced, 1, None, "history".to_owned());
        events.open();
        let mut receiver = events.subscribe();
        for number in 1..=KEPT_MAX as u64 + 5 {
            events.push(ClusterEventKind::NodeRegistered, number, Some(number), String::new());
        }
        let kept = events.since(0);
        assert_eq!((kept.len(), kept[0].sequence), (KEPT_MAX, 6));
        assert_eq!(events.since(KEPT_MAX as u64 + 4).len(), 1);
        assert!(matches!(receiver.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        let first = receiver.try_recv().unwrap().sequence;
        assert_eq!(receiver.try_recv().unwrap().sequence, first + 1);
    }
}

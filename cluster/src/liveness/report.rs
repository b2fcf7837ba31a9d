//! What a node tells operators about leases.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Core, LivenessControl};
use crate::formats::Formats;
use crate::lease::{Standing, now_ns};

/// How this node stands, and what it knows of the others while it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// What this node is allowed to do, and why not.
    pub standing: Standing,
    /// Epoch of this process, also while it is fenced; `None` while it is not registered.
    pub epoch: Option<u64>,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How long this node's lease lasts if nobody prolongs it; `None` while it has none.
    pub remaining: Option<Duration>,
    /// Since when no leader has answered this node; `None` if never one has.
    pub leader_heard: Option<Duration>,
    /// Members that this node cannot reach.
    pub unreachable: BTreeSet<u64>,
    /// Why there is no Raft core at the moment.
    pub down: Option<String>,
    /// How long ago a quorum of voters was certainly with this node, while it leads.
    pub quorum_heard: Option<Duration>,
    /// Entries that wait until they are in effect everywhere.
    pub waiting: usize,
    /// What the leader knows about each node, itself included; empty on other nodes.
    pub nodes: Vec<NodeLiveness>,
}

/// What the leader knows about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLiveness {
    /// Its Raft identifier.
    pub node_id: u64,
    /// Its epoch; `None` while it does not serve.
    pub epoch: Option<u64>,
    /// How long ago it last asked for a lease; `None` if never under this leader.
    pub last_contact: Option<Duration>,
    /// Whether it asks often enough to keep a lease.
    pub is_reachable: bool,
    /// Index of the last entry that it has applied.
    pub applied_index: u64,
    /// Index up to which everything is in effect on it.
    pub effective_index: u64,
    /// Index of its last log entry.
    pub log_index: u64,
    /// Entries that the leader has applied and it has not.
    pub lag: u64,
    /// Members that it cannot reach.
    pub unreachable: BTreeSet<u64>,
    /// Its version of the program.
    pub version: String,
    /// What it can write; `None` if it has not said so under this leader.
    pub formats: Option<Formats>,
    /// Why it is being given up, if so.
    pub giving_up: Option<String>,
}

impl LivenessControl {
    /// How this node stands now.
    pub(crate) fn report(&self) -> Liveness {
        let inner = &self.inner;
        let now = now_ns();
        let since = |at_ns: u64| (at_ns > 0).then(|| Duration::from_nanos(now.saturating_sub(at_ns)));
        let down = match &*inner.core.lock() {
            Core::Down { reason, .. } => Some(reason.clone()),
            Core::Running(_) => None,
        };
        let lease = &inner.applied.lease;
        let (nodes, quorum_heard) = self.known_nodes();
        Liveness {
            standing: lease.standing().borrow().clone(),
            epoch: inner.applied.own_epoch(),
            lease: inner.lease,
            remaining: lease.remaining(),
            leader_heard: since(inner.heard.borrow().at_ns),
            unreachable: inner.unreachable.borrow().clone(),
            down,
            quorum_heard,
            waiting: inner.applied.barrier.waiting(),
            nodes,
        }
    }

    fn known_nodes(&self) -> (Vec<NodeLiveness>, Option<Duration>) {
        let inner = &self.inner;
        let mut grants = inner.grants.lock();
        let running = inner.running();
        let now = inner.refresh(&mut grants, running.as_ref());
        let quorum_time = grants.quorum_time(now);
        let quorum_heard = quorum_time.map(|at| Duration::from_nanos(now.saturating_sub(at)));
        let Some((applied_index, nodes)) = grants.known() else { return (Vec::new(), quorum_heard) };
        let half_lease = inner.lease / 2;
        let row = |(node_id, known): (&u64, &super::grants::Known)| {
            let last_contact =
                (known.heard_at > 0).then(|| Duration::from_nanos(now.saturating_sub(known.heard_at)));
            NodeLiveness {
                node_id: *node_id,
                epoch: Some(known.epoch).filter(|epoch| *epoch != 0),
                last_contact,
                is_reachable: last_contact.is_some_and(|ago| ago <= half_lease),
                applied_index: known.applied_index,
                effective_index: known.effective_index,
                log_index: known.log_index,
                lag: applied_index.saturating_sub(known.applied_index),
                unreachable: known.unreachable.clone(),
                version: known.version.clone(),
                formats: known.formats,
                giving_up: known.condemned.map(|condemned| condemned.reason.to_string()),
            }
        };
        (nodes.iter().map(row).collect(), quorum_heard)
    }
}

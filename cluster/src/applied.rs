//! What this node has applied, for those who must not wait while a batch is applied, and those who are told.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::barrier::Barrier;
use crate::effects::Effects;
use crate::formats::{Formats, WrittenFormat};
use crate::lease::{Lease, REMOVED};
use crate::link::Links;
use crate::liveness::events::{ClusterEventKind, ClusterEvents};
use crate::network::Admission;
use crate::nodes::Nodes;
use crate::place::Place;
use crate::proposer::Origin;
use crate::raft::LogId;
use crate::record::GiveUpReason;
use crate::replica::NodeChange;

/// Everything outside of the machine that follows the log. Called without the machine's lock, because others are called
/// back.
pub(crate) struct Applied {
    /// Says who this process is; empty until the node belongs to a cluster, and until then nothing is applied.
    place: Arc<OnceLock<Place>>,
    last: Mutex<Option<LogId>>,
    nodes: watch::Sender<Arc<Nodes>>,
    /// Index of the entry that `nodes` is of. Held while the table changes, so that it never goes back.
    changed_at: Mutex<u64>,
    pub(crate) effects: Arc<Effects>,
    pub(crate) barrier: Barrier,
    pub(crate) lease: Lease,
    pub(crate) events: ClusterEvents,
    /// What this release writes.
    pub(crate) formats: Formats,
    pub(crate) format: WrittenFormat,
    /// Whether another member said that this node was removed: one that was away is not sent the entry that says so.
    told_removed: watch::Sender<bool>,
    admission: Arc<Admission>,
    links: Links,
}

impl Applied {
    /// Nothing is applied. From now on the own effects reach the barrier.
    pub(crate) fn new(
        place: Arc<OnceLock<Place>>,
        formats: Formats,
        effects: Arc<Effects>,
        admission: Arc<Admission>,
        links: Links,
    ) -> Arc<Applied> {
        let barrier = Barrier::default();
        let (told, of_place) = (barrier.clone(), Arc::clone(&place));
        effects.tell(move |index| {
            if let Some(place) = of_place.get() {
                told.report(place.origin.node_id, index);
            }
        });
        Arc::new(Applied {
            place,
            last: Mutex::new(None),
            nodes: watch::channel(Arc::default()).0,
            changed_at: Mutex::new(0),
            effects,
            barrier,
            lease: Lease::default(),
            events: ClusterEvents::default(),
            formats,
            format: WrittenFormat::new(formats),
            told_removed: watch::channel(false).0,
            admission,
            links,
        })
    }

    /// Who this process is.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.place.get().map(|place| place.origin)
    }

    /// Position of the last entry applied. What it changed in the table of nodes is already in [`Self::nodes`].
    pub(crate) fn last(&self) -> Option<LogId> {
        *self.last.lock()
    }

    /// The table of nodes.
    pub(crate) fn nodes(&self) -> Arc<Nodes> {
        Arc::clone(&self.nodes.borrow())
    }

    /// The table of nodes, now and whenever it changes.
    pub(crate) fn watch_nodes(&self) -> watch::Receiver<Arc<Nodes>> {
        self.nodes.subscribe()
    }

    /// The epoch of this process, if it has one.
    pub(crate) fn own_epoch(&self) -> Option<u64> {
        self.origin().and_then(|origin| self.nodes.borrow().epoch_of(origin.node_id, origin.incarnation))
    }

    /// Whether this node was removed from its cluster, which is for good.
    pub(crate) fn is_removed(&self) -> bool {
        let by_log = |origin: Origin| self.nodes.borrow().is_removed(origin.node_id);
        *self.told_removed.borrow() || self.origin().is_some_and(by_log)
    }

    /// Whether another member said that this node was removed, now and when it does.
    pub(crate) fn watch_told_removed(&self) -> watch::Receiver<bool> {
        self.told_removed.subscribe()
    }

    /// Another member says that this node was removed.
    pub(crate) fn tell_removed(&self) {
        self.lease.end_for_good(REMOVED);
        self.told_removed.send_if_modified(|told| !std::mem::replace(told, true));
    }

    /// The entry at `index` has changed the table; `change` says what this means, unless a whole snapshot was taken over.
    pub(crate) fn nodes_changed(
        &self,
        index: u64,
        nodes: &Nodes,
        change: Option<(NodeChange, GiveUpReason)>,
    ) {
        let mut changed_at = self.changed_at.lock();
        if index < *changed_at {
            return;
        }
        *changed_at = index;
        self.format.record(nodes.format());
        let origin = self.origin();
        // The lease ends first: whoever the barrier releases below asks for it.
        let own = origin.and_then(|origin| nodes.epoch_of(origin.node_id, origin.incarnation));
        let reason = match own {
            Some(_) => "registered; no lease was granted yet".to_owned(),
            None => format!("given up by the cluster at index {index}"),
        };
        self.lease.set_epoch(own, &reason);
        self.nodes.send_replace(Arc::new(nodes.clone()));
        self.admission.set_removed(nodes.removed());
        if let Some(origin) = origin {
            self.links.nodes_changed(&nodes.epochs(origin));
        }
        drop(changed_at);
        if let Some((change, reason)) = change {
            self.note(index, change, reason);
        }
        let is_own_registered = own.is_some();
        self.barrier.set_registered(index, nodes.registered(), is_own_registered);
    }

    fn note(&self, index: u64, change: NodeChange, reason: GiveUpReason) {
        let (kind, node_id, text) = match change {
            NodeChange::Registered { node_id, epoch } => {
                (ClusterEventKind::NodeRegistered, node_id, format!("node {node_id} serves in epoch {epoch}"))
            }
            NodeChange::GivenUp { node_id, epoch } => (
                ClusterEventKind::NodeGivenUp,
                node_id,
                format!("node {node_id} was given up, which ends epoch {epoch}: {reason}"),
            ),
        };
        self.events.push(kind, node_id, Some(index), text);
    }

    /// Everything up to this entry is applied.
    pub(crate) fn advance(&self, last: Option<LogId>) {
        let mut known = self.last.lock();
        *known = last.max(*known);
        drop(known);
        self.effects.applied(last.map_or(0, |id| id.index));
    }
}

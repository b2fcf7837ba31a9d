//! Deliveries between nodes: in order, each once, bounded.
//!
//! From every node to every other one leads one stream of gRPC (`Link.Deliver`) over a connection of its own. It
//! carries chunks, which mean nothing here, and reports how far the log is in effect; the other node answers what it has
//! accepted, and how far it is itself. Both say something at least every half second, so that a connection that
//! swallows everything is noticed. Streams break and are replaced; the link goes on where the receiver stopped
//! ([`queue`], [`intake`]). It ends, with everything that waits, when an epoch of one of the two nodes ends.
//!
//! In reading order: [`queue`] and [`intake`] (pure), [`peer`] (one other node), [`table`] (epochs, and all nodes),
//! [`sender`], [`receiver`], [`answers`], [`codec`].
//!
//! # Bounds
//! What waits for a node ([`LinkLoad::backlog_bytes`]) is bounded by those who call [`Links::send`]: they stop reading
//! their clients above [`BACKLOG_LIMIT`]. On the wire are at most 8 MiB or 256 chunks without acknowledgement, and a
//! receiver works on one message of about 256 KiB at a time; the transport holds the rest back.

mod answers;
mod codec;
mod intake;
mod peer;
mod queue;
mod receiver;
mod sender;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_proto::rookery::cluster::v1::link_server::LinkServer;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::barrier::Barrier;
use crate::effects::Effects;
use crate::formats::{Release, WrittenFormat};
use crate::lease::now_ns;
use crate::network::Channels;
use crate::peer::PeerService;
pub(crate) use receiver::LinkService;
use table::{Directory, Table};

/// The backlog of a node above which callers of [`Links::send`] stop accepting what they would send to it.
/// [`PeerService::link_changed`] tells when the backlog has fallen to half of it.
pub const BACKLOG_LIMIT: usize = 32 * 1024 * 1024;
/// The longest chunk. Meant are chunks of some ten KiB.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest message; a chunk of full length and what goes with it.
const MESSAGE_BYTES_MAX: usize = CHUNK_BYTES_MAX + 64 * 1024;
/// Each side says something at least this often.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A side that says nothing for this long is gone.
const SILENCE_MAX: Duration = Duration::from_millis(1500);
/// A node without a link for longer than this is unreachable.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(1);

/// The links to all other registered nodes; clones share them.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    peers: Directory,
    table: watch::Sender<Table>,
    /// What the links need to run; set by [`Links::start`].
    context: OnceLock<Arc<Context>>,
    changing: Mutex<Changing>,
}

/// Locked while epochs change, so that they change in order.
#[derive(Default)]
struct Changing {
    tasks: BTreeMap<u64, AbortHandle>,
    is_closed: bool,
}

/// What sender and receiver share.
pub(crate) struct Context {
    /// This node's Raft identifier.
    own_id: u64,
    release: Release,
    format: WrittenFormat,
    channels: Channels,
    effects: Arc<Effects>,
    barrier: Barrier,
    service: Arc<dyn PeerService>,
    runtime: Handle,
}

/// What a node brings to its links.
pub(crate) struct Equipment {
    /// This node's Raft identifier.
    pub(crate) own_id: u64,
    /// What runs here.
    pub(crate) release: Release,
    /// What the cluster writes.
    pub(crate) format: WrittenFormat,
    /// Reaches other nodes.
    pub(crate) channels: Channels,
    /// How far this node is.
    pub(crate) effects: Arc<Effects>,
    /// Learns how far other nodes are.
    pub(crate) barrier: Barrier,
    /// Takes chunks and acknowledgements.
    pub(crate) service: Arc<dyn PeerService>,
}

/// What waits on the way to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkLoad {
    /// Bytes that are queued or not acknowledged yet.
    pub backlog_bytes: usize,
    /// Whether there is a connection at the moment.
    pub is_connected: bool,
}

/// What a link has done since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStatistics {
    /// The Raft identifier of the other node.
    pub node_id: u64,
    /// What waits.
    pub load: LinkLoad,
    /// Chunks that are queued or not acknowledged yet.
    pub backlog_chunks: usize,
    /// Chunks written to a connection, those sent again included.
    pub chunks_sent: u64,
    /// Bytes of these chunks.
    pub bytes_sent: u64,
    /// Chunks that were written to an earlier connection already.
    pub chunks_resent: u64,
    /// Chunks taken from the node, each counted once.
    pub chunks_received: u64,
    /// Bytes of these chunks.
    pub bytes_received: u64,
    /// Connections opened to the node.
    pub connections: u64,
}

impl Default for Links {
    fn default() -> Links {
        let inner = Inner {
            peers: Directory::default(),
            table: watch::channel(Table::default()).0,
            context: OnceLock::new(),
            changing: Mutex::default(),
        };
        Links { inner: Arc::new(inner) }
    }
}

impl Links {
    /// Queues a chunk for a registered node and returns its sequence, by which [`PeerService::acknowledged`] tells
    /// that the node has taken it. Sequences to one node grow by one. `None` if the node is not registered: it has no
    /// sessions, so there is nobody to deliver to; or if this node is not registered, so that it has no clients to deliver
    /// for; or if the chunk is longer than [`CHUNK_BYTES_MAX`], which is logged.
    ///
    /// Never blocks and never refuses for want of room: the caller looks at [`Self::load`] and stops reading its clients
    /// in time.
    ///
    /// Between [`PeerService::link_ended`] and the next epoch, `None` is returned until that callback is done. A caller
    /// that serializes its calls with the callback can therefore be sure on which side of the end a chunk is.
    #[must_use]
    pub fn send(&self, node_id: u64, chunk: Bytes) -> Option<u64> {
        if chunk.len() > CHUNK_BYTES_MAX {
            tracing::error!(node_id, bytes = chunk.len(), "a chunk is too long for the link and was dropped");
            return None;
        }
        self.inner.peers.get(node_id)?.send(chunk)
    }

    /// What waits on the way to the node. Takes no lock.
    #[must_use]
    pub fn load(&self, node_id: u64) -> LinkLoad {
        self.inner.peers.get(node_id).map(|peer| peer.load()).unwrap_or_default()
    }

    /// What the links have done, by node; nodes without an epoch included.
    #[must_use]
    pub fn statistics(&self) -> Vec<LinkStatistics> {
        self.inner.peers.iter().map(|peer| peer.statistics()).collect()
    }

    /// The members that this one has had no working link to for more than a second, of those that have served before.
    /// Members without an epoch are tried too, and a member without an epoch tries others: a node may register only when
    /// all registered ones and it reach each other.
    #[must_use]
    pub fn unreachable(&self) -> BTreeSet<u64> {
        let patience_ns = u64::try_from(UNREACHABLE_AFTER.as_nanos()).unwrap_or(u64::MAX);
        let now_ns = now_ns();
        let is_unreachable = |peer: &&Arc<peer::Peer>| peer.is_unreachable(now_ns, patience_ns);
        self.inner.peers.iter().filter(is_unreachable).map(|peer| peer.node_id).collect()
    }

    /// Begins to connect, on the runtime that this is called from. To be called once, when the node knows who it is.
    pub(crate) fn start(&self, equipment: Equipment) {
        let Equipment { own_id, release, format, channels, effects, barrier, service } = equipment;
        let runtime = Handle::current();
        let context = Context { own_id, release, format, channels, effects, barrier, service, runtime };
        let mut changing = self.inner.changing.lock();
        if self.inner.context.set(Arc::new(context)).is_err() {
            tracing::error!("the links of this node were started twice");
        }
        self.retarget(&mut changing);
    }

    /// The server side of all links.
    pub(crate) fn service(&self) -> LinkServer<LinkService> {
        LinkServer::new(LinkService::new(self.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The members that have served, with their current epochs (0 for none), have changed. Called while the entry that
    /// changed them is applied, after the replica has seen it and before the next entry. Calls
    /// [`PeerService::link_ended`] for each link that ends.
    pub(crate) fn nodes_changed(&self, epochs: &BTreeMap<u64, u64>) {
        let mut changing = self.inner.changing.lock();
        self.inner.table.send_modify(|table| table.set_epochs(epochs));
        self.retarget(&mut changing);
    }

    /// Connects to nobody any more. What waits is neither sent nor said to be over: nobody may take it for delivered.
    pub(crate) fn close(&self) {
        let mut changing = self.inner.changing.lock();
        changing.is_closed = true;
        std::mem::take(&mut changing.tasks).into_values().for_each(|task| task.abort());
        self.inner.peers.iter().for_each(|peer| peer.cut());
    }

    /// Brings every link to the epochs that the table names.
    fn retarget(&self, changing: &mut Changing) {
        let Some(context) = self.inner.context.get() else { return };
        let targets = self.inner.table.borrow().targets(context.own_id);
        for node_id in targets.keys().filter(|_| !changing.is_closed) {
            changing.tasks.entry(*node_id).or_insert_with(|| {
                let peer = Arc::clone(self.inner.peers.get_or_add(*node_id));
                context.runtime.spawn(sender::run(Arc::clone(context), peer)).abort_handle()
            });
        }
        for peer in self.inner.peers.iter() {
            let target = targets.get(&peer.node_id).copied();
            if let Some(ended) = peer.end_unless(target) {
                if ended.could_send {
                    context.service.link_ended(peer.node_id);
                }
                if ended.changed_load {
                    context.service.link_changed(peer.node_id);
                }
            }
            peer.begin(target, now_ns());
        }
    }
}

#[cfg(test)]
mod tests;

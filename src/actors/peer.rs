//! What this node does for its peers: takes their messages for its sessions, and hears what they have taken of its own.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_cluster::peer::BoxFuture;
use rookery_cluster::{LinkSource, PeerService};
use tokio::sync::watch;

use super::environment::Environment;
use super::forward::incoming::{Incoming, Unpacked};
use super::forward::{Forwarding, Ticket};
use super::lane::{Control, Lanes};

/// The node as its peers see it. Made before the storage is opened, which is before there is an [`Environment`]; chunks
/// that come in between wait.
pub struct Peers {
    lanes: Lanes,
    forwarding: Arc<Forwarding>,
    /// Weak: the environment holds the storage, and the storage this.
    environment: watch::Sender<Option<Weak<Environment>>>,
    sources: Arc<Mutex<HashMap<LinkSource, Arc<Mutex<Source>>>>>,
    /// Who answers questions, once the node can.
    answering: OnceLock<Answering>,
}

/// Answers an encoded question.
pub type Answering = Box<dyn Fn(Bytes) -> BoxFuture<Result<Bytes, String>> + Send + Sync>;

/// What is kept of one source.
#[derive(Default)]
struct Source {
    incoming: Incoming,
    /// Whether the log has been told of a malformed chunk.
    has_complained: bool,
}

impl Peers {
    /// For a node with these lanes.
    pub fn new(lanes: Lanes, forwarding: Arc<Forwarding>) -> Self {
        Self {
            lanes,
            forwarding,
            environment: watch::channel(None).0,
            sources: Arc::default(),
            answering: OnceLock::new(),
        }
    }

    /// From now on messages of other nodes are delivered.
    pub fn serve(&self, environment: &Arc<Environment>) {
        self.environment.send_replace(Some(Arc::downgrade(environment)));
    }

    /// From now on questions of other nodes are answered; what they mean is not the business of this room.
    pub fn answer_by(&self, answering: Answering) {
        // The first one stays.
        let _ = self.answering.set(answering);
    }

    /// The source, made if it is new. One that it replaces, an earlier epoch of the node, is dropped.
    fn source(&self, from: LinkSource) -> Arc<Mutex<Source>> {
        let mut sources = self.sources.lock();
        sources.retain(|known, _| known.node_id != from.node_id || known.epoch >= from.epoch);
        Arc::clone(sources.entry(from).or_default())
    }

    /// Nothing is left to wait for on the way to a node, up to `sequence`.
    fn settle(&self, node_id: u64, sequence: u64) {
        for lane in self.lanes.iter() {
            lane.settle(Ticket { node_id, sequence });
        }
        self.forwarding.settle(node_id, sequence);
    }
}

impl PeerService for Peers {
    fn deliver(&self, from: LinkSource, chunk: Bytes) -> BoxFuture<()> {
        let source = self.source(from);
        let mut environment = self.environment.subscribe();
        let lanes = Arc::clone(&self.lanes);
        Box::pin(async move {
            let Ok(environment) = environment.wait_for(Option::is_some).await.map(|known| known.clone())
            else {
                return;
            };
            // A node that stops has closed its sessions: nobody is left who could get anything.
            let Some(environment) = environment.and_then(|environment| environment.upgrade()) else { return };
            let Some(unpacked) = source.lock().unpack(from, &chunk, &environment) else { return };
            // Each lane in turn: that one is behind holds up this link, and no other.
            for (lane, batch) in lanes.iter().zip(unpacked.batches) {
                if !batch.is_empty() {
                    lane.push_when_room(batch).await;
                }
            }
        })
    }

    fn acknowledged(&self, node_id: u64, sequence: u64) {
        self.settle(node_id, sequence);
    }

    fn link_ended(&self, node_id: u64) {
        self.settle(node_id, self.forwarding.last_sent(node_id));
        self.sources.lock().retain(|known, _| known.node_id != node_id);
        self.link_changed(node_id);
    }

    fn link_changed(&self, _node_id: u64) {
        for lane in self.lanes.iter() {
            lane.control(Control::LinkChanged);
        }
    }

    fn answer(&self, _from: u64, question: Bytes) -> BoxFuture<Result<Bytes, String>> {
        match self.answering.get() {
            Some(answering) => answering(question),
            None => Box::pin(std::future::ready(Err("the node is starting".to_owned()))),
        }
    }
}

impl Source {
    /// `None` if the chunk cannot be read. It is dropped and acknowledged then: sent again it would be the same, and the
    /// link would stand still.
    fn unpack(&mut self, from: LinkSource, chunk: &[u8], environment: &Environment) -> Option<Unpacked> {
        let counters = &environment.forwarding.counters;
        let (lanes, directory) = (environment.lanes.len(), &environment.directory);
        match self.incoming.unpack(chunk, lanes, directory, &environment.catalog) {
            Ok(unpacked) => {
                counters.messages_from_nodes.fetch_add(unpacked.messages, Ordering::Relaxed);
                Some(unpacked)
            }
            Err(error) => {
                counters.chunks_malformed.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.has_complained, true) {
                    let (node_id, epoch) = (from.node_id, from.epoch);
                    tracing::error!(node_id, epoch, %error, "a chunk of another node cannot be read, and is dropped");
                }
                None
            }
        }
    }
}

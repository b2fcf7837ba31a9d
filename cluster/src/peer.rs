//! What the owner of a node provides for its peers, and what it sees of them.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// A future without a name.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What other nodes may send to this one. The bytes mean nothing to this package.
pub trait PeerService: Send + Sync + 'static {
    /// Takes a chunk of deliveries of a node in one of its epochs. Chunks of one node and epoch come one after the other,
    /// in the order in which they were sent, each once; the next comes when the future is done, and only then is this one
    /// acknowledged.
    fn deliver(&self, from: LinkSource, chunk: Bytes) -> BoxFuture<()>;

    /// Every chunk to `node_id` up to `sequence` was taken by it.
    fn acknowledged(&self, node_id: u64, sequence: u64);

    /// The node, or this one, was given up or registered anew: what was not acknowledged before will not be, and nothing
    /// is left to wait for. Sequences go on. Called while the entry is applied, so it must be short and wait for nothing.
    /// If it is this node that was given up, its clients get no acknowledgements because its lease is over.
    fn link_ended(&self, node_id: u64);

    /// The backlog to the node fell to half of [`crate::link::BACKLOG_LIMIT`] after it was above, or its connection came or
    /// went. It may have done so while somebody decides to wait for it: look at the load again after that.
    fn link_changed(&self, node_id: u64);

    /// Answers a question of another node.
    fn answer(&self, from: u64, question: Bytes) -> BoxFuture<Result<Bytes, String>>;
}

/// Where a chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkSource {
    /// The Raft identifier of the sender.
    pub node_id: u64,
    /// The sender's epoch. A new epoch begins from nothing.
    pub epoch: u64,
}

/// Part of a member in the cluster's decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// Has a vote.
    Voter,
    /// Holds the whole state and serves clients, without a vote.
    Learner,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its Raft identifier.
    pub node_id: u64,
    /// Its name; a label.
    pub name: String,
    /// Where its peers reach it.
    pub address: String,
    /// Its part in decisions.
    pub role: MemberRole,
    /// Its epoch, unless it is given up or has not registered yet.
    pub epoch: Option<u64>,
}

/// Refuses everything: for a node without peers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl PeerService for NoPeers {
    fn deliver(&self, _from: LinkSource, _chunk: Bytes) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn acknowledged(&self, _node_id: u64, _sequence: u64) {}

    fn link_ended(&self, _node_id: u64) {}

    fn link_changed(&self, _node_id: u64) {}

    fn answer(&self, _from: u64, _question: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(std::future::ready(Err("this node answers no questions".to_owned())))
    }
}

//! The link between the Raft cores of a cluster's nodes.
//!
//! This is the only place that will know how one node calls another. A node of this version runs alone: it is its
//! cluster's only voter, so the Raft core has nobody to call. Should a membership name other nodes all the same, they
//! are reported as unreachable, which the Raft core treats like a cut cable.

use std::future::Future;

use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use crate::raft::{Peer, Snapshot, TypeConfig, Vote};

/// There is no link to other nodes in this configuration.
#[derive(Debug, thiserror::Error)]
#[error("this node has no link to node {target}: it runs alone")]
struct NoLink {
    target: u64,
}

/// Makes the clients of a node that runs alone.
pub(crate) struct LoneNode;

/// Answers for one peer that cannot be reached.
pub(crate) struct Unlinked {
    target: u64,
}

impl Unlinked {
    fn unreachable(&self) -> Unreachable {
        Unreachable::new(&NoLink { target: self.target })
    }
}

impl RaftNetworkFactory<TypeConfig> for LoneNode {
    type Network = Unlinked;

    async fn new_client(&mut self, target: u64, _peer: &Peer) -> Unlinked {
        Unlinked { target }
    }
}

impl RaftNetwork<TypeConfig> for Unlinked {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Peer, RaftError<u64>>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Peer, RaftError<u64>>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}

//! What a node tells about itself.

use std::collections::BTreeMap;
use std::fmt;

use crate::peer::MemberRole;

/// What a node can do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Opening the log and replaying it. No command is accepted.
    Starting,
    /// Has no place in a cluster yet and asks for one. No command is accepted.
    Joining,
    /// Leads its cluster: commands are accepted.
    Leader,
    /// Follows a leader.
    Follower,
    /// Asks its peers to make it the leader.
    Candidate,
    /// Receives the log but has no vote.
    Learner,
    /// Free disk space is below the reserve, or a write found no space: commands are refused, reads are served,
    /// everything acknowledged is kept.
    /// Ends by itself.
    StorageFull,
    /// A write to disk failed: commands are refused, reads are served from memory, the storage is being reopened.
    /// Ends by itself.
    StorageFailed,
    /// The replica panicked or broke its contract. Commands are refused until the process is restarted.
    ReplicaFailed,
    /// Shut down.
    Closed,
}

impl NodeState {
    /// The word shown to operators.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Starting => "starting",
            NodeState::Joining => "joining",
            NodeState::Leader => "leader",
            NodeState::Follower => "follower",
            NodeState::Candidate => "candidate",
            NodeState::Learner => "learner",
            NodeState::StorageFull => "storage full",
            NodeState::StorageFailed => "storage failed",
            NodeState::ReplicaFailed => "replica failed",
            NodeState::Closed => "closed",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node's status at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// What the node can do.
    pub state: NodeState,
    /// Random identifier of the cluster, 32 hexadecimal digits; empty while the node belongs to none.
    pub cluster_id: String,
    /// Raft identifier of this node; never used again for another node. 0 while the node belongs to no cluster.
    pub node_id: u64,
    /// The node's part in decisions; `None` while the cluster's membership does not name it.
    pub role: Option<MemberRole>,
    /// Raft identifier of the leader this node knows of.
    pub leader_id: Option<u64>,
    /// Raft term.
    pub term: u64,
    /// Index of the last log entry of this node; `None` while the log is empty.
    pub log_index: Option<u64>,
    /// Index of the last entry that the replica has applied.
    pub applied_index: Option<u64>,
    /// Index of the last entry that the newest snapshot covers.
    pub snapshot_index: Option<u64>,
    /// On the leader: index of the last log entry that is known to be on each other member, 0 if nothing is. Otherwise empty.
    pub replicated: BTreeMap<u64, u64>,
    /// Bytes free on the file system of the data directory, at most a second old.
    pub disk_free_bytes: u64,
    /// Below this many free bytes commands are refused.
    pub disk_reserve_bytes: u64,
    /// Why the storage failed, while the state is [`NodeState::StorageFailed`] or [`NodeState::ReplicaFailed`].
    pub failure: Option<String>,
}

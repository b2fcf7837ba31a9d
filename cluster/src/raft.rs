//! The types that the Raft library is told to work with. They stay inside this package.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::record::Batch;

openraft::declare_raft_types!(
    /// Our instance of the Raft library's type family.
    ///
    /// `R` is empty because responses do not travel through the Raft core: the state machine hands them to the
    /// waiting callers itself.
    pub(crate) TypeConfig:
        D = Payload,
        R = (),
        NodeId = u64,
        Node = Peer,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
        AsyncRuntime = openraft::TokioRuntime,
);

/// The Raft core of one node.
pub(crate) type Raft = openraft::Raft<TypeConfig>;
/// A log entry.
pub(crate) type Entry = openraft::Entry<TypeConfig>;
/// The position of a log entry together with the leader that wrote it.
pub(crate) type LogId = openraft::LogId<u64>;
/// A vote for a leader in a term.
pub(crate) type Vote = openraft::Vote<u64>;
/// Voters and learners.
pub(crate) type Membership = openraft::Membership<u64, Peer>;
/// Membership and the entry that set it.
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Peer>;
/// Describes a snapshot.
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Peer>;
/// A snapshot as the Raft library passes it around.
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
/// An error of the storage as the Raft library knows it.
pub(crate) type StorageError = openraft::StorageError<u64>;

/// The commands of one log entry. Shared, so that the entry kept in memory, the one on its way to a peer and the one
/// being applied are the same bytes.
#[derive(Clone, PartialEq)]
pub(crate) struct Payload(pub(crate) Arc<Batch>);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: usize = self.0.groups.iter().map(|group| group.commands.len()).sum();
        write!(f, "Payload({commands} commands)")
    }
}

/// What the membership knows about a node besides its identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Label for operators.
    pub(crate) name: String,
    /// Where the node's peers reach it.
    pub(crate) address: String,
    /// It stays a learner.
    pub(crate) never_votes: bool,
}

/// A snapshot file in the snapshot directory: complete and verified when it comes from the snapshot store, being
/// filled when it is received from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    /// Where the file is.
    pub(crate) path: PathBuf,
}

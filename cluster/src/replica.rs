//! What the caller implements: the replicated machine and a view of it.

use bytes::Bytes;

/// The replicated machine. Equal command sequences must give equal states on every node, so an implementation reads
/// no clock, no randomness and no local configuration: such values are part of the commands.
pub trait Replica: Send + Sync + 'static {
    /// What a command answers. It stays in this process and is never written or sent.
    type Response: Send + 'static;

    /// Applies committed commands in log order and returns exactly one response per command, in the same order.
    ///
    /// `index` is the log position of the entry the commands came in; it grows from call to call, with gaps. Calls
    /// never overlap. A command reaches this method once, also when its proposer had to send it twice. A panic or a
    /// wrong number of responses stops the node for good ([`crate::NodeState::ReplicaFailed`]), because its state
    /// could no longer be trusted to equal that of its peers; so a command that makes no sense is answered with a
    /// response that says so.
    fn apply(&self, index: u64, commands: &[Bytes]) -> Vec<Self::Response>;

    /// A node's epoch has begun or ended: what it held for clients in an earlier epoch is void. Called in log order like
    /// [`Self::apply`]. The table of epochs is part of every snapshot of this package, but not of the replica's state:
    /// a replica that needs it keeps its own.
    fn node_changed(&self, index: u64, change: NodeChange);

    /// A point-in-time view for a snapshot. Called between two applies, so it must be cheap; it is written out later
    /// on another thread while applies go on. `format` is what the cluster writes: the oldest member must read it.
    fn view(&self, format: u32) -> Box<dyn SnapshotView>;

    /// Replaces the whole state by a snapshot that [`SnapshotView::write`] wrote, maybe on another node and with an
    /// older version of the program. The bytes were verified against their checksum. On an error the previous state
    /// must be untouched.
    ///
    /// # Errors
    /// When the bytes are not a state this version understands.
    fn restore(&self, source: &mut dyn std::io::Read) -> Result<(), RestoreError>;
}

/// A change of one node's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange {
    /// The node serves clients from now on, in a new epoch, whatever it did before.
    Registered {
        /// Its Raft identifier.
        node_id: u64,
        /// The new epoch: the index of this entry.
        epoch: u64,
    },
    /// The node was given up or removed; it serves nobody until it registers again.
    GivenUp {
        /// Its Raft identifier.
        node_id: u64,
        /// The epoch that ended.
        epoch: u64,
    },
}

/// The frozen state of a [`Replica`] at one log position.
pub trait SnapshotView: Send {
    /// Writes the state. The bytes must carry their own version: a later version of the program reads them.
    ///
    /// # Errors
    /// Only those of the sink.
    fn write(&self, sink: &mut dyn std::io::Write) -> std::io::Result<()>;
}

/// Why a [`Replica`] could not take over a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes could not be read.
    #[error("cannot read the snapshot: {0}")]
    Read(#[from] std::io::Error),
    /// The snapshot was written by a newer version of the program.
    #[error("the snapshot has format {found}, newest known format is {newest_known}")]
    UnknownFormat {
        /// Format number found in the snapshot.
        found: u64,
        /// Newest format number this version reads.
        newest_known: u64,
    },
    /// The bytes are whole but do not describe a valid state.
    #[error("the snapshot is not a valid state: {rule}")]
    Invalid {
        /// The rule that the bytes break.
        rule: String,
    },
}

//! The errors a caller of this package sees.

use std::path::PathBuf;

use crate::replica::RestoreError;
use crate::status::NodeState;

/// Why [`crate::Node::start`] refused. What was found on disk is left as it was, except that a record at the end of
/// the log that was never completed is cut off.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Another process holds the data directory.
    #[error("data directory {} is in use by another process", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The identity file exists but cannot be understood.
    #[error("identity file {} is not valid: {rule}", path.display())]
    IdentityInvalid {
        /// The identity file.
        path: PathBuf,
        /// The rule that it breaks.
        rule: String,
    },
    /// Key or certificates of this node cannot be used, or were lost.
    #[error("the node's certificates in {} are not usable: {rule}", path.display())]
    CredentialsInvalid {
        /// The file or directory.
        path: PathBuf,
        /// The rule that it breaks.
        rule: String,
    },
    /// A recovery was begun and cut off.
    #[error("{} exists: a recovery was cut off; repeat it before this node is started", path.display())]
    RecoveryUnfinished {
        /// The file that says what the node was about to become.
        path: PathBuf,
    },
    /// A directory that holds no state of a cluster cannot be recovered.
    #[error("data directory {} holds no state of a cluster; nothing can be recovered from it", path.display())]
    NothingToRecover {
        /// The data directory.
        path: PathBuf,
    },
    /// The peer listener could not be taken over.
    #[error("cannot serve peers: {reason}")]
    Peers {
        /// The reason.
        reason: String,
    },
    /// The log database could not be opened.
    #[error("cannot open the log in {}: {reason}", path.display())]
    Log {
        /// The directory of the log database.
        path: PathBuf,
        /// The storage engine's reason.
        reason: String,
    },
    /// The identity file says that this node took part in a cluster, but its log holds no vote: files were removed.
    #[error("the log in {} is empty although this node has run before; restore the directory or remove the whole data directory to start as a new cluster", path.display())]
    LogMissing {
        /// The directory of the log database.
        path: PathBuf,
    },
    /// The log ends before an entry that this node once had on disk.
    #[error("the log in {} ends at index {found} although index {expected} was on disk; it is damaged", path.display())]
    LogTruncated {
        /// The directory of the log database.
        path: PathBuf,
        /// Last index that was known to be on disk.
        expected: u64,
        /// Last index found.
        found: u64,
    },
    /// The log starts after the newest snapshot, so entries between them are lost.
    #[error("no snapshot in {} reaches log index {purged_index}, where the log begins", path.display())]
    SnapshotMissing {
        /// The directory of the snapshots.
        path: PathBuf,
        /// The last index removed from the log.
        purged_index: u64,
    },
    /// The newest snapshot is damaged or of an unknown format.
    #[error("snapshot {} is not usable: {rule}; move it away only if losing what it holds is acceptable", path.display())]
    SnapshotInvalid {
        /// The snapshot file.
        path: PathBuf,
        /// The rule that it breaks.
        rule: String,
    },
    /// The replica refused the newest snapshot.
    #[error("snapshot {} was refused: {source}", path.display())]
    Restore {
        /// The snapshot file.
        path: PathBuf,
        /// The replica's reason.
        source: RestoreError,
    },
    /// The Raft core stopped while the node was starting.
    #[error("replication stopped while starting: {reason}")]
    Raft {
        /// The Raft core's reason.
        reason: String,
    },
}

/// Why a command was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The queue before the log is full. The command was not accepted; try again later.
    #[error(
        "too many commands wait for the log: {queued_commands} commands of {queued_bytes} bytes (limits {commands_max} and {bytes_max})"
    )]
    Overloaded {
        /// Commands waiting.
        queued_commands: usize,
        /// Bytes waiting.
        queued_bytes: usize,
        /// Limit of commands.
        commands_max: usize,
        /// Limit of bytes.
        bytes_max: usize,
    },
    /// The command can never be accepted.
    #[error("command is longer than {max} bytes (got {bytes})")]
    CommandTooLarge {
        /// Size of the command.
        bytes: usize,
        /// Largest allowed size.
        max: usize,
    },
    /// Free disk space is below the reserve. The command was not accepted; the node accepts again by itself once
    /// space returns.
    #[error("disk is full: {free_bytes} bytes free, {reserve_bytes} are kept in reserve")]
    StorageFull {
        /// Free bytes on the file system of the data directory.
        free_bytes: u64,
        /// Bytes that must stay free.
        reserve_bytes: u64,
    },
    /// The node cannot commit now.
    #[error("cannot commit now: {reason} ({outcome})")]
    Unavailable {
        /// Why.
        reason: UnavailableReason,
        /// Whether the command may still take effect.
        outcome: CommandOutcome,
    },
    /// The node is shutting down. The command was not accepted.
    #[error("node is shutting down")]
    Closing,
}

impl ProposeError {
    /// Whether the command may have taken effect or may still do so, although this error was returned.
    #[must_use]
    pub fn may_have_applied(&self) -> bool {
        matches!(self, ProposeError::Unavailable { outcome: CommandOutcome::Unknown, .. })
    }
}

/// Why a node cannot commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnavailableReason {
    /// The node has not finished starting.
    #[error("node is starting")]
    Starting,
    /// The cluster has no leader, or this node cannot reach it.
    #[error("there is no leader")]
    NoLeader,
    /// The cluster did not commit in time, 10 s after the command was submitted.
    #[error("not committed in time")]
    TimedOut,
    /// A write to disk failed; the node is trying to reopen its storage.
    #[error("storage failed and is being reopened")]
    StorageFailed,
    /// A write to disk failed because the disk is full; the node reopens its storage when space returns.
    #[error("disk is full")]
    DiskFull,
    /// The replica panicked or broke its contract; the node needs a restart.
    #[error("replicated state failed")]
    ReplicaFailed,
    /// The node stopped before the command was confirmed.
    #[error("node stopped")]
    Stopped,
}

/// What is known about a command that was answered with [`ProposeError::Unavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandOutcome {
    /// The command never reached the log and has no effect.
    #[error("not applied")]
    NotApplied,
    /// The command may be in the log: it takes effect at most once, now, later or never.
    #[error("outcome unknown")]
    Unknown,
}

/// Why a question was not answered by another node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The node is not a member, or this node is none.
    #[error("node {node_id} is not known here")]
    UnknownNode {
        /// Its Raft identifier.
        node_id: u64,
    },
    /// The node did not answer within 5 s.
    #[error("node {node_id} did not answer in time")]
    TimedOut {
        /// Its Raft identifier.
        node_id: u64,
    },
    /// The node cannot be reached.
    #[error("node {node_id} cannot be reached: {reason}")]
    Unreachable {
        /// Its Raft identifier.
        node_id: u64,
        /// The network's reason.
        reason: String,
    },
    /// The node refused to answer.
    #[error("node {node_id} does not answer this: {reason}")]
    Refused {
        /// Its Raft identifier.
        node_id: u64,
        /// Its reason.
        reason: String,
    },
}

/// Why a snapshot was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Free disk space is below the reserve.
    #[error("no snapshot: {free_bytes} bytes free, {reserve_bytes} are kept in reserve")]
    StorageFull {
        /// Free bytes on the file system of the data directory.
        free_bytes: u64,
        /// Bytes that must stay free.
        reserve_bytes: u64,
    },
    /// The file could not be written; the previous snapshot stays valid.
    #[error("no snapshot: cannot write it: {reason}")]
    Write {
        /// The operating system's reason.
        reason: String,
    },
    /// The node is not serving.
    #[error("no snapshot: node is {state}")]
    Unavailable {
        /// The state of the node.
        state: NodeState,
    },
}

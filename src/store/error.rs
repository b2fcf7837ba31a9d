//! The errors of the store.

use rookery_cluster::{CommandOutcome, ProposeError, StartError, UnavailableReason};

use crate::domain::catalog::Rejection;

/// Why a change was not made, or not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The catalog's rules forbid it. Nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too many changes wait for the disk. Nothing changed; trying again later helps.
    #[error("too many changes wait to be stored: {queued_commands} commands of {queued_bytes} bytes")]
    Overloaded {
        /// Commands that wait.
        queued_commands: usize,
        /// Their bytes.
        queued_bytes: usize,
    },
    /// The change is too large to be stored as one. Nothing changed.
    #[error("the change has {bytes} bytes (at most {bytes_max} can be stored at once)")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The disk is full. Nothing changed; the node accepts changes again when space returns.
    #[error("disk is full: {free_bytes} bytes free, {reserve_bytes} are kept in reserve")]
    StorageFull {
        /// Bytes free.
        free_bytes: u64,
        /// Bytes that must stay free.
        reserve_bytes: u64,
    },
    /// No node leads the cluster, or this node cannot reach the one that does. Trying again later helps.
    #[error("no leader can be reached")]
    NoLeader {
        /// Whether the change may still take effect.
        may_have_applied: bool,
    },
    /// The node cannot store now.
    #[error("cannot store now: {reason}")]
    Unavailable {
        /// Why, for people.
        reason: String,
        /// Whether the change may still take effect.
        may_have_applied: bool,
    },
    /// The node is shutting down. Nothing changed.
    #[error("node is shutting down")]
    Closing,
}

impl StoreError {
    /// Whether the change may have taken effect, or may still do so, although this error was returned.
    pub const fn may_have_applied(&self) -> bool {
        matches!(
            self,
            Self::NoLeader { may_have_applied: true } | Self::Unavailable { may_have_applied: true, .. }
        )
    }
}

impl From<ProposeError> for StoreError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Overloaded { queued_commands, queued_bytes, .. } => {
                Self::Overloaded { queued_commands, queued_bytes }
            }
            ProposeError::CommandTooLarge { bytes, max } => Self::TooLarge { bytes, bytes_max: max },
            ProposeError::StorageFull { free_bytes, reserve_bytes } => {
                Self::StorageFull { free_bytes, reserve_bytes }
            }
            ProposeError::Unavailable { reason: UnavailableReason::NoLeader, outcome } => {
                Self::NoLeader { may_have_applied: outcome == CommandOutcome::Unknown }
            }
            ProposeError::Unavailable { reason, outcome } => Self::Unavailable {
                reason: reason.to_string(),
                may_have_applied: outcome == CommandOutcome::Unknown,
            },
            ProposeError::Closing => Self::Closing,
        }
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory or what is in it.
    #[error(transparent)]
    Start(#[from] StartError),
}

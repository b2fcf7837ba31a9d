//! Holds commands back from the log for a moment, while leadership is handed over.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard};

/// Held back commands wait here; clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pause {
    gate: Arc<RwLock<()>>,
}

/// While it exists no command enters the log.
pub(crate) type Paused = OwnedRwLockWriteGuard<()>;

impl Pause {
    /// Passes when nothing is held back. To be kept until the command was handed to the Raft core, no longer.
    pub(crate) async fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Holds back what comes from now on, for as long as the result exists.
    pub(crate) async fn hold(&self) -> Paused {
        Arc::clone(&self.gate).write_owned().await
    }
}

//! The task that turns queued commands into log entries.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::error::ClientWriteError;

use super::pending::Pending;
use super::queue::{Queue, Taken};
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::options::WINDOW_ENTRIES;
use crate::raft::{Payload, Raft};
use crate::record::{Batch, Group};

/// The process that commands are tagged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) node_id: u64,
    pub(crate) incarnation: u64,
}

/// Proposes until the queue is closed and empty. Entries are handed to the Raft core one after the other by this task
/// alone, and the core appends in that order, so the log keeps the order of the queue.
pub(crate) async fn run<T: Send + 'static>(
    queue: Arc<Queue<T>>,
    pending: Arc<Pending<T>>,
    raft: Raft,
    origin: Origin,
) {
    let mut window = FuturesUnordered::new();
    loop {
        if window.len() < WINDOW_ENTRIES
            && let Some(taken) = queue.take()
        {
            window.push(propose(&queue, &pending, &raft, origin, taken).await);
            continue;
        }
        if window.is_empty() && queue.is_drained() {
            return;
        }
        tokio::select! {
            () = queue.changed(), if window.len() < WINDOW_ENTRIES => {}
            Some(()) = window.next(), if !window.is_empty() => {}
        }
    }
}

/// Hands one entry to the Raft core and returns the future of its fate. Success needs no action: the callers were
/// answered when the entry was applied.
async fn propose<T: Send + 'static>(
    queue: &Arc<Queue<T>>,
    pending: &Arc<Pending<T>>,
    raft: &Raft,
    origin: Origin,
    taken: Taken<T>,
) -> impl Future<Output = ()> + use<T> {
    let Taken { first_sequence, commands, waiters } = taken;
    let end = first_sequence + commands.len() as u64;
    pending.register(first_sequence, waiters);
    let Origin { node_id, incarnation } = origin;
    let group = Group { node_id, incarnation, first_sequence, commands };
    let sent = raft.client_write_ff(Payload(Arc::new(Batch { groups: vec![group], system: None }))).await;
    let (queue, pending) = (Arc::clone(queue), Arc::clone(pending));
    async move {
        let (reason, outcome) = match sent {
            Ok(receiver) => match receiver.await {
                Ok(Ok(_applied)) => return,
                // Also sent for an entry that a former leader had appended, which the new one may yet commit.
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                    (UnavailableReason::NotLeader, CommandOutcome::Unknown)
                }
                Ok(Err(ClientWriteError::ChangeMembershipError(_))) | Err(_) => {
                    (queue.storage_failure(), CommandOutcome::Unknown)
                }
            },
            Err(_fatal) => (queue.storage_failure(), CommandOutcome::NotApplied),
        };
        pending.fail(first_sequence, end, &ProposeError::Unavailable { reason, outcome });
    }
}

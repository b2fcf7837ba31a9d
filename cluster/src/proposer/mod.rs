//! How commands enter the log.
//!
//! [`queue`] bounds what waits, [`driver`] forms batches of whatever waits as soon as one of the window's slots
//! is free (no timer: an idle node proposes at once, a busy one batches by itself) and gets them into the log by a [`lane`]
//! to the leader, [`window`] knows what is not applied yet, [`pending`] holds the callers until their command was applied
//! here. [`intake`] is the other end of a lane. Order: commands submitted by one caller are applied in that order.
//!
//! A batch leaves the window when it was applied on this node, so a change of the leader, a lost stream and a leader that
//! steps down all mean the same: send the window again, to whoever leads then. The replicated dedup table sees to it that
//! nothing takes effect twice, and that nothing is skipped over ([`crate::dedup`]).

pub(crate) mod driver;
pub(crate) mod intake;
pub(crate) mod lane;
pub(crate) mod pending;
pub(crate) mod queue;
pub(crate) mod system;
pub(crate) mod window;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::disk::Importance;
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::formats::WrittenFormat;
use crate::replica::Replica;
use pending::Waiter;
use queue::Queue;

/// The process that commands are tagged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) node_id: u64,
    pub(crate) incarnation: u64,
}

/// A handle to propose commands; clones are cheap and stay valid until the node ends, then they answer
/// [`ProposeError::Closing`].
pub struct Proposer<R: Replica> {
    queue: Arc<Queue<R::Response>>,
    format: WrittenFormat,
}

impl<R: Replica> Clone for Proposer<R> {
    fn clone(&self) -> Proposer<R> {
        Proposer { queue: Arc::clone(&self.queue), format: self.format.clone() }
    }
}

impl<R: Replica> Proposer<R> {
    pub(crate) fn new(queue: Arc<Queue<R::Response>>, format: WrittenFormat) -> Proposer<R> {
        Proposer { queue, format }
    }

    /// The format in which commands are to be written: all members read it.
    #[must_use]
    pub fn format(&self) -> u32 {
        self.format.get()
    }

    /// Proposes a command and waits until it is on disk, committed and applied on this node. The command takes effect
    /// also when the returned future is dropped.
    ///
    /// # Errors
    /// See [`ProposeError`]; [`ProposeError::may_have_applied`] tells whether the command may still take effect.
    pub async fn propose(&self, command: Bytes) -> Result<R::Response, ProposeError> {
        let (answer, answered) = oneshot::channel();
        self.try_submit(command, move |result| {
            // The caller may have stopped waiting.
            let _gone = answer.send(result);
        });
        answered.await.unwrap_or(Err(ProposeError::Unavailable {
            reason: UnavailableReason::Stopped,
            outcome: CommandOutcome::Unknown,
        }))
    }

    /// Proposes a command without waiting. `on_done` is called exactly once: with the response after the command was
    /// applied here, in the order of the log, or with an error.
    ///
    /// A refusal calls it before this method returns, on the caller's thread; otherwise it runs on the thread that
    /// applies commands or supervises the node, so it must be short and must not block.
    pub fn try_submit(
        &self,
        command: Bytes,
        on_done: impl FnOnce(Result<R::Response, ProposeError>) + Send + 'static,
    ) {
        self.queue.submit(command, Importance::Ordinary, Waiter::new(on_done));
    }

    /// Proposes like [`Self::try_submit`], and is refused for lack of space only when half of the reserve is used up: for
    /// commands without which clients that are there could not go on. They are small and few compared with the reserve.
    pub fn try_submit_essential(
        &self,
        command: Bytes,
        on_done: impl FnOnce(Result<R::Response, ProposeError>) + Send + 'static,
    ) {
        self.queue.submit(command, Importance::Essential, Waiter::new(on_done));
    }
}

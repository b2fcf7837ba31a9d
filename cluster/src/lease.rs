//! Whether this node may serve clients: it heard from a leader with a quorum no longer than one lease ago.
//!
//! The check compares a clock that runs on while the process is stopped or the machine sleeps, so a process that wakes
//! up after a pause finds its lease expired before it does anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// This node's lease; clones share it.
#[derive(Debug, Clone)]
pub struct Lease {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Nanoseconds of [`now_ns`] at which the lease ends; 0 while there is none.
    deadline_ns: AtomicU64,
    standing: watch::Sender<Standing>,
}

/// What a node is allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It serves clients.
    Serving {
        /// Its epoch: index of the log entry that registered it. Part of everything that it proposes for a session.
        epoch: u64,
    },
    /// It serves nobody: it has not heard from a quorum for one lease, or was given up by the others.
    Fenced {
        /// Since when, on the clock of [`now_ns`].
        since_ns: u64,
        /// Why, for operators.
        reason: String,
    },
}

/// Nanoseconds of a clock that never goes back, counts while the process is stopped and while the machine sleeps, and
/// means nothing on another machine.
#[must_use]
pub fn now_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Default for Lease {
    fn default() -> Lease {
        let standing = Standing::Fenced { since_ns: now_ns(), reason: "the node is starting".to_owned() };
        Lease {
            inner: Arc::new(Inner { deadline_ns: AtomicU64::new(0), standing: watch::channel(standing).0 }),
        }
    }
}

impl Lease {
    /// Whether the node may accept and acknowledge what it has read from a client before this call. Costs one read of
    /// the clock; meant for every chunk that is read and every batch that is written.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        now_ns() < self.inner.deadline_ns.load(Ordering::Acquire)
    }

    /// What the node is allowed to do, now and whenever it changes. Changes may come late: [`Self::is_valid`] decides.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    /// The epoch, while the node serves.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        match &*self.inner.standing.borrow() {
            Standing::Serving { epoch } if self.is_valid() => Some(*epoch),
            _ => None,
        }
    }

    /// The node serves in `epoch` until `deadline_ns`.
    pub(crate) fn extend(&self, epoch: u64, deadline_ns: u64) {
        self.inner.deadline_ns.fetch_max(deadline_ns, Ordering::AcqRel);
        let serving = Standing::Serving { epoch };
        self.inner.standing.send_if_modified(|standing| {
            let changed = *standing != serving;
            *standing = serving;
            changed
        });
    }

    /// The node serves nobody from now on.
    pub(crate) fn end(&self, reason: &str) {
        self.inner.deadline_ns.store(0, Ordering::Release);
        self.inner.standing.send_if_modified(|standing| match standing {
            Standing::Fenced { reason: known, .. } => {
                let changed = known != reason;
                reason.clone_into(known);
                changed
            }
            Standing::Serving { .. } => {
                *standing = Standing::Fenced { since_ns: now_ns(), reason: reason.to_owned() };
                true
            }
        });
    }
}

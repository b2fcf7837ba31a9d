//! Whether this node may serve clients: it heard from a leader with a quorum no longer than one lease ago.
//!
//! The check compares a clock that runs on while the process is stopped or the machine sleeps, so a process that wakes
//! up after a pause finds its lease expired before it does anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
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
    /// The epoch that this process has in the applied log; a lease for another one is worth nothing. Held while the rest
    /// changes.
    epoch: Mutex<Option<u64>>,
    /// This process never serves again. Changes under the lock of `epoch`.
    is_over: AtomicBool,
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

/// Why a node is fenced that was removed from its cluster: it will never serve again.
pub const REMOVED: &str = "this node was removed from the cluster";

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
            inner: Arc::new(Inner {
                deadline_ns: AtomicU64::new(0),
                epoch: Mutex::new(None),
                is_over: AtomicBool::new(false),
                standing: watch::channel(standing).0,
            }),
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

    /// How long the lease lasts if nobody prolongs it; `None` while there is none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline_ns = self.inner.deadline_ns.load(Ordering::Acquire);
        deadline_ns.checked_sub(now_ns()).filter(|left| *left > 0).map(Duration::from_nanos)
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

    /// This process has another epoch now, or none. Ends a lease of the epoch before.
    pub(crate) fn set_epoch(&self, epoch: Option<u64>, reason: &str) {
        let mut known = self.inner.epoch.lock();
        if *known != epoch {
            *known = epoch;
            self.fence(reason);
        }
    }

    /// The node serves in `epoch` until `deadline_ns`, unless it has lost that epoch or the time is over.
    pub(crate) fn extend(&self, epoch: u64, deadline_ns: u64) {
        let known = self.inner.epoch.lock();
        let is_over = self.inner.is_over.load(Ordering::Relaxed);
        if is_over || *known != Some(epoch) || deadline_ns <= now_ns() {
            return;
        }
        self.inner.deadline_ns.fetch_max(deadline_ns, Ordering::AcqRel);
        let serving = Standing::Serving { epoch };
        self.inner.standing.send_if_modified(|standing| {
            let changed = *standing != serving;
            *standing = serving;
            changed
        });
    }

    /// The node serves nobody from now on, until the lease is extended.
    pub(crate) fn end(&self, reason: &str) {
        let _unchanged = self.inner.epoch.lock();
        self.fence(reason);
    }

    /// The node serves nobody until the process is started again: an answer of the leader that comes late changes nothing.
    pub(crate) fn end_for_good(&self, reason: &str) {
        let _unchanged = self.inner.epoch.lock();
        self.inner.is_over.store(true, Ordering::Relaxed);
        self.fence(reason);
    }

    /// Notes the end of a lease whose time is over.
    pub(crate) fn expire(&self, reason: impl FnOnce() -> String) {
        let _unchanged = self.inner.epoch.lock();
        let is_noted = matches!(*self.inner.standing.borrow(), Standing::Fenced { .. });
        if !is_noted && !self.is_valid() {
            self.fence(&reason());
        }
    }

    /// Says anew why the node is fenced, if it is.
    pub(crate) fn explain(&self, why: &str) {
        self.inner.standing.send_if_modified(|standing| match standing {
            Standing::Fenced { reason, .. } if reason != why => {
                why.clone_into(reason);
                true
            }
            _ => false,
        });
    }

    fn fence(&self, reason: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(lease: &Lease) -> Option<String> {
        match &*lease.standing().borrow() {
            Standing::Serving { .. } => None,
            Standing::Fenced { reason, .. } => Some(reason.clone()),
        }
    }

    #[test]
    fn a_lease_belongs_to_one_epoch() {
        let lease = Lease::default();
        let later = now_ns() + 60_000_000_000;
        lease.extend(7, later);
        assert!(!lease.is_valid(), "the node is not registered");
        lease.set_epoch(Some(7), "registered");
        lease.extend(6, later);
        assert!(!lease.is_valid(), "of an epoch before");
        lease.extend(7, later);
        assert_eq!((lease.is_valid(), lease.epoch()), (true, Some(7)));
        lease.extend(7, now_ns() + 1_000_000_000);
        assert!(lease.remaining() > Some(Duration::from_secs(30)), "a promise is not taken back");
        lease.set_epoch(None, "given up");
        assert_eq!((lease.is_valid(), lease.epoch(), lease.remaining()), (false, None, None));
        assert_eq!(reason(&lease).as_deref(), Some("given up"));
    }

    #[test]
    fn time_ends_a_lease_before_anybody_notes_it() {
        let lease = Lease::default();
        lease.set_epoch(Some(7), "registered");
        lease.extend(7, now_ns());
        assert!(!lease.is_valid() && lease.epoch().is_none());
        let mut soon = now_ns() + 2_000_000;
        lease.extend(7, soon);
        while lease.is_valid() {
            soon = soon.max(now_ns());
        }
        assert_eq!(reason(&lease), None, "nobody has noted it");
        assert_eq!(lease.epoch(), None);
        lease.expire(|| "too late".to_owned());
        assert_eq!(reason(&lease).as_deref(), Some("too late"));
        lease.extend(7, now_ns() + 60_000_000_000);
        lease.expire(|| "not yet".to_owned());
        assert!(lease.is_valid());
    }
}

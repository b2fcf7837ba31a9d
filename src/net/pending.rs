//! Bounds the connections that are still shaking hands, so that clients that never finish (hostile
//! A4: half-open handshakes, one byte every few seconds) cost other clients nothing.
//!
//! Policy at the limit: the oldest pending connection is closed for the newcomer once it is older
//! than the patience; while all are younger, the node is merely busy (a reconnect storm, A36), so
//! the accept loop waits and the kernel's backlog holds the newcomers. Handshakes are served in order
//! of arrival, and a storm never throws away handshakes that are about to finish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::clock;

/// The pending connections of one listener.
#[derive(Debug)]
pub struct PendingHandshakes {
    pending_max: usize,
    patience: Duration,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    /// Ordered by arrival: the first entry is the oldest.
    pending: BTreeMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    /// Dropping it tells the owner of the slot to give up.
    _evict: oneshot::Sender<()>,
}

/// The right to shake hands; dropping it makes room for the next connection.
#[derive(Debug)]
pub struct Slot {
    id: u64,
    evicted: oneshot::Receiver<()>,
    owner: Arc<PendingHandshakes>,
}

impl PendingHandshakes {
    /// `pending_max` connections at most (at least 1); one older than `patience` may be evicted.
    pub fn new(pending_max: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            pending_max: pending_max.max(1),
            patience,
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Connections that are shaking hands now.
    pub fn count(&self) -> usize {
        self.table.lock().pending.len()
    }

    /// Waits for a slot, evicting the oldest pending connection where the policy allows it.
    pub async fn enter(self: &Arc<Self>) -> Slot {
        loop {
            match self.try_enter(clock::monotonic()) {
                Ok(slot) => return slot,
                Err(evictable_at) => {
                    tokio::select! {
                        () = self.freed.notified() => {}
                        () = tokio::time::sleep_until(evictable_at.into()) => {}
                    }
                }
            }
        }
    }

    /// A slot, or the time from which the oldest pending connection may be evicted.
    fn try_enter(self: &Arc<Self>, now: Instant) -> Result<Slot, Instant> {
        let mut table = self.table.lock();
        if table.pending.len() >= self.pending_max
            && let Some(oldest) = table.pending.first_entry()
        {
            let evictable_at = oldest.get().since + self.patience;
            if evictable_at > now {
                return Err(evictable_at);
            }
            oldest.remove();
        }
        let id = table.next_id;
        table.next_id += 1;
        let (evict, evicted) = oneshot::channel();
        table.pending.insert(id, Pending { since: now, _evict: evict });
        Ok(Slot { id, evicted, owner: Arc::clone(self) })
    }
}

impl Slot {
    /// The connection has arrived now: before that the slot was only kept ready, perhaps for long, and a fresh
    /// connection must not pass for the oldest.
    pub fn begin(self) -> Self {
        self.begin_at(clock::monotonic())
    }

    fn begin_at(mut self, now: Instant) -> Self {
        let mut table = self.owner.table.lock();
        if let Some(mut pending) = table.pending.remove(&self.id) {
            pending.since = now;
            self.id = table.next_id;
            table.next_id += 1;
            table.pending.insert(self.id, pending);
        }
        drop(table);
        self
    }

    /// Completes when the connection must be given up for a newer one; never otherwise.
    pub async fn evicted(&mut self) {
        // The sender is only ever dropped, so the result is always an error and carries nothing.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.owner.table.lock().pending.remove(&self.id).is_some() {
            self.owner.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    #[test]
    fn a4_the_oldest_is_evicted_only_when_it_is_slow() {
        let pending = PendingHandshakes::new(2, PATIENCE);
        let start = Instant::now();
        let mut first = pending.try_enter(start).unwrap();
        let mut second = pending.try_enter(start + Duration::from_secs(1)).unwrap();

        let busy = pending.try_enter(start + Duration::from_secs(2));
        assert_eq!(busy.unwrap_err(), start + PATIENCE, "young handshakes are never thrown away");

        let _third = pending.try_enter(start + PATIENCE).unwrap();
        assert_eq!(pending.count(), 2);
        assert!(first.evicted.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(second.evicted.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    }

    #[test]
    fn a4_waiting_for_a_connection_does_not_count_as_a_slow_handshake() {
        // The accept loop takes a slot before it accepts. Its age was counted from there: on a quiet listener that was
        // then flooded, the honest client that came first was thrown out before the clients that never finish.
        let pending = PendingHandshakes::new(2, PATIENCE);
        let start = Instant::now();
        let ready = pending.try_enter(start).unwrap();
        let mut slow = pending.try_enter(start + Duration::from_secs(1)).unwrap();
        let mut fresh = ready.begin_at(start + Duration::from_secs(5));
        let _newcomer = pending.try_enter(start + Duration::from_secs(6)).unwrap();
        assert!(fresh.evicted.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert!(slow.evicted.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert_eq!(pending.count(), 2);
        drop(fresh);
        assert_eq!(pending.count(), 1, "a slot that has begun is still freed");
    }

    #[test]
    fn a_finished_handshake_frees_its_slot() {
        let pending = PendingHandshakes::new(1, PATIENCE);
        let now = Instant::now();
        let slot = pending.try_enter(now).unwrap();
        assert!(pending.try_enter(now).is_err());
        drop(slot);
        assert!(pending.try_enter(now).is_ok());
    }
}

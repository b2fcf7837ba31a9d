//! Waits until an entry is in effect on every node that may still serve clients.
//!
//! A node that serves has an epoch: an entry of the log that registered it. A node that is given up loses its epoch by an
//! entry too, after its lease has certainly run out, so nobody waits for it any longer than that.
//!
//! No wait has a timeout of its own. It ends when the slowest node reports; or that node is given up, because it is
//! silent, cannot talk to another one, or makes no progress; or this node itself is given up, which releases everybody:
//! its lease was over before, so nobody is told anything wrong. While this node hears of none of that, it is cut off and
//! fenced: its clients are dropped after a while and none are added, which bounds those who wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

/// Waits for all registered nodes; clones share everything.
#[derive(Clone, Default)]
pub struct Barrier {
    state: Arc<Mutex<State>>,
}

type Done = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// Nodes with an epoch, this node included, as far as this node has applied the log.
    registered: BTreeSet<u64>,
    /// Whether this process has an epoch. Without one it serves nobody, so nobody has to wait.
    is_own_registered: bool,
    /// Index of the entry that changed the two last.
    changed_at: u64,
    /// What each node has reported.
    effective: BTreeMap<u64, u64>,
    waiting: BTreeMap<u64, Vec<Done>>,
}

impl Barrier {
    /// Calls `done` once, on any thread, perhaps before this returns, when every registered node has reported that
    /// `index` is in effect. `index` must be in effect or applied on this node already. Whether this node may still
    /// answer anybody is another question: ask its [`crate::Lease`] then. `done` must not block and must not need a lock
    /// that is held while a [`crate::EffectGuard`] is dropped.
    pub fn wait(&self, index: u64, done: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        if state.passed() >= index {
            drop(state);
            done();
        } else {
            state.waiting.entry(index).or_default().push(Box::new(done));
        }
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.values().map(Vec::len).sum()
    }

    /// The node has reported that everything up to `index` is in effect.
    pub(crate) fn report(&self, node_id: u64, index: u64) {
        self.change(|state| {
            let known = state.effective.entry(node_id).or_default();
            *known = (*known).max(index);
        });
    }

    /// The entry at `index` has changed the nodes with an epoch. Called before the next entry is applied; what an older
    /// entry says is ignored.
    pub(crate) fn set_registered(&self, index: u64, registered: BTreeSet<u64>, is_own_registered: bool) {
        self.change(|state| {
            if index >= state.changed_at {
                // Of a node that comes back only what it reports from then on counts.
                state.effective.retain(|node_id, _| registered.contains(node_id));
                state.registered = registered;
                state.is_own_registered = is_own_registered;
                state.changed_at = index;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        if state.waiting.is_empty() {
            return;
        }
        let later = match state.passed().checked_add(1) {
            Some(next) => state.waiting.split_off(&next),
            None => BTreeMap::new(),
        };
        let done = std::mem::replace(&mut state.waiting, later);
        drop(state);
        done.into_values().flatten().for_each(|done| done());
    }
}

impl State {
    /// The highest index that all have reported.
    fn passed(&self) -> u64 {
        if !self.is_own_registered {
            return u64::MAX;
        }
        let reported = |node_id: &u64| self.effective.get(node_id).copied().unwrap_or_default();
        self.registered.iter().map(reported).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counted(barrier: &Barrier, index: u64) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&count);
        barrier.wait(index, move || {
            counting.fetch_add(1, Ordering::Relaxed);
        });
        count
    }

    #[test]
    fn waits_for_the_slowest_registered_node() {
        let barrier = Barrier::default();
        barrier.set_registered(1, BTreeSet::from([1, 2, 3]), true);
        let done = counted(&barrier, 10);
        barrier.report(1, 12);
        barrier.report(2, 11);
        barrier.report(3, 9);
        assert_eq!(done.load(Ordering::Relaxed), 0);
        barrier.report(3, 10);
        assert_eq!(done.load(Ordering::Relaxed), 1);
        assert_eq!(counted(&barrier, 10).load(Ordering::Relaxed), 1);
        assert_eq!(barrier.waiting(), 0);
    }

    #[test]
    fn a_node_that_is_given_up_holds_nobody_up() {
        let barrier = Barrier::default();
        barrier.set_registered(1, BTreeSet::from([1, 2]), true);
        barrier.report(1, 10);
        let done = counted(&barrier, 10);
        barrier.set_registered(5, BTreeSet::from([1]), true);
        assert_eq!(done.load(Ordering::Relaxed), 1);
        barrier.set_registered(4, BTreeSet::from([1, 3]), true);
        assert_eq!(counted(&barrier, 10).load(Ordering::Relaxed), 1, "an older entry says nothing new");
        barrier.set_registered(6, BTreeSet::from([1, 2]), true);
        assert_eq!(counted(&barrier, 10).load(Ordering::Relaxed), 0, "it must report again");
    }

    #[test]
    fn a_node_that_is_given_up_itself_lets_everybody_go() {
        let barrier = Barrier::default();
        barrier.set_registered(1, BTreeSet::from([1, 2, 3]), true);
        let done = counted(&barrier, 10);
        barrier.set_registered(2, BTreeSet::from([2, 3]), false);
        assert_eq!((done.load(Ordering::Relaxed), barrier.waiting()), (1, 0));
        assert_eq!(counted(&barrier, 11).load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_is_called_back_may_wait_again() {
        let barrier = Barrier::default();
        barrier.set_registered(1, BTreeSet::from([1]), true);
        let (again, seen) = (barrier.clone(), Arc::new(AtomicUsize::new(0)));
        let seeing = Arc::clone(&seen);
        barrier.wait(5, move || {
            again.report(1, 6);
            again.wait(6, move || {
                seeing.fetch_add(1, Ordering::Relaxed);
            });
        });
        barrier.report(1, 5);
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }
}

//! How far the effects of the log reach on this node.
//!
//! An entry is *applied* when the replica has changed its state. It is *in effect* when everything that follows from it
//! on this node has happened too: a connection that it ends is closed. Only then do other nodes hear of it, because they
//! act on it: a SUBACK or a CONNACK that waits for this node is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Which entries are in effect. The replica holds entries back by [`Effects::hold`].
pub struct Effects {
    state: Mutex<State>,
    effective: watch::Sender<u64>,
    /// Called with each new effective index, by the thread that brought it about.
    listener: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

#[derive(Debug, Default)]
struct State {
    applied: u64,
    /// Entries with effects that have not happened yet, and how many.
    outstanding: BTreeMap<u64, usize>,
}

/// An effect that has not happened yet. Dropping it says that it has. Those who waited only for this are called back by the
/// thread that drops it, so no lock must be held meanwhile.
#[derive(Debug)]
pub struct EffectGuard {
    effects: Arc<Effects>,
    index: u64,
}

impl Default for Effects {
    fn default() -> Effects {
        Effects { state: Mutex::default(), effective: watch::channel(0).0, listener: OnceLock::new() }
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Effects {
    /// Nothing is in effect.
    #[must_use]
    pub fn new() -> Arc<Effects> {
        Arc::default()
    }

    /// Holds back the entry at `index`, which is being applied, until the guard is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, index: u64) -> EffectGuard {
        *self.state.lock().outstanding.entry(index).or_default() += 1;
        EffectGuard { effects: Arc::clone(self), index }
    }

    /// The highest index up to which everything is in effect; 0 at first. Never goes back.
    #[must_use]
    pub fn effective(&self) -> u64 {
        *self.effective.borrow()
    }

    /// [`Self::effective`], now and whenever it grows.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.effective.subscribe()
    }

    /// Calls `listener` with each new effective index, and with the one of now. Only the first listener is kept.
    pub(crate) fn tell(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        let listener = self.listener.get_or_init(|| Box::new(listener));
        listener(self.effective());
    }

    /// Every entry up to `index` is applied.
    pub(crate) fn applied(&self, index: u64) {
        self.advance(|state| state.applied = state.applied.max(index));
    }

    fn advance(&self, change: impl FnOnce(&mut State)) {
        // The lock is held while the new value is published, so that values are published in order.
        let mut state = self.state.lock();
        change(&mut state);
        let held = state.outstanding.keys().next().map(|index| index.saturating_sub(1));
        let effective = held.map_or(state.applied, |held| held.min(state.applied));
        let has_grown = self.effective.send_if_modified(|known| {
            let grown = effective > *known;
            *known = effective.max(*known);
            grown
        });
        drop(state);
        if has_grown && let Some(listener) = self.listener.get() {
            listener(effective);
        }
    }
}

impl Drop for EffectGuard {
    fn drop(&mut self) {
        self.effects.advance(|state| {
            if let Some(count) = state.outstanding.get_mut(&self.index) {
                *count -= 1;
                if *count == 0 {
                    state.outstanding.remove(&self.index);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_in_effect_when_its_last_guard_is_gone() {
        let effects = Effects::new();
        effects.applied(3);
        assert_eq!(effects.effective(), 3);
        let (one, two) = (effects.hold(4), effects.hold(4));
        let later = effects.hold(6);
        effects.applied(7);
        assert_eq!(effects.effective(), 3);
        drop(later);
        drop(one);
        assert_eq!(effects.effective(), 3, "the entry has two effects");
        drop(two);
        assert_eq!(effects.effective(), 7);
    }

    #[test]
    fn the_listener_hears_of_every_growth_at_once() {
        let effects = Effects::new();
        effects.applied(3);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        effects.tell(move |index| hearing.lock().push(index));
        let guard = effects.hold(5);
        effects.applied(5);
        effects.applied(6);
        assert_eq!(*heard.lock(), [3, 4]);
        drop(guard);
        assert_eq!(*heard.lock(), [3, 4, 6]);
    }
}

//! Lanes: one per arbiter thread, the way of all volume.
//!
//! A connection registers its outbox with the lane of its thread. A message for a connection of the same thread is
//! an index and an append; for another thread it is an append to a batch, handed over once per turn. One flusher
//! per lane writes each connection at most once per turn, after the reads that were ready.
//!
//! Invariants: a lane never waits for a client; it knows no topic, no device and no catalog; nothing here locks on
//! the way from a PUBLISH to an outbox of the same thread.

mod acknowledgement;
pub mod buffer;
pub mod counters;
mod deadline;
mod delivery;
mod fence;
pub mod flusher;
mod forwarding;
pub mod frame;
pub mod inbox;
pub mod link;
pub mod outbox;
mod sampler;
pub mod state;
mod transfer;
pub mod wheel;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::forward::Forwarding;

pub use inbox::{Control, Inspection, LaneHandle, Lanes, Target};
pub use state::{LaneState, OutboxLimits};

thread_local! {
    static LANE: OnceCell<Rc<RefCell<LaneState>>> = const { OnceCell::new() };
}

/// Makes the current thread lane `number` and starts its flusher and its clock. Called once per arbiter thread.
pub fn install(number: u16, lanes: &Lanes, limits: OutboxLimits, forwarding: Arc<Forwarding>) {
    let state = Rc::new(RefCell::new(LaneState::new(number, lanes.clone(), limits, forwarding)));
    LANE.with(|lane| {
        assert!(lane.set(Rc::clone(&state)).is_ok(), "a thread becomes a lane only once");
    });
    flusher::start(&state);
}

/// The lane of the current thread.
///
/// # Panics
/// On a thread that is no lane: connections live on lanes only.
pub fn current() -> Rc<RefCell<LaneState>> {
    LANE.with(|lane| Rc::clone(lane.get().expect("connections live on lane threads only")))
}

/// Makes `count` lanes.
pub fn lanes(count: u16) -> Lanes {
    (0..count).map(|_| Arc::new(LaneHandle::default())).collect()
}

#[cfg(test)]
mod tests;

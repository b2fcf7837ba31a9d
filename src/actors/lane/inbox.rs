//! How a lane receives from other threads: whole batches, one lock and one wake per batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use rookery_cluster::EffectGuard;

use super::counters::LaneCounters;
use super::frame::{AcknowledgedFrame, SharedPayload};
use crate::actors::close::CloseReason;
use crate::actors::slot::Slot;

/// A lane takes no further batches above so many bytes; who has one for it keeps it and stops reading its sockets
/// until the lane has caught up.
pub const INBOX_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A connection of a known lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its place in the lane's slab.
    pub index: u32,
    /// Its generation; see [`crate::actors::slot::Slot`].
    pub generation: u32,
}

/// One message for some connections of the receiving lane.
#[derive(Debug)]
pub enum Delivery {
    /// With QoS 0.
    Plain {
        /// Where the encoded packet stands in the batch's arena.
        start: usize,
        /// Its end in the arena.
        end: usize,
        /// The payload, if it is large.
        payload: SharedPayload,
        /// Who gets it.
        targets: Arc<[Target]>,
    },
    /// With QoS 1.
    Acknowledged {
        /// The encoded packet.
        frame: AcknowledgedFrame,
        /// Who gets it.
        targets: Arc<[Target]>,
    },
}

/// Messages for one lane, collected by another thread during one turn of its loop.
#[derive(Debug, Default)]
pub struct Batch {
    /// The QoS 0 packets, one after the other.
    pub arena: Vec<u8>,
    /// What to deliver, in order.
    pub deliveries: Vec<Delivery>,
    /// Bytes of the shared payloads and QoS 1 packets, which do not stand in the arena.
    pub shared_bytes: usize,
}

impl Batch {
    /// Bytes of the batch, for the limit.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.shared_bytes
    }

    /// Adds a QoS 0 message.
    pub fn push_plain(&mut self, head: &[u8], payload: &SharedPayload, targets: &Arc<[Target]>) {
        let start = self.arena.len();
        self.arena.extend_from_slice(head);
        self.shared_bytes += payload.as_ref().map_or(0, |payload| payload.len());
        self.deliveries.push(Delivery::Plain {
            start,
            end: self.arena.len(),
            payload: payload.clone(),
            targets: Arc::clone(targets),
        });
    }

    /// Adds a QoS 1 message.
    pub fn push_acknowledged(&mut self, frame: &AcknowledgedFrame, targets: &Arc<[Target]>) {
        self.shared_bytes += frame.bytes();
        self.deliveries.push(Delivery::Acknowledged { frame: frame.clone(), targets: Arc::clone(targets) });
    }
}

/// Something for one connection of the lane that is not a message.
#[derive(Debug)]
pub enum Control {
    /// End the connection.
    Close(Target, CloseReason),
    /// End every connection of the lane.
    CloseAll(CloseReason),
    /// The log has ended the session of a connection.
    End {
        /// The connection.
        target: Target,
        /// The epoch in which the session was opened; a connection of another is left alone.
        epoch: u64,
        /// Why.
        reason: CloseReason,
        /// Kept until the connection has ended.
        guard: EffectGuard,
    },
    /// The whole state was replaced: the log has ended all sessions of the lane but these.
    Keep {
        /// Their places, with the epochs in which they were opened.
        kept: Arc<BTreeMap<Slot, u64>>,
        /// Kept until the connections of the others have ended.
        guard: Arc<EffectGuard>,
    },
    /// The permanent message that the connection published as number `sequence` is stored, or cannot be.
    Stored {
        /// The publisher.
        target: Target,
        /// The number that the connection gave to the publish.
        sequence: u64,
        /// Why it could not be stored.
        result: Result<(), String>,
    },
    /// A lane that could not take a batch has caught up: try again.
    Uncongested,
}

#[derive(Debug, Default)]
struct Pending {
    batches: Vec<Batch>,
    controls: Vec<Control>,
    bytes: usize,
    /// Lanes to tell when there is room again.
    refused_lanes: Vec<u16>,
}

/// What a lane took out of its inbox.
#[derive(Debug, Default)]
pub struct Received {
    /// The batches, in the order of their arrival.
    pub batches: Vec<Batch>,
    /// The controls, in the order of their arrival.
    pub controls: Vec<Control>,
    /// Lanes that wait for room in this one.
    pub refused_lanes: Vec<u16>,
}

/// The part of a lane that other threads see.
#[derive(Debug, Default)]
pub struct LaneHandle {
    pending: Mutex<Pending>,
    waker: AtomicWaker,
    /// What the lane counts.
    pub counters: LaneCounters,
}

impl LaneHandle {
    /// Hands over a batch from lane `from`, or gives it back if the inbox is full; `from` is then told by
    /// [`Control::Uncongested`] when to try again.
    ///
    /// # Errors
    /// The batch itself, if the inbox is full.
    pub fn offer(&self, batch: Batch, from: u16) -> Result<(), Batch> {
        {
            let mut pending = self.pending.lock();
            if pending.bytes > 0 && pending.bytes + batch.bytes() > INBOX_BYTES_MAX {
                if !pending.refused_lanes.contains(&from) {
                    pending.refused_lanes.push(from);
                }
                return Err(batch);
            }
            pending.bytes += batch.bytes();
            pending.batches.push(batch);
        }
        self.waker.wake();
        Ok(())
    }

    /// Hands over a batch whatever the inbox holds: for threads that are no lane and have bounds of their own.
    pub fn push(&self, batch: Batch) {
        {
            let mut pending = self.pending.lock();
            pending.bytes += batch.bytes();
            pending.batches.push(batch);
        }
        self.waker.wake();
    }

    /// Hands over a control.
    pub fn control(&self, control: Control) {
        self.pending.lock().controls.push(control);
        self.waker.wake();
    }

    /// Registers who is woken by the next hand-over; to be called before [`Self::take`].
    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Takes everything out.
    pub fn take(&self) -> Received {
        let mut pending = self.pending.lock();
        pending.bytes = 0;
        Received {
            batches: std::mem::take(&mut pending.batches),
            controls: std::mem::take(&mut pending.controls),
            refused_lanes: std::mem::take(&mut pending.refused_lanes),
        }
    }
}

/// The lanes of this node, one per arbiter thread.
pub type Lanes = Arc<[Arc<LaneHandle>]>;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Batch {
        Batch { arena: vec![0; bytes], ..Batch::default() }
    }

    #[test]
    fn a_full_inbox_gives_the_batch_back_and_remembers_whom_to_tell() {
        let lane = LaneHandle::default();
        assert!(lane.offer(batch(INBOX_BYTES_MAX), 3).is_ok());
        assert!(lane.offer(batch(1), 4).is_err());
        assert!(lane.offer(batch(1), 4).is_err());
        let received = lane.take();
        assert_eq!((received.batches.len(), received.refused_lanes), (1, vec![4]));
        assert!(lane.offer(batch(1), 4).is_ok());
    }

    #[test]
    fn an_empty_inbox_takes_a_batch_of_any_size() {
        assert!(LaneHandle::default().offer(batch(INBOX_BYTES_MAX + 1), 0).is_ok());
    }
}

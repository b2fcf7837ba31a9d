//! How a lane receives from other threads: whole batches, one lock and one wake per batch.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use rookery_cluster::EffectGuard;
use tokio::sync::{Notify, oneshot};

use super::counters::LaneCounters;
use super::frame::{AcknowledgedFrame, SharedPayload};
use crate::actors::close::CloseReason;
use crate::actors::forward::Ticket;
use crate::actors::forward::outgoing::OwedPlace;
use crate::actors::slot::Slot;
use crate::observe::histogram::Histogram;

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
    /// A delivery whose time is to be measured, by its place, and since when.
    pub followed: Option<(usize, Instant)>,
}

impl Batch {
    /// Bytes of the batch, for the limit.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.shared_bytes
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// The next message that is added was read at this moment, and its time is to be measured.
    pub fn follow_next(&mut self, read_at: Option<Instant>) {
        if let Some(read_at) = read_at {
            self.followed = Some((self.deliveries.len(), read_at));
        }
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
    /// The permanent message that the connection published is stored, or cannot be.
    Stored {
        /// The place of its PUBACK among those that are owed.
        owed: OwedPlace,
        /// Why it could not be stored.
        result: Result<(), String>,
    },
    /// What waits for a client is asked for; no answer if its connection has ended.
    Inspect(Target, oneshot::Sender<Inspection>),
    /// A lane that could not take a batch has caught up: try again.
    Uncongested,
    /// The load of a link to another node has changed: look again.
    LinkChanged,
}

/// What waits for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// Sent and not acknowledged.
    pub in_flight_messages: usize,
    /// Waiting for room in the in-flight window, or for a SUBACK.
    pub queued_messages: usize,
    /// Of all these, and what the socket has not taken.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Pending {
    batches: Vec<Batch>,
    controls: Vec<Control>,
    bytes: usize,
    /// Lanes to tell when there is room again.
    refused_lanes: Vec<u16>,
    /// Whether somebody who is no lane waits for room.
    is_awaited: bool,
    /// Up to which sequence nothing is left to wait for, by node; each node once.
    settled: Vec<Ticket>,
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
    /// Up to which sequence nothing is left to wait for, by node; each node once.
    pub settled: Vec<Ticket>,
}

/// The part of a lane that other threads see.
#[derive(Debug, Default)]
pub struct LaneHandle {
    pending: Mutex<Pending>,
    waker: AtomicWaker,
    /// Who is no lane is told here that there is room again.
    room: Notify,
    /// Whether the lane wants to know what other nodes have taken.
    waits_for_nodes: AtomicBool,
    /// What the lane counts.
    pub counters: LaneCounters,
    /// From a PUBLISH to the socket of a subscriber of this node; of some messages.
    pub delivery_times: Histogram,
    /// From shipping messages with QoS 1 to another node until it has taken them; of some.
    pub forward_times: Histogram,
}

impl LaneHandle {
    /// Hands over a batch from lane `from`, or gives it back if the inbox is full; `from` is then told by
    /// [`Control::Uncongested`] when to try again.
    ///
    /// # Errors
    /// The batch itself, if the inbox is full.
    pub fn offer(&self, batch: Batch, from: u16) -> Result<(), Batch> {
        self.try_push(batch, |pending| {
            if !pending.refused_lanes.contains(&from) {
                pending.refused_lanes.push(from);
            }
        })
    }

    /// Hands over a batch as soon as the inbox has room for it: for threads that are no lane and can wait.
    pub async fn push_when_room(&self, mut batch: Batch) {
        loop {
            let mut room = pin!(self.room.notified());
            // From here on nothing is missed, although nothing is waited for yet.
            room.as_mut().enable();
            match self.try_push(batch, |pending| pending.is_awaited = true) {
                Ok(()) => return,
                Err(back) => batch = back,
            }
            room.await;
        }
    }

    fn try_push(&self, batch: Batch, refused: impl FnOnce(&mut Pending)) -> Result<(), Batch> {
        {
            let mut pending = self.pending.lock();
            if pending.bytes > 0 && pending.bytes + batch.bytes() > INBOX_BYTES_MAX {
                refused(&mut pending);
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

    /// Nothing is left to wait for on the way to a node, up to the sequence of the ticket. Only a lane that has asked is
    /// told.
    pub fn settle(&self, ticket: Ticket) {
        if !self.waits_for_nodes.load(Ordering::Acquire) {
            return;
        }
        {
            let mut pending = self.pending.lock();
            match pending.settled.iter_mut().find(|known| known.node_id == ticket.node_id) {
                Some(known) => known.sequence = known.sequence.max(ticket.sequence),
                None => pending.settled.push(ticket),
            }
        }
        self.waker.wake();
    }

    /// Whether the lane wants to be told by [`Self::settle`]; to be asked for before anything is sent to a node.
    pub fn wait_for_nodes(&self, waits: bool) {
        self.waits_for_nodes.store(waits, Ordering::Release);
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
        let taken = std::mem::take(&mut *pending);
        drop(pending);
        if taken.is_awaited {
            self.room.notify_waiters();
        }
        Received {
            batches: taken.batches,
            controls: taken.controls,
            refused_lanes: taken.refused_lanes,
            settled: taken.settled,
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

    #[tokio::test]
    async fn who_is_no_lane_waits_until_there_is_room() {
        let lane = LaneHandle::default();
        lane.push_when_room(batch(INBOX_BYTES_MAX)).await;
        let mut second = std::pin::pin!(lane.push_when_room(batch(1)));
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert_eq!(lane.take().batches.len(), 1);
        assert!(futures::poll!(second).is_ready());
        assert_eq!(lane.take().batches.len(), 1);
    }

    #[test]
    fn what_nodes_have_taken_is_told_once_per_node_and_only_to_a_lane_that_waits() {
        let lane = LaneHandle::default();
        let ticket = |node_id, sequence| Ticket { node_id, sequence };
        lane.settle(ticket(2, 1));
        assert_eq!(lane.take().settled, []);
        lane.wait_for_nodes(true);
        for told in [ticket(2, 5), ticket(3, 1), ticket(2, 7), ticket(2, 6)] {
            lane.settle(told);
        }
        assert_eq!(lane.take().settled, [ticket(2, 7), ticket(3, 1)]);
    }

    #[test]
    fn an_empty_inbox_takes_a_batch_of_any_size() {
        assert!(LaneHandle::default().offer(batch(INBOX_BYTES_MAX + 1), 0).is_ok());
    }
}

//! What one arbiter thread keeps for its connections: the slab of outboxes, their bytes and their limits.

use std::rc::Rc;
use std::sync::Arc;

use rookery_cluster::Lease;

use super::buffer::BufferPool;
use super::inbox::{Batch, LaneHandle, Lanes, Target};
use super::link::Link;
use super::outbox::Outbox;
use super::sampler::Sampler;
use super::wheel::Wheel;
use crate::actors::forward::Forwarding;
use crate::actors::forward::outgoing::{Outgoing, OwedPlace};
use crate::actors::slot::Slot;
use crate::clock;
use crate::domain::timestamp::Timestamp;
use crate::domain::window::WindowLimits;

/// The limits of outboxes (configuration `limits.*`).
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Unwritten bytes above which QoS 0 messages for the connection are dropped.
    pub plain_bytes_max: usize,
    /// The in-flight window and the queue behind it; a session that exceeds it is closed.
    pub window: WindowLimits,
    /// Bytes in all outboxes of the lane above which `overloaded_bytes_max` takes the place of both limits.
    pub lane_bytes_max: usize,
    /// What one connection may hold while the lane is above `lane_bytes_max`.
    pub overloaded_bytes_max: usize,
    /// An unacknowledged message is sent again after so many ticks; 0 = never within a connection.
    pub redelivery_ticks: u32,
}

/// The state of a lane. It belongs to one thread; nothing here locks or awaits.
pub struct LaneState {
    /// Which lane this is.
    pub number: u16,
    pub(super) outboxes: Vec<Outbox>,
    /// The generation of the first user of each place. A random number: sessions of an earlier process of this node are
    /// in the index until the node registers again, and a message for one must not find a client of this process.
    first_generation: u32,
    free: Vec<u32>,
    pub(super) dirty: Vec<u32>,
    pub(super) pool: BufferPool,
    pub(super) wheel: Wheel,
    /// What the other lanes are still to get, by lane number.
    pub(super) outgoing: Vec<Batch>,
    /// What the other nodes are still to get.
    pub(super) nodes: Outgoing,
    pub(super) congested: bool,
    /// Connections that exceed their rate and go on at the next tick.
    slowed: Vec<Target>,
    /// Whether this node may serve; none before the first connection.
    pub(super) lease: Option<Lease>,
    /// Whether the lease was found to be over when it was looked at last.
    pub(super) fenced: bool,
    pub(super) limits: OutboxLimits,
    pub(super) lanes: Lanes,
    /// Bytes in all outboxes.
    pub(super) bytes: usize,
    /// How long messages take.
    pub(super) sampler: Sampler,
    /// Working space for what other nodes have settled.
    pub(super) settled: Vec<OwedPlace>,
    /// Working space for PUBACKs that are due.
    pub(super) pubacks: Vec<u8>,
    /// Working space for encoding; taken and put back by its users.
    pub scratch: Vec<u8>,
    /// The time of day, read at most once per chunk.
    time: Option<Timestamp>,
    wake: Option<std::task::Waker>,
    /// The flusher is at work, or will be: no need to wake it again.
    pub(super) woken: bool,
}

impl LaneState {
    /// An empty lane.
    pub fn new(number: u16, lanes: Lanes, limits: OutboxLimits, forwarding: Arc<Forwarding>) -> Self {
        Self {
            number,
            outboxes: Vec::new(),
            first_generation: rand::random(),
            free: Vec::new(),
            dirty: Vec::new(),
            pool: BufferPool::default(),
            wheel: Wheel::default(),
            outgoing: lanes.iter().map(|_| Batch::default()).collect(),
            nodes: Outgoing::new(number, forwarding),
            congested: false,
            slowed: Vec::new(),
            lease: None,
            fenced: false,
            limits,
            lanes,
            bytes: 0,
            sampler: Sampler::default(),
            settled: Vec::new(),
            pubacks: Vec::new(),
            scratch: Vec::new(),
            time: None,
            wake: None,
            woken: false,
        }
    }

    /// The handle of this lane.
    pub fn handle(&self) -> &LaneHandle {
        &self.lanes[usize::from(self.number)]
    }

    /// The slot of a connection of this lane.
    pub(super) fn slot(&self, target: Target) -> Slot {
        Slot { lane: self.number, index: target.index, generation: target.generation }
    }

    /// All lanes of the node.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The current tick of the lane's wheel.
    pub fn tick(&self) -> u32 {
        self.wheel.now()
    }

    /// A new chunk is being handled: the time is read again when somebody asks.
    pub fn start_chunk(&mut self) {
        self.time = None;
    }

    /// The time of day, as exact as the chunk being handled.
    pub fn time(&mut self) -> Timestamp {
        *self.time.get_or_insert_with(clock::now)
    }

    /// Who flushes this lane.
    pub(super) fn set_waker(&mut self, waker: &std::task::Waker) {
        if !self.wake.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.wake = Some(waker.clone());
        }
    }

    pub(super) fn wake_flusher(&mut self) {
        if std::mem::replace(&mut self.woken, true) {
            return;
        }
        if let Some(waker) = &self.wake {
            waker.wake_by_ref();
        }
    }

    /// Gives a new connection a place. It must be given back with [`Self::remove`].
    pub fn insert(&mut self, link: Rc<Link>) -> Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.outboxes.push(Outbox::free(self.first_generation));
            u32::try_from(self.outboxes.len() - 1).expect("a lane has fewer than 2^32 connections")
        });
        let tick = self.wheel.now();
        let outbox = &mut self.outboxes[index as usize];
        outbox.link = Some(link);
        outbox.deadlines.opened_tick = tick;
        outbox.deadlines.last_read_tick = tick;
        let generation = outbox.generation;
        self.wheel.schedule((index, generation), 1);
        let counters = &self.handle().counters;
        counters.connections_open.add(1);
        counters.connections_accepted.add(1);
        Slot { lane: self.number, index, generation }
    }

    /// Frees the place of a connection; what was still to be written is dropped.
    pub fn remove(&mut self, slot: Slot) {
        let Some(outbox) = self.get(Target::from(slot)) else { return };
        let bytes = outbox.bytes();
        *outbox = Outbox::free(slot.generation.wrapping_add(1));
        self.bytes -= bytes;
        self.forget_sample(Target::from(slot));
        self.free.push(slot.index);
        let open = &self.handle().counters.connections_open;
        open.set(open.get().saturating_sub(1));
    }

    /// The outbox of a connection, unless it is gone.
    pub fn get(&mut self, target: Target) -> Option<&mut Outbox> {
        self.outboxes
            .get_mut(target.index as usize)
            .filter(|outbox| outbox.generation == target.generation && outbox.link.is_some())
    }

    /// All connections of the lane.
    pub fn targets(&self) -> Vec<Target> {
        let used = self.outboxes.iter().enumerate().filter(|(_, outbox)| outbox.link.is_some());
        used.map(|(index, outbox)| Target {
            index: u32::try_from(index).expect("a lane has fewer than 2^32 connections"),
            generation: outbox.generation,
        })
        .collect()
    }

    pub(super) fn outbox_at(&mut self, index: u32) -> &mut Outbox {
        &mut self.outboxes[index as usize]
    }

    /// Tells the flusher that the connection has something to write.
    pub fn mark_dirty(&mut self, index: u32) {
        let outbox = &mut self.outboxes[index as usize];
        if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(index);
            self.wake_flusher();
        }
    }

    /// Adjusts the count of bytes in outboxes by what was just written.
    pub(super) fn note_written(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.handle().counters.bytes_sent.add(bytes as u64);
    }

    pub(super) fn publish_gauges(&self) {
        self.handle().counters.outbox_bytes.set(self.bytes as u64);
    }

    /// Adjusts the count of bytes in outboxes by what a panic has dropped.
    pub(super) fn note_lost(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// Makes the list of connections to be written anew from their marks.
    pub(super) fn collect_dirty(&mut self) {
        let marked = self.outboxes.iter().zip(0..).filter(|(outbox, _)| outbox.dirty);
        self.dirty = marked.map(|(_, index)| index).collect();
    }

    /// Unwritten bytes of one connection, at most. Honest clients cannot come near: QoS 0 messages stop at their own
    /// limit, and unacknowledged ones, even sent twice, at that of the window. It is for those that do not read and yet
    /// send acknowledgements or requests.
    pub(super) fn output_limit(&self) -> usize {
        self.limits.plain_bytes_max + 2 * self.limits.window.bytes_max
    }

    pub(super) fn plain_limit(&self) -> usize {
        if self.bytes > self.limits.lane_bytes_max {
            self.limits.overloaded_bytes_max
        } else {
            self.limits.plain_bytes_max
        }
    }

    pub(super) fn window_limits(&self) -> WindowLimits {
        let mut limits = self.limits.window;
        if self.bytes > self.limits.lane_bytes_max {
            limits.bytes_max = limits.bytes_max.min(self.limits.overloaded_bytes_max);
        }
        limits
    }

    /// The connection is not read until the next tick: it publishes too often.
    pub fn slow_down(&mut self, slot: Slot) {
        self.handle().counters.publishers_slowed.add(1);
        self.slowed.push(Target::from(slot));
    }

    /// Lets those go on that were slowed down.
    pub(super) fn resume_slowed(&mut self) {
        for target in std::mem::take(&mut self.slowed) {
            if let Some(link) = self.get(target).and_then(|outbox| outbox.link.as_ref()) {
                link.resume();
            }
        }
    }

    /// Wakes every connection of the lane, so that it reads again.
    pub(super) fn wake_all(&mut self) {
        for outbox in &self.outboxes {
            if let Some(link) = &outbox.link {
                link.wake();
            }
        }
    }
}

impl From<Slot> for Target {
    fn from(slot: Slot) -> Self {
        Self { index: slot.index, generation: slot.generation }
    }
}

//! What one arbiter thread keeps for its connections: the slab of outboxes, and how messages get into them.

use std::rc::Rc;
use std::sync::Arc;

use super::buffer::BufferPool;
use super::frame::{AcknowledgedFrame, SharedPayload};
use super::inbox::{Batch, Control, Delivery, LaneHandle, Lanes, Target};
use super::link::Link;
use super::outbox::{HeldMessage, Outbox};
use super::wheel::Wheel;
use crate::actors::close::CloseReason;
use crate::actors::slot::Slot;
use crate::clock;
use crate::domain::timestamp::Timestamp;
use crate::domain::window::{Offer, WindowLimits};
use crate::mqtt::packet::acknowledge::encode_puback;
use crate::mqtt::qos::PacketIdentifier;

/// The DUP bit in the first byte of a PUBLISH.
const DUP_FLAG: u8 = 0x08;

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
    outboxes: Vec<Outbox>,
    free: Vec<u32>,
    pub(super) dirty: Vec<u32>,
    pub(super) pool: BufferPool,
    pub(super) wheel: Wheel,
    /// What the other lanes are still to get, by lane number.
    pub(super) outgoing: Vec<Batch>,
    pub(super) congested: bool,
    limits: OutboxLimits,
    lanes: Lanes,
    /// Bytes in all outboxes.
    bytes: usize,
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
    pub fn new(number: u16, lanes: Lanes, limits: OutboxLimits) -> Self {
        Self {
            number,
            outboxes: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            pool: BufferPool::default(),
            wheel: Wheel::default(),
            outgoing: lanes.iter().map(|_| Batch::default()).collect(),
            congested: false,
            limits,
            lanes,
            bytes: 0,
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

    fn wake_flusher(&mut self) {
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
            self.outboxes.push(Outbox::free(0));
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

    fn plain_limit(&self) -> usize {
        if self.bytes > self.limits.lane_bytes_max {
            self.limits.overloaded_bytes_max
        } else {
            self.limits.plain_bytes_max
        }
    }

    fn window_limits(&self) -> WindowLimits {
        let mut limits = self.limits.window;
        if self.bytes > self.limits.lane_bytes_max {
            limits.bytes_max = limits.bytes_max.min(self.limits.overloaded_bytes_max);
        }
        limits
    }

    /// Puts a control packet (CONNACK, SUBACK, PINGRESP …), encoded by `encode`, into the connection's outbox.
    pub fn send_control(&mut self, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode(&mut scratch);
        let pool = &mut self.pool;
        if let Some(outbox) =
            self.outboxes.get_mut(slot.index as usize).filter(|outbox| outbox.generation == slot.generation)
        {
            outbox.output.push_copied(pool, &scratch);
            self.bytes += scratch.len();
            self.mark_dirty(slot.index);
        }
        self.scratch = scratch;
    }

    /// Puts a QoS 0 message into the outbox of a connection of this lane, or drops it if the outbox is full.
    pub fn deliver_plain(&mut self, target: Target, head: &[u8], payload: &SharedPayload) {
        let limit = self.plain_limit();
        let Some(outbox) = self
            .outboxes
            .get_mut(target.index as usize)
            .filter(|outbox| outbox.generation == target.generation && outbox.link.is_some())
        else {
            return;
        };
        let bytes = head.len() + payload.as_ref().map_or(0, |payload| payload.len());
        if outbox.output.pending_bytes() + outbox.held_bytes + bytes > limit {
            self.handle().counters.messages_dropped_outbox_full.add(1);
            return;
        }
        self.bytes += bytes;
        if let Some(held) = &mut outbox.held {
            held.push(HeldMessage::Plain(Arc::from(head), payload.clone()));
            outbox.held_bytes += bytes;
            return;
        }
        outbox.output.push_copied(&mut self.pool, head);
        if let Some(payload) = payload {
            outbox.output.push_shared(Arc::clone(payload));
        }
        self.handle().counters.messages_sent.add(1);
        self.mark_dirty(target.index);
    }

    /// Puts a QoS 1 message into the window of a connection of this lane; a session whose queue is full is closed.
    pub fn deliver_acknowledged(&mut self, target: Target, frame: &AcknowledgedFrame) {
        let (limits, tick) = (self.window_limits(), self.wheel.now());
        let Some(outbox) = self.get(target) else { return };
        let bytes = frame.bytes();
        if outbox.held.is_some() {
            let full = outbox.held_bytes + bytes > limits.bytes_max;
            if let Some(held) = outbox.held.as_mut().filter(|_| !full) {
                held.push(HeldMessage::Acknowledged(frame.clone()));
                outbox.held_bytes += bytes;
                self.bytes += bytes;
            } else {
                self.close_slow(target);
            }
            return;
        }
        match outbox.acknowledgements().window.offer(|| frame.clone(), bytes, tick, &limits) {
            Offer::Send(packet_identifier) => {
                self.bytes += bytes;
                self.write_acknowledged(target.index, frame, packet_identifier, 0);
            }
            Offer::Queued => self.bytes += bytes,
            Offer::Full => self.close_slow(target),
        }
    }

    fn close_slow(&mut self, target: Target) {
        self.handle().counters.sessions_closed_slow.add(1);
        if let Some(link) = self.get(target).and_then(|outbox| outbox.link.clone()) {
            link.request_close(CloseReason::SlowSubscriber);
        }
    }

    fn write_acknowledged(
        &mut self,
        index: u32,
        frame: &AcknowledgedFrame,
        packet_identifier: u16,
        flags: u8,
    ) {
        let outbox = &mut self.outboxes[index as usize];
        let at = frame.packet_identifier_at as usize;
        outbox.output.push_patched(&mut self.pool, &frame.head, at, packet_identifier, flags);
        if let Some(payload) = &frame.payload {
            outbox.output.push_shared(Arc::clone(payload));
        }
        self.bytes += frame.bytes();
        self.handle().counters.messages_sent.add(1);
        self.mark_dirty(index);
    }

    /// Takes a PUBACK of the client and sends what the window has room for now.
    pub fn acknowledged(&mut self, slot: Slot, packet_identifier: u16) {
        let (limits, tick) = (self.limits.window, self.wheel.now());
        let target = Target::from(slot);
        let Some(window) = self
            .get(target)
            .and_then(|outbox| outbox.acknowledgements.as_mut())
            .map(|state| &mut state.window)
        else {
            return;
        };
        let before = window.bytes();
        window.acknowledge(packet_identifier);
        let freed = before - window.bytes();
        self.bytes -= freed;
        while let Some((packet_identifier, frame)) = self
            .get(target)
            .and_then(|outbox| outbox.acknowledgements.as_mut())
            .and_then(|state| state.window.next_to_send(tick, &limits))
            .map(|(packet_identifier, frame)| (packet_identifier, frame.clone()))
        {
            self.write_acknowledged(target.index, &frame, packet_identifier, 0);
        }
    }

    /// Sends again what the client has not acknowledged for too long, if all that was written before has left.
    pub(super) fn redeliver(&mut self, target: Target) {
        let (tick, age) = (self.wheel.now(), self.limits.redelivery_ticks);
        let Some(outbox) = self.get(target).filter(|outbox| age > 0 && outbox.output.is_empty()) else {
            return;
        };
        let Some(state) = &mut outbox.acknowledgements else { return };
        state.window.shrink();
        let overdue: Vec<_> =
            state.window.overdue(tick, age).map(|(identifier, frame)| (identifier, frame.clone())).collect();
        self.handle().counters.messages_redelivered.add(overdue.len() as u64);
        for (packet_identifier, frame) in overdue {
            self.write_acknowledged(target.index, &frame, packet_identifier, DUP_FLAG);
        }
    }

    /// Answers a PUBLISH with PUBACK, in order: after those that wait for the disk.
    pub fn send_puback(&mut self, slot: Slot, packet_identifier: PacketIdentifier) {
        let Some(outbox) = self.get(Target::from(slot)) else { return };
        match outbox.acknowledgements.as_mut().filter(|state| !state.owed.is_empty()) {
            Some(state) => state
                .owed
                .push_back(super::outbox::OwedAcknowledgement { packet_identifier, waits_for: None }),
            None => self.send_control(slot, |out| {
                encode_puback(out, packet_identifier);
            }),
        }
    }

    /// The disk has what publish number `sequence` waited for: sends the PUBACKs that are due now.
    pub fn stored(&mut self, slot: Slot, sequence: u64) {
        let mut due = Vec::new();
        let Some(outbox) = self.get(Target::from(slot)) else { return };
        let Some(state) = outbox.acknowledgements.as_mut() else { return };
        if let Some(owed) = state.owed.iter_mut().find(|owed| owed.waits_for == Some(sequence)) {
            owed.waits_for = None;
        }
        while let Some(owed) = state.owed.pop_front_if(|owed| owed.waits_for.is_none()) {
            due.push(owed.packet_identifier);
        }
        if let Some(link) = &outbox.link
            && link.read_again_at.get().is_some_and(|owed_max| state.owed.len() <= owed_max)
        {
            link.read_again_at.set(None);
            link.wake();
        }
        self.send_control(slot, |out| {
            for packet_identifier in due {
                encode_puback(out, packet_identifier);
            }
        });
    }

    /// From now on messages for the connection wait, until [`Self::release`]: its SUBACK must come first, and
    /// stored messages before newer ones.
    pub fn hold(&mut self, slot: Slot) {
        if let Some(outbox) = self.get(Target::from(slot)) {
            outbox.held.get_or_insert_default();
        }
    }

    /// Delivers what was held back.
    pub fn release(&mut self, slot: Slot) {
        let target = Target::from(slot);
        let Some(outbox) = self.get(target) else { return };
        let held = outbox.held.take().unwrap_or_default();
        let bytes = std::mem::take(&mut outbox.held_bytes);
        self.bytes -= bytes;
        for message in held {
            match message {
                HeldMessage::Plain(head, payload) => self.deliver_plain(target, &head, &payload),
                HeldMessage::Acknowledged(frame) => self.deliver_acknowledged(target, &frame),
            }
        }
    }

    /// Collects a QoS 0 message for connections of another lane; handed over at the end of the turn.
    pub fn transfer_plain(
        &mut self,
        lane: u16,
        head: &[u8],
        payload: &SharedPayload,
        targets: &Arc<[Target]>,
    ) {
        self.outgoing[usize::from(lane)].push_plain(head, payload, targets);
        self.wake_flusher();
    }

    /// Collects a QoS 1 message for connections of another lane; handed over at the end of the turn, before any
    /// PUBACK of the same turn is written.
    pub fn transfer_acknowledged(&mut self, lane: u16, frame: &AcknowledgedFrame, targets: &Arc<[Target]>) {
        self.outgoing[usize::from(lane)].push_acknowledged(frame, targets);
        self.wake_flusher();
    }

    /// Whether another lane is too far behind to take more: sockets of this lane are not read meanwhile.
    pub fn congested(&self) -> bool {
        self.congested
    }

    pub(super) fn hand_over(&mut self) {
        self.congested = false;
        for (number, batch) in self.outgoing.iter_mut().enumerate() {
            if batch.deliveries.is_empty() {
                continue;
            }
            if let Err(batch_back) = self.lanes[number].offer(std::mem::take(batch), self.number) {
                *batch = batch_back;
                self.congested = true;
            }
        }
    }

    pub(super) fn tell_refused(&self, lanes: &[u16]) {
        for lane in lanes {
            self.lanes[usize::from(*lane)].control(Control::Uncongested);
        }
    }

    pub(super) fn deliver_batch(&mut self, batch: &Batch) {
        for delivery in &batch.deliveries {
            match delivery {
                Delivery::Plain { start, end, payload, targets } => {
                    for target in targets.iter() {
                        self.deliver_plain(*target, &batch.arena[*start..*end], payload);
                    }
                }
                Delivery::Acknowledged { frame, targets } => {
                    for target in targets.iter() {
                        self.deliver_acknowledged(*target, frame);
                    }
                }
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

    /// Looks at one connection when its tick has come, and says when to look again.
    pub(super) fn check_deadlines(&mut self, target: Target) {
        let tick = self.wheel.now();
        let Some(outbox) = self.get(target) else { return };
        let Some(link) = outbox.link.clone() else { return };
        let deadlines = outbox.deadlines;
        let open = tick.wrapping_sub(deadlines.opened_tick);
        let silent = tick.wrapping_sub(deadlines.last_read_tick);
        if deadlines.handshake_ticks_max > 0 && open >= deadlines.handshake_ticks_max {
            link.request_close(CloseReason::ConnectTimeout);
            return;
        }
        if deadlines.silence_ticks_max > 0 && silent >= deadlines.silence_ticks_max && !link.paused.get() {
            self.handle().counters.keep_alive_timeouts.add(1);
            link.request_close(CloseReason::KeepAliveTimeout);
            return;
        }
        self.redeliver(target);
        let next = [
            deadlines.handshake_ticks_max.checked_sub(open),
            deadlines.silence_ticks_max.checked_sub(silent).filter(|_| deadlines.silence_ticks_max > 0),
            Some(CHECK_TICKS_MAX),
        ];
        let next = next.into_iter().flatten().filter(|ticks| *ticks > 0).min().unwrap_or(1);
        self.wheel.schedule((target.index, target.generation), next);
    }
}

/// Every connection is looked at after so many ticks at the latest.
const CHECK_TICKS_MAX: u32 = 30;

impl From<Slot> for Target {
    fn from(slot: Slot) -> Self {
        Self { index: slot.index, generation: slot.generation }
    }
}

//! How messages and control packets get into the outboxes of a lane, and what happens when one is full.

use std::sync::Arc;

use super::frame::{AcknowledgedFrame, SharedPayload};
use super::inbox::Target;
use super::outbox::HeldMessage;
use super::state::LaneState;
use crate::actors::close::CloseReason;
use crate::actors::slot::Slot;
use crate::domain::window::Offer;

impl LaneState {
    /// Puts a control packet (CONNACK, SUBACK, PINGRESP …), encoded by `encode`, into the connection's outbox.
    pub fn send_control(&mut self, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode(&mut scratch);
        let limit = self.output_limit();
        let pool = &mut self.pool;
        if let Some(outbox) =
            self.outboxes.get_mut(slot.index as usize).filter(|outbox| outbox.generation == slot.generation)
        {
            outbox.output.push_copied(pool, &scratch);
            let full = outbox.output.pending_bytes() > limit;
            self.bytes += scratch.len();
            self.mark_dirty(slot.index);
            if full {
                self.close_slow(slot.into());
            }
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
        self.sample_delivered(target.index);
        self.mark_dirty(target.index);
    }

    /// Puts a QoS 1 message into the window of a connection of this lane; a session whose queue is full is closed.
    pub fn deliver_acknowledged(&mut self, target: Target, frame: &AcknowledgedFrame) {
        let (limits, tick) = (self.window_limits(), self.wheel.now());
        let Some(outbox) = self.get(target) else { return };
        let bytes = frame.bytes();
        if outbox.held.is_some() {
            let messages = outbox.held.as_ref().map_or(0, Vec::len);
            let full = outbox.held_bytes + bytes > limits.bytes_max || messages >= limits.messages_max;
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

    /// Whether the queue of a session takes a stored message: they fill half of it at most, so that live messages find
    /// room behind them.
    pub fn has_room_for_stored(&mut self, target: Target, bytes: usize) -> bool {
        let limits = self.window_limits();
        let Some(outbox) = self.get(target) else { return false };
        let Some(state) = &outbox.acknowledgements else { return bytes <= limits.bytes_max / 2 };
        let messages = state.window.in_flight_messages() + state.window.waiting_messages();
        messages < limits.messages_max.div_ceil(2) && state.window.bytes() + bytes <= limits.bytes_max / 2
    }

    pub(super) fn close_slow(&mut self, target: Target) {
        let Some(link) = self.get(target).and_then(|outbox| outbox.link.clone()) else { return };
        // Further messages may come before the connection has ended.
        if link.request_close(CloseReason::SlowSubscriber) {
            self.handle().counters.sessions_closed_slow.add(1);
        }
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
}

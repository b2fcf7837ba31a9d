//! QoS 1 in both directions: what a client has still to acknowledge, and what is owed to it.

use std::sync::Arc;

use super::frame::AcknowledgedFrame;
use super::inbox::Target;
use super::outbox::OwedAcknowledgement;
use super::state::LaneState;
use crate::actors::slot::Slot;
use crate::mqtt::packet::acknowledge::encode_puback;
use crate::mqtt::qos::PacketIdentifier;

/// The DUP bit in the first byte of a PUBLISH.
const DUP_FLAG: u8 = 0x08;

impl LaneState {
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

    /// Answers a PUBLISH with PUBACK, in order: after those that wait for the disk, if any. The socket is not read
    /// while `owed_max` or more are owed.
    pub fn send_puback(&mut self, slot: Slot, packet_identifier: PacketIdentifier, owed_max: usize) {
        let Some(outbox) = self.get(Target::from(slot)) else { return };
        if outbox.acknowledgements.as_ref().is_some_and(|state| !state.owed.is_empty()) {
            outbox.owe(OwedAcknowledgement { packet_identifier, waits_for: None }, owed_max);
        } else {
            self.send_control(slot, |out| {
                encode_puback(out, packet_identifier);
            });
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

    pub(super) fn write_acknowledged(
        &mut self,
        index: u32,
        frame: &AcknowledgedFrame,
        packet_identifier: u16,
        flags: u8,
    ) {
        let limit = self.output_limit();
        let outbox = &mut self.outboxes[index as usize];
        let at = frame.packet_identifier_at as usize;
        outbox.output.push_patched(&mut self.pool, &frame.head, at, packet_identifier, flags);
        if let Some(payload) = &frame.payload {
            outbox.output.push_shared(Arc::clone(payload));
        }
        let full = outbox.output.pending_bytes() > limit;
        let target = Target { index, generation: outbox.generation };
        self.bytes += frame.bytes();
        self.handle().counters.messages_sent.add(1);
        self.mark_dirty(index);
        if full {
            self.close_slow(target);
        }
    }
}

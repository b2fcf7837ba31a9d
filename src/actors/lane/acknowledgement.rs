//! QoS 1 in both directions: what a client has still to acknowledge, and what is owed to it.

use std::sync::Arc;

use super::frame::AcknowledgedFrame;
use super::inbox::Target;
use super::outbox::OwedAcknowledgement;
use super::state::LaneState;
use crate::actors::forward::outgoing::OwedPlace;
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

    /// The place that the PUBACK of a PUBLISH will have among those that are owed, if it has to be owed.
    pub fn next_owed(&mut self, slot: Slot) -> Option<OwedPlace> {
        let target = Target::from(slot);
        self.get(target).map(|outbox| OwedPlace { target, number: outbox.next_owed() })
    }

    /// Answers a PUBLISH with PUBACK, in order: when the `missing` that have still to take the message have settled
    /// [`Self::next_owed`], and after all that are owed already. The socket is not read while `owed_max` or more are owed.
    pub fn send_puback(
        &mut self,
        slot: Slot,
        packet_identifier: PacketIdentifier,
        missing: u16,
        owed_max: usize,
    ) {
        let target = Target::from(slot);
        let Some(outbox) = self.get(target) else { return };
        let is_next = outbox.acknowledgements.as_ref().is_none_or(|state| state.owed.is_empty());
        if is_next && missing == 0 {
            self.send_control(slot, |out| {
                encode_puback(out, packet_identifier);
            });
        } else {
            outbox.owe(OwedAcknowledgement { packet_identifier, missing }, owed_max);
        }
    }

    /// One of those that an owed PUBACK waits for has the message. Sends the PUBACKs that are due now.
    pub fn settle(&mut self, owed: OwedPlace) {
        let Some(state) = self.get(owed.target).and_then(|outbox| outbox.acknowledgements.as_mut()) else {
            return;
        };
        if state.settle(owed.number) {
            self.send_due(owed.target);
        }
    }

    /// Sends the PUBACKs that wait for nothing any more.
    fn send_due(&mut self, target: Target) {
        let mut pubacks = std::mem::take(&mut self.pubacks);
        pubacks.clear();
        if let Some(outbox) = self.get(target) {
            let (link, state) = (outbox.link.clone(), outbox.acknowledgements());
            while let Some(owed) = state.owed.pop_front_if(|owed| owed.missing == 0) {
                state.first_owed = state.first_owed.wrapping_add(1);
                encode_puback(&mut pubacks, owed.packet_identifier);
            }
            if let Some(link) = link
                && link.read_again_at.get().is_some_and(|owed_max| state.owed.len() <= owed_max)
            {
                link.read_again_at.set(None);
                link.wake();
            }
        }
        self.send_control(self.slot(target), |out| out.extend_from_slice(&pubacks));
        self.pubacks = pubacks;
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
        self.sample_delivered(index);
        self.mark_dirty(index);
        if full {
            self.close_slow(target);
        }
    }
}

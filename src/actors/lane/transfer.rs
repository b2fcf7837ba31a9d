//! Between lanes: collecting for another one during a turn, handing over at its end, and taking in.

use std::sync::Arc;

use super::frame::{AcknowledgedFrame, SharedPayload};
use super::inbox::{Batch, Control, Delivery, Target};
use super::state::LaneState;

impl LaneState {
    /// Collects a QoS 0 message for connections of another lane; handed over at the end of the turn.
    pub fn transfer_plain(
        &mut self,
        lane: u16,
        head: &[u8],
        payload: &SharedPayload,
        targets: &Arc<[Target]>,
    ) {
        let followed = self.hand_on_sample();
        let batch = &mut self.outgoing[usize::from(lane)];
        batch.follow_next(followed);
        batch.push_plain(head, payload, targets);
        self.wake_flusher();
    }

    /// Collects a QoS 1 message for connections of another lane; handed over at the end of the turn, before any
    /// PUBACK of the same turn is written.
    pub fn transfer_acknowledged(&mut self, lane: u16, frame: &AcknowledgedFrame, targets: &Arc<[Target]>) {
        let followed = self.hand_on_sample();
        let batch = &mut self.outgoing[usize::from(lane)];
        batch.follow_next(followed);
        batch.push_acknowledged(frame, targets);
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
        for (place, delivery) in batch.deliveries.iter().enumerate() {
            let followed = batch.followed.filter(|(followed, _)| *followed == place);
            if let Some((_, read_at)) = followed {
                self.take_sample(read_at);
            }
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
            if followed.is_some() {
                self.end_sample();
            }
        }
    }
}

//! SUBSCRIBE and UNSUBSCRIBE: asked of the registry actor, answered when it has decided.
//!
//! Reading pauses meanwhile, so that a PUBLISH sent after the SUBSCRIBE meets the new subscription. Messages for the
//! session are held back, so that the SUBACK goes first, then stored messages, then live ones.

use actix::prelude::{AsyncContext, Context};

use super::session::Session;
use super::{ConnectionActor, Flow};
use crate::actors::activity::Activity;
use crate::actors::lane::frame::{OutgoingPayload, encode_acknowledged, encode_plain};
use crate::actors::lane::{LaneState, Target};
use crate::actors::log;
use crate::actors::post::post;
use crate::actors::registry::{StoredDelivery, Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use crate::actors::slot::Slot;
use crate::mqtt::packet::subscribe::{SubackCode, SubscribeRef, encode_suback};
use crate::mqtt::packet::unsubscribe::{UnsubscribeRef, encode_unsuback};
use crate::mqtt::qos::{PacketIdentifier, QoS};

impl Session {
    pub(super) fn subscribe(
        &mut self,
        lane: &mut LaneState,
        slot: Slot,
        packet: &SubscribeRef<'_>,
        context: &Context<ConnectionActor>,
    ) -> Flow {
        self.note(lane, Activity::Subscribe);
        lane.hold(slot);
        let requests: Vec<(Box<str>, QoS)> = packet
            .requests()
            .map(|request| (request.filter.into(), request.qos.min(QoS::AtLeastOnce)))
            .collect();
        let count = requests.len();
        let message = Subscribe {
            slot,
            packet_identifier: packet.packet_identifier,
            requests,
            reply_to: context.address(),
        };
        if post(&self.registry, message).is_ok() {
            return Flow::Pause;
        }
        // The registry is overloaded: refusing is honest, and the client may ask again.
        let refused = vec![SubackCode::Failure; count];
        send_suback(lane, slot, packet.packet_identifier, refused);
        lane.release(slot);
        Flow::Continue
    }

    pub(super) fn unsubscribe(
        &mut self,
        lane: &mut LaneState,
        slot: Slot,
        packet: &UnsubscribeRef<'_>,
        context: &Context<ConnectionActor>,
    ) -> Flow {
        self.note(lane, Activity::Subscribe);
        let message = Unsubscribe {
            slot,
            packet_identifier: packet.packet_identifier,
            filters: packet.filters().map(Into::into).collect(),
            reply_to: context.address(),
        };
        if post(&self.registry, message).is_ok() {
            return Flow::Pause;
        }
        // UNSUBACK cannot refuse (MQTT-3.10.4-4), so the session ends with what it could not end.
        lane.handle().counters.sessions_closed_slow.add(1);
        Flow::Close(crate::actors::close::CloseReason::Internal)
    }

    /// The registry actor has decided on a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, lane: &mut LaneState, slot: Slot, message: &Subscribed) {
        let refused: Vec<&str> = message
            .requests
            .iter()
            .zip(&message.codes)
            .filter(|(_, code)| **code == SubackCode::Failure)
            .map(|((filter, _), _)| &**filter)
            .collect();
        if !refused.is_empty() {
            lane.handle().counters.filters_refused.add(refused.len() as u64);
            log::subscriptions_refused(&self.identity, &self.client_id, &refused);
        }
        send_suback(lane, slot, message.packet_identifier, message.codes.iter().copied());
        lane.send_stored(slot, &message.stored);
        lane.release(slot);
    }
}

fn send_suback(
    lane: &mut LaneState,
    slot: Slot,
    packet_identifier: PacketIdentifier,
    codes: impl IntoIterator<Item = SubackCode>,
) {
    lane.send_control(slot, |out| {
        encode_suback(out, packet_identifier, codes)
            .expect("a SUBACK is shorter than the SUBSCRIBE it answers");
    });
}

/// The registry actor has ended subscriptions.
pub(super) fn unsubscribed(lane: &mut LaneState, slot: Slot, message: &Unsubscribed) {
    lane.send_control(slot, |out| encode_unsuback(out, message.packet_identifier));
}

impl LaneState {
    /// Sends stored messages, past those that are held back.
    fn send_stored(&mut self, slot: Slot, stored: &[StoredDelivery]) {
        let target = Target::from(slot);
        let mut scratch = std::mem::take(&mut self.scratch);
        let held = self.get(target).and_then(|outbox| outbox.held.take());
        for message in stored {
            let payload = OutgoingPayload::new(&message.payload);
            if message.qos == QoS::AtMostOnce {
                let shared = encode_plain(&mut scratch, &message.name, &payload, message.retain);
                self.deliver_plain(target, &scratch, &shared);
            } else {
                let frame = encode_acknowledged(&mut scratch, &message.name, &payload, message.retain);
                self.deliver_acknowledged(target, &frame);
            }
        }
        if let Some(outbox) = self.get(target) {
            outbox.held = held;
        }
        self.scratch = scratch;
    }
}

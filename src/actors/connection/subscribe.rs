//! SUBSCRIBE and UNSUBSCRIBE: asked of the registry actor, answered when all nodes that serve have followed.
//!
//! Reading pauses meanwhile, so that a PUBLISH sent after the SUBSCRIBE meets the new subscription. Messages for the
//! session are held back, so that the SUBACK goes first, then stored messages, then live ones.

use std::sync::Arc;

use actix::prelude::{AsyncContext, Context};
use smol_str::SmolStr;

use super::session::Session;
use super::{ConnectionActor, Flow};
use crate::actors::activity::Activity;
use crate::actors::environment::Environment;
use crate::actors::lane::frame::{OutgoingPayload, encode_acknowledged, encode_plain};
use crate::actors::lane::{LaneState, Target};
use crate::actors::log;
use crate::actors::post::{offer, post};
use crate::actors::registry::{StoredDelivery, Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use crate::actors::reply::Reply;
use crate::actors::slot::Slot;
use crate::clock;
use crate::mqtt::packet::subscribe::{SubackCode, SubscribeRef, encode_suback};
use crate::mqtt::packet::unsubscribe::{UnsubscribeRef, encode_unsuback};
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::observe::traces;

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
        let requests: Vec<(SmolStr, QoS)> = packet
            .requests()
            .map(|request| (request.filter.into(), request.qos.min(QoS::AtLeastOnce)))
            .collect();
        let message = Subscribe {
            tenure: Arc::clone(&self.tenure),
            packet_identifier: packet.packet_identifier,
            requests,
            at: clock::monotonic(),
            span: traces::subscribe(packet.requests().count()),
            reply: Reply::new(context.address(), lane.lanes(), slot),
        };
        let Err((_, message)) = offer(&self.registry, message) else { return Flow::Pause };
        // The registry is overloaded: refusing is honest, and the client may ask again.
        message.reply.release();
        let refused = message.requests.iter().map(|_| SubackCode::Failure);
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
            tenure: Arc::clone(&self.tenure),
            packet_identifier: packet.packet_identifier,
            filters: packet.filters().map(Into::into).collect(),
            reply: Reply::new(context.address(), lane.lanes(), slot),
        };
        // UNSUBACK cannot refuse (MQTT-3.10.4-4), so the session ends with what it could not end: the reply sees to it.
        let _ = post(&self.registry, message);
        Flow::Pause
    }

    /// The registry actor has decided on a SUBSCRIBE.
    pub(super) fn subscribed(
        &mut self,
        lane: &mut LaneState,
        environment: &Environment,
        slot: Slot,
        message: &Subscribed,
    ) {
        environment.subscribe_times.record(message.at.elapsed());
        let refused: Vec<&str> = message
            .requests
            .iter()
            .zip(&message.codes)
            .filter(|(_, code)| **code == SubackCode::Failure)
            .map(|((filter, _), _)| filter.as_str())
            .collect();
        if !refused.is_empty() {
            lane.handle().counters.filters_refused.add(refused.len() as u64);
            log::subscriptions_refused(environment, &self.identity, &refused);
        }
        send_suback(lane, slot, message.packet_identifier, message.codes.iter().copied());
        let left_out = lane.send_stored(slot, &message.stored);
        if left_out > 0 {
            lane.handle().counters.stored_messages_left_out.add(left_out as u64);
            log::stored_messages_left_out(environment, &self.identity, left_out);
        }
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
    /// Sends stored messages, past those that are held back. Returns how many were left out because the session's
    /// queue has no room for them: closing it would only make the client ask again, for ever.
    pub(super) fn send_stored(&mut self, slot: Slot, stored: &[StoredDelivery]) -> usize {
        let mut left_out = 0;
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
                if self.has_room_for_stored(target, frame.bytes()) {
                    self.deliver_acknowledged(target, &frame);
                } else {
                    left_out += 1;
                }
            }
        }
        if let Some(outbox) = self.get(target) {
            outbox.held = held;
        }
        self.scratch = scratch;
        left_out
    }
}

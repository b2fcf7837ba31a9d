//! PUBLISH: from the packet to the outboxes of its subscribers, or to the disk.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::Flow;
use super::session::{Session, Will};
use crate::actors::activity::Activity;
use crate::actors::close::CloseReason;
use crate::actors::environment::Environment;
use crate::actors::lane::frame::OutgoingPayload;
use crate::actors::lane::outbox::OwedAcknowledgement;
use crate::actors::lane::{Control, LaneState, Target};
use crate::actors::permanent;
use crate::actors::routes::{self, Route};
use crate::actors::slot::Slot;
use crate::domain::resolve::PublishRefusal;
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::qos::QoS;

impl Session {
    /// Handles one PUBLISH of the client.
    pub(super) fn publish(
        &mut self,
        environment: &Arc<Environment>,
        lane: &mut LaneState,
        slot: Slot,
        packet: &PublishRef<'_>,
    ) -> Flow {
        lane.handle().counters.messages_received.add(1);
        if packet.qos == QoS::ExactlyOnce {
            return Flow::Close(CloseReason::QosTwo);
        }
        if packet.payload.len() > environment.settings.payload_bytes_max {
            return Flow::Close(CloseReason::MessageTooLarge);
        }
        let route = match self.route(environment, lane, packet.topic) {
            Ok(route) => route,
            Err(_) => {
                lane.handle().counters.publishes_refused.add(1);
                return Flow::Close(CloseReason::PublishNotAllowed { topic: packet.topic.into() });
            }
        };
        self.note(lane, Activity::Publish);
        if route.topic.is_permanent() {
            return self.store(environment, lane, slot, &route, packet);
        }
        routes::deliver(lane, &route, &OutgoingPayload::new(packet.payload), packet.qos);
        if let Some(packet_identifier) = packet.packet_identifier {
            lane.send_puback(slot, packet_identifier, environment.settings.storing_messages_max);
        }
        Flow::Continue
    }

    fn route(
        &mut self,
        environment: &Environment,
        lane: &LaneState,
        topic: &str,
    ) -> Result<Rc<Route>, PublishRefusal> {
        if let Some(route) = self.last_route.as_ref().filter(|route| route.is_current(topic, &self.space)) {
            return Ok(Rc::clone(route));
        }
        let route = routes::find(environment, lane, &self.space, &self.identity.principal, topic)?;
        self.last_route = Some(Rc::clone(&route));
        Ok(route)
    }

    /// A message to a permanent topic goes to the log first; it is delivered when it is applied (U-T22).
    fn store(
        &mut self,
        environment: &Arc<Environment>,
        lane: &mut LaneState,
        slot: Slot,
        route: &Route,
        packet: &PublishRef<'_>,
    ) -> Flow {
        let payload = Bytes::copy_from_slice(packet.payload);
        let Some(packet_identifier) = packet.packet_identifier else {
            permanent::store_or_deliver(environment, &self.space, &route.topic, payload, packet.qos);
            return Flow::Continue;
        };
        self.stored_sequence += 1;
        let sequence = self.stored_sequence;
        let Some(outbox) = lane.get(slot.into()) else { return Flow::Continue };
        let acknowledgement = OwedAcknowledgement { packet_identifier, waits_for: Some(sequence) };
        outbox.owe(acknowledgement, environment.settings.storing_messages_max);
        let handle = Arc::clone(&environment.lanes[usize::from(slot.lane)]);
        permanent::store(environment, &self.space, &route.topic, payload, packet.qos, move |result| {
            let result = result.map_err(|error| error.to_string());
            handle.control(Control::Stored { target: Target::from(slot), sequence, result });
        });
        Flow::Continue
    }

    /// Publishes the will, by the same resolution and permission as any publish; one that is not allowed is dropped
    /// (U-M9).
    pub(super) fn publish_will(&mut self, environment: &Arc<Environment>, lane: &mut LaneState, will: &Will) {
        match self.route(environment, lane, &will.topic) {
            Ok(route) if route.topic.is_permanent() => {
                let payload = Bytes::copy_from_slice(&will.payload);
                permanent::store_or_deliver(environment, &self.space, &route.topic, payload, will.qos);
            }
            Ok(route) => routes::deliver(lane, &route, &OutgoingPayload::new(&will.payload), will.qos),
            Err(_) => {
                lane.handle().counters.wills_refused.add(1);
                crate::actors::log::will_refused(&self.identity, &will.topic);
                return;
            }
        }
        lane.handle().counters.wills_published.add(1);
    }
}

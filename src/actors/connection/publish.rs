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
use crate::actors::lane::{Control, LaneState};
use crate::actors::permanent;
use crate::actors::routes::{self, Route};
use crate::actors::slot::Slot;
use crate::domain::resolve::PublishRefusal;
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::qos::QoS;

impl Session {
    /// Handles one PUBLISH of the client, or none of it if it has to be handled later.
    pub(super) fn publish(
        &mut self,
        environment: &Arc<Environment>,
        lane: &mut LaneState,
        slot: Slot,
        packet: &PublishRef<'_>,
    ) -> Flow {
        let flow = self.publish_now(environment, lane, slot, packet);
        if !matches!(flow, Flow::Later) {
            lane.handle().counters.messages_received.add(1);
        }
        flow
    }

    fn publish_now(
        &mut self,
        environment: &Arc<Environment>,
        lane: &mut LaneState,
        slot: Slot,
        packet: &PublishRef<'_>,
    ) -> Flow {
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
        if !route.topic.is_permanent()
            && let Some(node_id) = lane.congested_node(&route, packet.qos)
        {
            lane.wait_for_node(slot, node_id);
            return Flow::Later;
        }
        if !self.is_within_rate(&environment.settings) {
            return over_rate(lane, slot, packet.qos);
        }
        self.note(lane, Activity::Publish);
        if route.topic.is_permanent() {
            return self.store(environment, lane, slot, &route, packet);
        }
        let payload = OutgoingPayload::new(packet.payload);
        let owed = packet.packet_identifier.and_then(|_| lane.next_owed(slot));
        lane.begin_sample();
        let missing = routes::deliver(lane, &route, &payload, packet.qos, owed);
        lane.end_sample();
        let Some(packet_identifier) = packet.packet_identifier else { return Flow::Continue };
        lane.send_puback(slot, packet_identifier, missing, environment.settings.storing_messages_max);
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
        let Some(owed) = lane.next_owed(slot) else { return Flow::Continue };
        lane.send_puback(slot, packet_identifier, 1, environment.settings.storing_messages_max);
        let handle = Arc::clone(&environment.lanes[usize::from(slot.lane)]);
        permanent::store(environment, &self.space, &route.topic, payload, packet.qos, move |result| {
            let result = result.map_err(|error| error.to_string());
            handle.control(Control::Stored { owed, result });
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
            Ok(route) => {
                let payload = OutgoingPayload::new(&will.payload);
                routes::deliver(lane, &route, &payload, will.qos, None);
            }
            Err(_) => {
                lane.handle().counters.wills_refused.add(1);
                crate::actors::log::will_refused(environment, &self.identity, &will.topic);
                return;
            }
        }
        lane.handle().counters.wills_published.add(1);
    }
}

/// A client publishes more often than it may: QoS 0 is lost, and QoS 1 handled later, so that its PUBACK comes later (U-M11).
fn over_rate(lane: &mut LaneState, slot: Slot, qos: QoS) -> Flow {
    if qos == QoS::AtMostOnce {
        lane.handle().counters.messages_dropped_over_rate.add(1);
        return Flow::Continue;
    }
    lane.slow_down(slot);
    Flow::Later
}

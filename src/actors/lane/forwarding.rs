//! From a lane to other nodes: collecting during a turn, shipping at its end, and who goes on when there is room.

use std::mem;

use super::inbox::Target;
use super::state::LaneState;
use crate::actors::forward::Ticket;
use crate::actors::forward::outgoing::OwedPlace;
use crate::actors::routes::Route;
use crate::actors::slot::Slot;
use crate::mqtt::qos::QoS;

impl LaneState {
    /// Collects a message for the other nodes of its route; shipped at the end of the turn. Returns how many nodes have
    /// still to take it; each settles `owed`.
    pub fn forward(&mut self, route: &Route, payload: &[u8], qos: QoS, owed: Option<OwedPlace>) -> u16 {
        if route.remotes().is_empty() {
            return 0;
        }
        // Before anything can be sent: what is taken before the lane asks, it would never hear of.
        self.handle().wait_for_nodes(true);
        let forwarded = self.nodes.append(route, payload, qos, owed);
        let counters = &self.handle().counters;
        counters.messages_forwarded.add(u64::from(forwarded.nodes));
        counters.messages_dropped_link_full.add(u64::from(forwarded.dropped));
        self.wake_flusher();
        forwarded.nodes
    }

    /// The node for which a publisher has to wait before its message may take `route`, if any.
    pub fn congested_node(&self, route: &Route, qos: QoS) -> Option<u64> {
        self.nodes.congested_node(route, qos)
    }

    /// The connection is not read until less is on the way to the node: it is resumed then.
    pub fn wait_for_node(&mut self, slot: Slot, node_id: u64) {
        self.handle().wait_for_nodes(true);
        self.nodes.pause(node_id, Target::from(slot));
        // What made it wait may be over already.
        self.wake_flusher();
    }

    /// Ships what was collected, and sends the PUBACKs that `settled` makes due.
    pub(super) fn ship(&mut self, settled: &[Ticket]) {
        self.nodes.ship();
        for ticket in settled {
            self.nodes.settle(ticket.node_id, ticket.sequence);
        }
        let mut owed = mem::take(&mut self.settled);
        self.nodes.take_settled(&mut owed, &self.lanes[usize::from(self.number)].forward_times);
        for place in owed.drain(..) {
            self.settle(place);
        }
        self.settled = owed;
        self.resume_publishers();
    }

    /// Lets those publishers go on that waited for room on the way to a node that has some.
    pub(super) fn resume_publishers(&mut self) {
        let mut resumed = Vec::new();
        self.nodes.take_resumed(&mut resumed);
        for target in resumed {
            if let Some(link) = self.get(target).and_then(|outbox| outbox.link.as_ref()) {
                link.resume();
            }
        }
        self.handle().wait_for_nodes(self.nodes.is_waiting());
    }
}

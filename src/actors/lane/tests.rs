//! One lane alone, without a node around it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rookery_cluster::{Effects, Lease};

use super::link::Link;
use super::wheel::TICK_MS;
use super::{LaneState, OutboxLimits, lanes};
use crate::actors::close::CloseReason;
use crate::actors::forward::Ticket;
use crate::actors::forward::fixture::FakeLinks;
use crate::actors::lane::frame::OutgoingPayload;
use crate::actors::routes::{self, Route};
use crate::actors::slot::Slot;
use crate::domain::id::BrokerId;
use crate::domain::principal::SpaceId;
use crate::domain::window::WindowLimits;
use crate::mqtt::qos::{PacketIdentifier, QoS};

const LIMITS: OutboxLimits = OutboxLimits {
    plain_bytes_max: 1000,
    window: WindowLimits { in_flight_messages_max: 2, messages_max: 4, bytes_max: 1000 },
    lane_bytes_max: 100_000,
    overloaded_bytes_max: 1000,
    redelivery_ticks: 0,
};

const BACKLOG: usize = 1024 * 1024;

const NONE: [u8; 0] = [];

fn lane_with_one() -> (LaneState, Rc<Link>, Slot) {
    let (lane, link, slot, _) = lane_with_links();
    (lane, link, slot)
}

fn lane_with_links() -> (LaneState, Rc<Link>, Slot, FakeLinks) {
    let links = FakeLinks::default();
    let mut lane = LaneState::new(0, lanes(1), LIMITS, links.forwarding(BACKLOG));
    let (_, far) = tokio::io::duplex(64);
    let link = Rc::new(Link::new(Box::new(far)));
    let slot = lane.insert(Rc::clone(&link));
    (lane, link, slot, links)
}

fn tick(lane: &mut LaneState, ticks: u64) {
    for _ in 0..ticks {
        for (index, generation) in lane.wheel.advance() {
            lane.check_deadlines(super::Target { index, generation });
        }
    }
}

/// A client was closed for its silence while the server waited for its disk and did not listen.
#[test]
fn nobody_is_silent_whom_the_server_does_not_listen_to() {
    let (mut lane, link, slot) = lane_with_one();
    lane.get(slot.into()).expect("it is there").deadlines.silence_ticks_max = 4;
    link.read_again_at.set(Some(1));
    tick(&mut lane, 60_000 / TICK_MS);
    assert_eq!(link.take_close(), None);
    link.read_again_at.set(None);
    tick(&mut lane, 60_000 / TICK_MS);
    assert_eq!(link.take_close(), Some(CloseReason::KeepAliveTimeout));
}

/// Only publishes to permanent topics were bounded; ordinary ones piled up behind a single one without limit.
#[test]
fn acknowledgements_that_wait_behind_a_slow_disk_stop_the_reading() {
    let (mut lane, link, slot) = lane_with_one();
    let packet_identifier = PacketIdentifier::FIRST;
    let first = lane.next_owed(slot).expect("it is there");
    lane.send_puback(slot, packet_identifier, 1, 4);
    for _ in 0..2 {
        lane.send_puback(slot, packet_identifier, 0, 4);
    }
    assert!(!link.is_held_up());
    lane.send_puback(slot, packet_identifier, 0, 4);
    assert!(link.is_held_up());
    lane.settle(first);
    assert!(!link.is_held_up());
    assert_eq!(lane.get(slot.into()).expect("it is there").output.pending_bytes(), 16, "four PUBACKs");
}

/// Publishes to nodes 2 and 3, as far as they are in `nodes`.
fn publish(lane: &mut LaneState, slot: Slot, packet_identifier: u16, nodes: &[u64]) {
    let nodes: Vec<_> = nodes.iter().map(|node_id| (*node_id, QoS::AtLeastOnce)).collect();
    let route = Route::to_nodes(SpaceId::Broker(BrokerId::new("b1")), "a", &nodes);
    let owed = lane.next_owed(slot);
    let payload = OutgoingPayload::new(b"x");
    let missing = routes::deliver(lane, &route, &payload, QoS::AtLeastOnce, owed);
    let packet_identifier = PacketIdentifier::new(packet_identifier).expect("not 0");
    lane.send_puback(slot, packet_identifier, missing, 100);
}

/// The packet identifiers of the PUBACKs that were written since the last call.
fn pubacks(lane: &mut LaneState, slot: Slot) -> Vec<u8> {
    let mut sink = std::io::Cursor::new(Vec::new());
    let mut output = std::mem::take(&mut lane.get(slot.into()).expect("it is there").output);
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    let mut written = 0;
    assert!(output.write(&mut sink, &mut lane.pool, &mut task, &mut written).is_ready());
    lane.note_written(written);
    sink.get_ref().chunks(4).map(|puback| puback[3]).collect()
}

fn taken(node_id: u64, sequence: u64) -> Ticket {
    Ticket { node_id, sequence }
}

#[test]
fn pubacks_keep_their_order_whatever_each_waits_for() {
    let (mut lane, _link, slot, links) = lane_with_links();
    publish(&mut lane, slot, 1, &[]);
    assert_eq!(pubacks(&mut lane, slot), [1], "nobody to wait for");
    publish(&mut lane, slot, 2, &[2]);
    publish(&mut lane, slot, 3, &[]);
    // As for a permanent topic: one thing to wait for, the disk.
    let stored = lane.next_owed(slot).expect("it is there");
    lane.send_puback(slot, PacketIdentifier::new(4).expect("not 0"), 1, 100);
    publish(&mut lane, slot, 5, &[2, 3]);
    lane.ship(&[]);
    publish(&mut lane, slot, 6, &[3]);
    lane.ship(&[]);
    assert_eq!(links.0.lock().sent.len(), 3, "a chunk for each node in the first turn, and one more");
    assert_eq!(pubacks(&mut lane, slot), NONE);
    lane.ship(&[taken(3, 2)]);
    assert_eq!(pubacks(&mut lane, slot), NONE, "the last is settled first, and goes last");
    lane.settle(stored);
    assert_eq!(pubacks(&mut lane, slot), NONE);
    lane.ship(&[taken(2, 1)]);
    assert_eq!(pubacks(&mut lane, slot), [2, 3, 4, 5, 6]);
    publish(&mut lane, slot, 7, &[]);
    assert_eq!(pubacks(&mut lane, slot), [7], "nothing is owed any more");
}

#[test]
fn a_connection_that_is_gone_leaves_its_place_to_the_next_without_its_acknowledgements() {
    let (mut lane, _link, slot, _links) = lane_with_links();
    publish(&mut lane, slot, 1, &[2]);
    lane.ship(&[]);
    lane.remove(slot);
    let (_, far) = tokio::io::duplex(64);
    let next = lane.insert(Rc::new(Link::new(Box::new(far))));
    assert_eq!(next.index, slot.index);
    publish(&mut lane, next, 2, &[3]);
    lane.ship(&[taken(2, 1)]);
    assert_eq!(pubacks(&mut lane, next), NONE);
    lane.ship(&[taken(3, 1)]);
    assert_eq!(pubacks(&mut lane, next), [2]);
}

#[test]
fn a_lane_is_told_what_nodes_have_taken_while_it_waits_for_it() {
    let (mut lane, _link, slot, _links) = lane_with_links();
    lane.handle().settle(taken(2, 1));
    assert_eq!(lane.handle().take().settled, []);
    publish(&mut lane, slot, 1, &[2]);
    lane.ship(&[]);
    lane.handle().settle(taken(2, 1));
    let settled = lane.handle().take().settled;
    assert_eq!(settled, [taken(2, 1)]);
    lane.ship(&settled);
    assert_eq!(pubacks(&mut lane, slot), [1]);
    lane.handle().settle(taken(2, 2));
    assert_eq!(lane.handle().take().settled, [], "it waits for nothing");
    assert_eq!(lane.handle().counters.messages_forwarded.get(), 1);
}

#[test]
fn a_publisher_that_waits_for_a_node_goes_on_when_its_link_has_room_or_has_ended() {
    let (mut lane, link, slot, links) = lane_with_links();
    let route = Route::to_nodes(SpaceId::Broker(BrokerId::new("b1")), "a", &[(2, QoS::AtLeastOnce)]);
    links.set_load(2, BACKLOG + 1, false);
    publish(&mut lane, slot, 1, &[2]);
    lane.ship(&[]);
    assert_eq!(lane.congested_node(&route, QoS::AtLeastOnce), Some(2));
    link.paused.set(true);
    lane.wait_for_node(slot, 2);
    lane.ship(&[]);
    assert!(link.is_held_up());
    links.set_load(2, 0, false);
    lane.ship(&[]);
    assert!(!link.is_held_up());
    assert_eq!(lane.congested_node(&route, QoS::AtLeastOnce), None);
}

/// A session of an earlier process of the node may have had the same place.
#[test]
fn only_the_connection_of_the_session_is_ended_and_it_holds_the_entry_back() {
    let (mut lane, link, slot) = lane_with_one();
    let effects = Effects::new();
    link.epoch.set(7);
    lane.end_session(slot.into(), 6, CloseReason::NodeGone, effects.hold(3));
    assert_eq!((link.take_close(), link.is_ended.get()), (None, false));
    lane.end_session(slot.into(), 7, CloseReason::TakenOver, effects.hold(3));
    assert_eq!((link.take_close(), link.is_ended.get()), (Some(CloseReason::TakenOver), true));
    assert_eq!(lane.get(slot.into()).expect("it is there").ended_by.len(), 1);
    lane.remove(slot);
    lane.end_session(slot.into(), 7, CloseReason::TakenOver, effects.hold(4));
    assert!(lane.get(slot.into()).is_none(), "its place is free, and nothing is held back any more");
}

#[test]
fn after_a_snapshot_only_sessions_that_it_has_go_on() {
    let (mut lane, link, slot) = lane_with_one();
    let guard = Arc::new(Effects::new().hold(1));
    link.epoch.set(7);
    lane.keep_sessions(&BTreeMap::new(), &guard);
    assert_eq!(link.take_close(), None, "its session is still being opened");
    link.is_live.set(true);
    lane.keep_sessions(&BTreeMap::from([(slot, 7)]), &guard);
    assert_eq!(link.take_close(), None);
    lane.keep_sessions(&BTreeMap::from([(slot, 6)]), &guard);
    assert_eq!((link.take_close(), link.is_ended.get()), (Some(CloseReason::Behind), false));
}

/// A client was closed for its silence while the server must not listen.
#[test]
fn nobody_is_silent_on_a_node_without_a_lease() {
    let (mut lane, link, slot) = lane_with_one();
    lane.get(slot.into()).expect("it is there").deadlines.silence_ticks_max = 4;
    link.is_live.set(true);
    lane.serve_under(&Lease::default());
    assert!(!lane.check_lease());
    tick(&mut lane, 60_000 / TICK_MS);
    assert_eq!(link.take_close(), None);
}

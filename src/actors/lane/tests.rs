//! One lane alone, without a node around it.

use std::rc::Rc;

use super::link::Link;
use super::outbox::OwedAcknowledgement;
use super::wheel::TICK_MS;
use super::{LaneState, OutboxLimits, lanes};
use crate::actors::close::CloseReason;
use crate::actors::slot::Slot;
use crate::domain::window::WindowLimits;
use crate::mqtt::qos::PacketIdentifier;

const LIMITS: OutboxLimits = OutboxLimits {
    plain_bytes_max: 1000,
    window: WindowLimits { in_flight_messages_max: 2, messages_max: 4, bytes_max: 1000 },
    lane_bytes_max: 100_000,
    overloaded_bytes_max: 1000,
    redelivery_ticks: 0,
};

fn lane_with_one() -> (LaneState, Rc<Link>, Slot) {
    let mut lane = LaneState::new(0, lanes(1), LIMITS);
    let (_, far) = tokio::io::duplex(64);
    let link = Rc::new(Link::new(Box::new(far)));
    let slot = lane.insert(Rc::clone(&link));
    (lane, link, slot)
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
    let first = OwedAcknowledgement { packet_identifier, waits_for: Some(1) };
    lane.get(slot.into()).expect("it is there").owe(first, 4);
    for _ in 0..2 {
        lane.send_puback(slot, packet_identifier, 4);
    }
    assert!(!link.is_held_up());
    lane.send_puback(slot, packet_identifier, 4);
    assert!(link.is_held_up());
    lane.stored(slot, 1);
    assert!(!link.is_held_up());
    assert_eq!(lane.get(slot.into()).expect("it is there").output.pending_bytes(), 16, "four PUBACKs");
}

//! Which messages are followed, and how far.

use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::actors::forward::fixture::FakeLinks;
use crate::actors::lane::flusher::write_now;
use crate::actors::lane::link::Link;
use crate::actors::lane::{OutboxLimits, lanes};
use crate::actors::slot::Slot;
use crate::domain::window::WindowLimits;

const LIMITS: OutboxLimits = OutboxLimits {
    plain_bytes_max: 100_000,
    window: WindowLimits { in_flight_messages_max: 100, messages_max: 100, bytes_max: 100_000 },
    lane_bytes_max: 1_000_000,
    overloaded_bytes_max: 100_000,
    redelivery_ticks: 0,
};

/// A lane, and a connection whose client takes `window` bytes unless it reads.
fn lane(number: u16, window: usize) -> (LaneState, Slot, tokio::io::DuplexStream) {
    let mut lane = LaneState::new(number, lanes(2), LIMITS, FakeLinks::default().forwarding(1024));
    let (near, far) = tokio::io::duplex(window);
    let slot = lane.insert(Rc::new(Link::new(Box::new(far))));
    (lane, slot, near)
}

fn publish(lane: &mut LaneState, times: u32, targets: &[Target]) {
    for _ in 0..times {
        lane.begin_sample();
        targets.iter().for_each(|target| lane.deliver_plain(*target, b"0123456789", &None));
        lane.end_sample();
    }
}

/// Messages measured so far.
fn measured(lane: &LaneState) -> u64 {
    lane.handle().delivery_times.distribution().counts.iter().sum()
}

#[test]
fn one_of_many_messages_is_measured_when_it_is_written() {
    let (mut lane, slot, _client) = lane(0, 100_000);
    let target = Target::from(slot);
    publish(&mut lane, ONE_OF - 1, &[target]);
    write_now(&mut lane, slot);
    assert_eq!(measured(&lane), 0);
    publish(&mut lane, 1, &[target, target]);
    assert_eq!(measured(&lane), 0, "it is in the outbox only");
    write_now(&mut lane, slot);
    assert_eq!(measured(&lane), 1, "its first copy counts");
    publish(&mut lane, 3 * ONE_OF, &[target]);
    write_now(&mut lane, slot);
    assert_eq!(measured(&lane), 2, "one at a time is followed");
}

#[tokio::test]
async fn a_message_counts_when_its_last_byte_is_written() {
    let (mut lane, slot, mut client) = lane(0, 15);
    publish(&mut lane, 1, &[slot.into()]);
    lane.sampler.handled = ONE_OF;
    publish(&mut lane, 1, &[slot.into()]);
    write_now(&mut lane, slot);
    assert_eq!(measured(&lane), 0, "five of its ten bytes are written");
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut [0; 15]).await.expect("they are there");
    write_now(&mut lane, slot);
    assert_eq!(measured(&lane), 1);
}

#[test]
fn what_nobody_gets_and_whoever_is_gone_is_forgotten() {
    let (mut lane, slot, _client) = lane(0, 100_000);
    publish(&mut lane, ONE_OF, &[]);
    lane.deliver_plain(slot.into(), b"of another message", &None);
    write_now(&mut lane, slot);
    assert_eq!(measured(&lane), 0);
    publish(&mut lane, ONE_OF, &[slot.into()]);
    lane.remove(slot);
    let again = lane.insert(Rc::new(Link::new(Box::new(tokio::io::duplex(100).1))));
    lane.deliver_plain(again.into(), b"of its successor", &None);
    write_now(&mut lane, again);
    assert_eq!((measured(&lane), lane.sampler.followed.is_some()), (0, false));
}

#[test]
fn a_message_is_followed_into_another_lane() {
    let (mut from, ..) = lane(0, 1);
    let (mut to, slot, _client) = lane(1, 100_000);
    let targets: Arc<[Target]> = Arc::from([slot.into()]);
    from.transfer_plain(1, b"before it", &None, &targets);
    from.sampler.handled = ONE_OF;
    from.begin_sample();
    from.transfer_plain(1, b"followed", &None, &targets);
    from.transfer_plain(1, b"its second copy", &None, &targets);
    from.end_sample();
    let batch = std::mem::take(&mut from.outgoing[1]);
    assert_eq!(batch.followed.map(|(place, _)| place), Some(1));
    to.deliver_batch(&batch);
    assert!(to.sampler.read_at.is_none());
    write_now(&mut to, slot);
    assert_eq!((measured(&from), measured(&to)), (0, 1));
}

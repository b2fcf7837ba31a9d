use super::*;
use crate::plan::{Access, Addressing};
use crate::scenario::{built_in, find};

const WINDOW: Bounds = Bounds { window: Some(4), inflight: 2 };

fn traffic(name: &str, qos: u8, bounds: Bounds) -> Traffic {
    let mut scenario = find(&built_in().unwrap(), name).unwrap();
    (scenario.publishers, scenario.qos) = (2, qos);
    scenario.subscribers = if name == "pairs" { 2 } else { 1 };
    let access = Access::by_password(Addressing::Free(None));
    Traffic::new(&Plan::new(&scenario, &access, 1, ""), bounds, Share::WHOLE)
}

fn missing(traffic: &Traffic) -> u64 {
    traffic.expected() - traffic.counts().delivered
}

fn fill(traffic: &mut Traffic, publisher: u32, now_ns: u64) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    traffic.fill(publisher, &mut out, now_ns);
    let mut payloads = Vec::new();
    let mut rest = &out[..];
    while let Some(frame) = crate::packet::split(rest).unwrap() {
        payloads.push(crate::packet::read_publish(&frame).unwrap().payload.to_vec());
        rest = &rest[frame.length..];
    }
    payloads
}

#[test]
fn the_closed_loop_sends_a_window_and_then_one_for_each_arrival() {
    let mut traffic = traffic("pairs", 0, WINDOW);
    traffic.start_saturated();
    let sent = fill(&mut traffic, 0, 10);
    assert_eq!(sent.len(), 4);
    assert!(fill(&mut traffic, 0, 10).is_empty());
    traffic.delivered(0, &sent[0], 20);
    assert_eq!(fill(&mut traffic, 0, 20).len(), 1);
    traffic.stop(20);
    traffic.delivered(0, &sent[1], 20);
    assert!(fill(&mut traffic, 0, 20).is_empty());
    assert_eq!(missing(&traffic), 3);
}

#[test]
fn qos_1_also_waits_for_acknowledgements() {
    let mut traffic = traffic("pairs", 1, WINDOW);
    traffic.start_saturated();
    assert_eq!(fill(&mut traffic, 0, 10).len(), 2);
    traffic.acknowledged(0, 1, 20);
    assert_eq!(fill(&mut traffic, 0, 20).len(), 1);
    traffic.acknowledged(0, 3, 30);
    traffic.acknowledged(0, 9, 30);
    assert_eq!((traffic.counts().acknowledged, traffic.counts().stray_acknowledgements), (2, 2));
    assert_eq!(traffic.unacknowledged(), 1);
}

#[test]
fn every_kind_of_fault_is_told_apart() {
    let mut traffic = traffic("pairs", 0, WINDOW);
    traffic.start_saturated();
    let sent = fill(&mut traffic, 0, 10);
    for index in [0, 2, 1, 2] {
        traffic.delivered(0, &sent[index], 20);
    }
    traffic.delivered(1, &sent[3], 20);
    traffic.delivered(0, &sent[3][..50], 20);
    traffic.delivered(0, b"foreign", 20);
    let counts = traffic.counts();
    assert_eq!((counts.delivered, counts.reordered, counts.duplicates), (3, 1, 1));
    assert_eq!((counts.misrouted, counts.corrupt, missing(&traffic)), (1, 2, 1));
}

#[test]
fn a_late_generator_shows_as_latency_and_not_as_fewer_messages() {
    let mut traffic = traffic("fanin", 0, Bounds { window: None, inflight: 2 });
    traffic.start_paced(crate::pace::spread(0, 2_000.0, 2));
    traffic.record(0..10_000_000);
    traffic.wake_due(4_000_000);
    let sent = fill(&mut traffic, 0, 4_000_000);
    assert_eq!(sent.len(), 5, "due at 0, 1, 2, 3 and 4 ms");
    traffic.delivered(0, &sent[0], 4_000_000);
    let latency_us = traffic.take_recordings()[0].delivery.summary().unwrap().max_us;
    assert!((4_000..4_010).contains(&latency_us), "{latency_us}");
    assert_eq!(traffic.next_due_ns(), Some(5_000_000));
    traffic.stop(6_000_000);
    assert_eq!(traffic.behind(8_000_000), 1 + 6, "of the first at 5 ms, of the second from 0.5 to 5.5 ms");
    assert_eq!(fill(&mut traffic, 1, 8_000_000).len(), 6);
    assert_eq!(traffic.behind(8_000_000), 1);
}

#[test]
fn two_drivers_share_the_closed_loop() {
    let mut scenario = find(&built_in().unwrap(), "fanout").unwrap();
    (scenario.publishers, scenario.subscribers) = (1, 4);
    let plan = Plan::new(&scenario, &Access::by_password(Addressing::Free(None)), 1, "");
    let share = |driver| Share { driver, drivers: 2 };
    let (mut first, mut second) =
        (Traffic::new(&plan, WINDOW, share(0)), Traffic::new(&plan, WINDOW, share(1)));
    first.start_saturated();
    second.start_saturated();
    assert!(first.has_ready() && !second.has_ready(), "the only publisher belongs to the first");
    let sent = fill(&mut first, 0, 10);
    for payload in &sent {
        first.delivered(0, payload, 20);
        first.delivered(2, payload, 20);
    }
    second.delivered(1, &sent[0], 20);
    second.delivered(1, &sent[1], 20);
    second.delivered(3, &sent[0], 20);
    assert!(fill(&mut first, 0, 20).is_empty(), "the other driver's subscribers have told nothing");
    assert_eq!(second.take_progress(), [(0, 1)]);
    assert!(second.take_progress().is_empty());
    first.told(1, 0, 1);
    assert_eq!(fill(&mut first, 0, 30).len(), 1);
    first.told(1, 0, u64::MAX);
    // What the other driver says of the fifth message does not count for the subscribers here.
    assert_eq!(fill(&mut first, 0, 40).len(), 3);
    assert_eq!(first.expected() + second.expected(), 8 * 4);
    assert_eq!((first.counts().delivered, second.counts().delivered), (8, 3));
}

#[test]
fn what_a_lost_connection_takes_with_it_is_no_loss() {
    let mut traffic = traffic("pairs", 1, Bounds { window: None, inflight: 2 });
    traffic.start_paced(crate::pace::spread(0, 2_000.0, 2));
    traffic.wake_due(9_000_000);
    let sent = [fill(&mut traffic, 0, 9_000_000), fill(&mut traffic, 1, 9_000_000)];
    traffic.delivered(0, &sent[0][0], 9_000_000);
    traffic.publisher_lost(0);
    assert_eq!((traffic.excused(), missing(&traffic), traffic.counts().abandoned), (1, 3, 2));
    assert_eq!(traffic.unacknowledged(), 2, "of the publisher that is still there");
    traffic.subscriber_lost(1);
    assert_eq!((traffic.excused(), missing(&traffic)), (3, 3));
    traffic.wake(0);
    traffic.record(0..u64::MAX);
    let again = fill(&mut traffic, 0, 9_000_000);
    assert_eq!(again.len(), 2, "a new connection has a new window");
    traffic.delivered(0, &again[0], 9_000_000);
    assert!(traffic.take_recordings()[0].delivery.summary().is_none(), "latencies are those of who stayed");
}

#[test]
fn windows_side_by_side_have_their_own_histograms() {
    let mut traffic = traffic("fanin", 0, Bounds { window: None, inflight: 2 });
    traffic.start_paced(crate::pace::spread(0, 2_000.0, 2));
    traffic.record(0..2_000_000);
    traffic.record(2_000_000..u64::MAX);
    traffic.wake_due(5_000_000);
    let sent = fill(&mut traffic, 0, 5_000_000);
    traffic.end_record(4_000_000);
    for payload in &sent {
        traffic.delivered(0, payload, 5_000_000);
    }
    let counts: Vec<_> =
        traffic.take_recordings().iter().map(|it| it.delivery.summary().unwrap().count).collect();
    assert_eq!((sent.len(), counts), (6, vec![2, 2]));
}

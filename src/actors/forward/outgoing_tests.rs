//! Sending from one lane: what goes into which chunk, and who waits for what.

use super::*;
use crate::actors::forward::fixture::FakeLinks;
use crate::domain::id::BrokerId;
use crate::domain::principal::SpaceId;

const LIMIT: usize = 1024 * 1024;

const NOBODY: [u32; 0] = [];

fn route(topic: &str, nodes: &[(u64, QoS)]) -> Route {
    Route::to_nodes(SpaceId::Broker(BrokerId::new("b1")), topic, nodes)
}

fn place(number: u32) -> OwedPlace {
    OwedPlace { target: Target { index: 0, generation: 0 }, number }
}

fn settled(outgoing: &mut Outgoing) -> Vec<u32> {
    let mut settled = Vec::new();
    outgoing.take_settled(&mut settled, &Histogram::default());
    settled.iter().map(|owed| owed.number).collect()
}

fn message(topic: &str, qos: QoS, payload: &[u8]) -> (String, QoS, Vec<u8>) {
    (topic.to_owned(), qos, payload.to_vec())
}

#[test]
fn a_node_gets_each_message_once_per_turn_with_the_weaker_qos_and_in_order() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let (both, one) =
        (route("a", &[(2, QoS::AtLeastOnce), (3, QoS::AtMostOnce)]), route("b", &[(2, QoS::AtLeastOnce)]));
    outgoing.append(&both, b"1", QoS::AtLeastOnce, None);
    outgoing.append(&one, b"2", QoS::AtMostOnce, None);
    let forwarded = outgoing.append(&both, b"3", QoS::AtLeastOnce, None);
    assert_eq!(forwarded, Forwarded { nodes: 2, dropped: 0 });
    assert!(links.messages(2).is_empty(), "nothing leaves before the turn ends");
    outgoing.ship();
    outgoing.ship();
    let expected = [
        message("a", QoS::AtLeastOnce, b"1"),
        message("b", QoS::AtMostOnce, b"2"),
        message("a", QoS::AtLeastOnce, b"3"),
    ];
    assert_eq!(links.messages(2), [expected]);
    assert_eq!(
        links.messages(3),
        [[message("a", QoS::AtMostOnce, b"1"), message("a", QoS::AtMostOnce, b"3")]]
    );
}

#[test]
fn a_chunk_stands_for_itself_whatever_was_sent_before() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let mut other_lane = Outgoing::new(1, links.forwarding(LIMIT));
    let (a, b) = (route("a", &[(2, QoS::AtLeastOnce)]), route("b", &[(2, QoS::AtLeastOnce)]));
    for _ in 0..3 {
        outgoing.append(&b, b"x", QoS::AtMostOnce, None);
        outgoing.append(&a, b"y", QoS::AtMostOnce, None);
        outgoing.ship();
    }
    // The same route in another lane; a number that it had elsewhere means nothing here.
    other_lane.append(&a, b"z", QoS::AtMostOnce, None);
    other_lane.ship();
    let turn = vec![message("b", QoS::AtMostOnce, b"x"), message("a", QoS::AtMostOnce, b"y")];
    let expected = vec![turn.clone(), turn.clone(), turn, vec![message("a", QoS::AtMostOnce, b"z")]];
    assert_eq!(links.messages(2), expected);
}

#[test]
fn a_chunk_leaves_early_when_it_is_full() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let a = route("a", &[(2, QoS::AtLeastOnce)]);
    for _ in 0..10 {
        outgoing.append(&a, &[7; 30_000], QoS::AtMostOnce, None);
    }
    assert_eq!(links.messages(2).len(), 3);
    outgoing.append(&a, &[7; 300_000], QoS::AtMostOnce, None);
    let sent = links.messages(2);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 2], "one message may make it longer");
}

#[test]
fn what_waits_is_settled_by_its_own_chunk_and_not_before_it_is_shipped() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(3, links.forwarding(LIMIT));
    let a = route("a", &[(2, QoS::AtLeastOnce)]);
    assert!(!outgoing.is_waiting());
    outgoing.append(&a, b"1", QoS::AtLeastOnce, Some(place(1)));
    outgoing.append(&a, b"2", QoS::AtLeastOnce, Some(place(2)));
    assert!(outgoing.is_waiting());
    assert_eq!(settled(&mut outgoing), NOBODY);
    outgoing.ship();
    outgoing.append(&a, b"q", QoS::AtMostOnce, None);
    outgoing.ship();
    outgoing.append(&a, b"3", QoS::AtLeastOnce, Some(place(3)));
    outgoing.ship();
    outgoing.append(&a, b"4", QoS::AtLeastOnce, Some(place(4)));
    outgoing.settle(2, 1);
    assert_eq!(settled(&mut outgoing), [1, 2]);
    outgoing.settle(3, 9);
    outgoing.settle(2, 2);
    assert_eq!(settled(&mut outgoing), NOBODY);
    // Another lane's chunk was the last one that the node has taken.
    outgoing.settle(2, 7);
    assert_eq!(settled(&mut outgoing), [3], "the fourth has not been sent");
    outgoing.ship();
    assert_eq!(settled(&mut outgoing), [4], "its sequence is 4, and 7 was told");
    assert!(!outgoing.is_waiting());
    assert!(outgoing.nodes.iter().all(|node| node.followed.is_none()), "all that was followed is measured");
}

#[test]
fn each_node_settles_once() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let a = route("a", &[(2, QoS::AtLeastOnce), (3, QoS::AtLeastOnce)]);
    outgoing.append(&a, b"1", QoS::AtLeastOnce, Some(place(1)));
    outgoing.ship();
    outgoing.settle(3, 1);
    assert_eq!(settled(&mut outgoing), [1]);
    assert_eq!(settled(&mut outgoing), NOBODY);
    outgoing.settle(2, 1);
    assert_eq!(settled(&mut outgoing), [1]);
}

#[test]
fn nothing_is_waited_for_from_a_node_without_sessions() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let a = route("a", &[(2, QoS::AtLeastOnce)]);
    outgoing.append(&a, b"1", QoS::AtLeastOnce, Some(place(1)));
    outgoing.ship();
    links.0.lock().unregistered.insert(2);
    outgoing.append(&a, b"2", QoS::AtLeastOnce, Some(place(2)));
    outgoing.ship();
    assert_eq!(settled(&mut outgoing), NOBODY, "the first was sent, and is settled when the link ends");
    outgoing.settle(2, 1);
    assert_eq!(settled(&mut outgoing), [1, 2]);
}

#[test]
fn publishers_wait_for_a_full_link_and_go_on_when_half_of_it_is_free() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let (a, b) = (route("a", &[(2, QoS::AtLeastOnce)]), route("b", &[(3, QoS::AtLeastOnce)]));
    links.set_load(2, LIMIT, true);
    assert_eq!(outgoing.congested_node(&a, QoS::AtLeastOnce), None, "nothing was sent: nothing is known");
    outgoing.append(&a, b"x", QoS::AtMostOnce, None);
    outgoing.ship();
    outgoing.append(&a, b"y", QoS::AtMostOnce, None);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        assert_eq!(outgoing.congested_node(&a, qos), Some(2));
        assert_eq!(outgoing.congested_node(&b, qos), None, "other nodes are not concerned");
    }
    let publisher = Target { index: 5, generation: 1 };
    outgoing.pause(2, publisher);
    outgoing.ship();
    let mut resumed = Vec::new();
    links.set_load(2, LIMIT / 2 + 1, true);
    outgoing.take_resumed(&mut resumed);
    assert!(resumed.is_empty() && outgoing.is_waiting());
    links.set_load(2, LIMIT / 2, true);
    outgoing.take_resumed(&mut resumed);
    assert_eq!(resumed, [publisher]);
    assert_eq!(outgoing.congested_node(&a, QoS::AtLeastOnce), None);
    assert!(!outgoing.is_waiting());
}

#[test]
fn qos_0_is_dropped_for_a_node_that_cannot_be_reached_and_qos_1_waits() {
    let links = FakeLinks::default();
    let mut outgoing = Outgoing::new(0, links.forwarding(LIMIT));
    let both = route("a", &[(2, QoS::AtLeastOnce), (3, QoS::AtLeastOnce)]);
    links.set_load(2, LIMIT + 1, false);
    outgoing.append(&both, b"first", QoS::AtMostOnce, None);
    outgoing.ship();
    assert_eq!(outgoing.congested_node(&both, QoS::AtMostOnce), None);
    assert_eq!(outgoing.congested_node(&both, QoS::AtLeastOnce), Some(2));
    assert_eq!(outgoing.append(&both, b"x", QoS::AtMostOnce, None), Forwarded { nodes: 1, dropped: 1 });
    // A will does not wait: its publisher is gone.
    assert_eq!(outgoing.append(&both, b"will", QoS::AtLeastOnce, None), Forwarded { nodes: 2, dropped: 0 });
    outgoing.ship();
    assert_eq!(links.messages(2).concat().len(), 2);
    assert_eq!(links.messages(3).concat().len(), 3);
    // Up again: found out although nobody waits.
    links.set_load(2, 0, true);
    outgoing.take_resumed(&mut Vec::new());
    assert_eq!(outgoing.append(&both, b"y", QoS::AtMostOnce, None), Forwarded { nodes: 2, dropped: 0 });
}

//! Sending from outside of lanes, and waiting for it.

use super::fixture::FakeLinks;
use super::*;
use crate::domain::id::BrokerId;
use crate::domain::principal::SpaceId;

fn route(nodes: &[(u64, QoS)]) -> Route {
    Route::to_nodes(SpaceId::Broker(BrokerId::new("b1")), "a", nodes)
}

#[tokio::test]
async fn who_waits_outside_of_lanes_waits_for_every_node() {
    let links = FakeLinks::default();
    let forwarding = links.forwarding(1000);
    links.0.lock().unregistered.insert(4);
    let route = route(&[(2, QoS::AtLeastOnce), (3, QoS::AtMostOnce), (4, QoS::AtLeastOnce)]);
    let _earlier = forwarding.send_message(&route, b"earlier", QoS::AtLeastOnce);
    let tickets = forwarding.send_message(&route, b"x", QoS::AtLeastOnce);
    assert_eq!(tickets.len(), 2, "nobody is there on the third");
    let mut taken = std::pin::pin!(forwarding.wait_for(&tickets));
    assert!(futures::poll!(taken.as_mut()).is_pending());
    forwarding.settle(2, 2);
    forwarding.settle(3, 1);
    assert!(futures::poll!(taken.as_mut()).is_pending());
    forwarding.settle(3, 5);
    assert!(futures::poll!(taken).is_ready());
    // What is known already is not waited for, and never taken back.
    forwarding.settle(2, 1);
    forwarding.wait_for(&tickets).await;
    assert_eq!(links.messages(3)[1], [("a".to_owned(), QoS::AtMostOnce, b"x".to_vec())]);
}

#[test]
fn nobody_is_made_to_wait_outside_of_lanes_by_a_full_link() {
    let links = FakeLinks::default();
    let forwarding = links.forwarding(1000);
    let route = route(&[(2, QoS::AtLeastOnce), (3, QoS::AtLeastOnce)]);
    assert!(!forwarding.is_congested(&route));
    links.set_load(2, 1001, true);
    assert!(forwarding.is_congested(&route));
    assert_eq!(forwarding.send_message(&route, b"x", QoS::AtMostOnce).len(), 1);
    assert_eq!(forwarding.counters.messages_dropped_link_full.load(Ordering::Relaxed), 1);
    assert!(links.messages(2).is_empty());
}

#[test]
fn a_node_without_links_reaches_nobody() {
    let forwarding = Forwarding::new(1000);
    assert_eq!(forwarding.send_message(&route(&[(2, QoS::AtLeastOnce)]), b"x", QoS::AtLeastOnce), []);
}

#[test]
fn the_last_sequence_of_a_link_is_that_of_whoever_sent_last() {
    let links = FakeLinks::default();
    let forwarding = links.forwarding(1000);
    assert_eq!(forwarding.last_sent(2), 0);
    for _ in 0..3 {
        assert!(forwarding.send(2, b"chunk".to_vec()).is_some());
    }
    assert!(forwarding.send(3, b"chunk".to_vec()).is_some());
    links.0.lock().unregistered.insert(2);
    assert_eq!(forwarding.send(2, b"chunk".to_vec()), None);
    assert_eq!((forwarding.last_sent(2), forwarding.last_sent(3)), (3, 1));
}

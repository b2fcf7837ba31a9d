//! Publishers and subscribers on different nodes: this one is real, the others are what their links see.

use rookery_cluster::{LinkSource, PeerService};

use super::*;
use crate::actors::publisher::{self, PublisherError};
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::resolve;
use crate::domain::session::SessionId;

/// Another node.
const OTHER: u64 = 7;

/// The other node, in its first epoch.
const SOURCE: LinkSource = LinkSource { node_id: OTHER, epoch: 1 };

fn broker() -> Principal {
    Principal::Broker(BrokerId::new("broker"))
}

impl World {
    /// A session on another node subscribes.
    fn subscribe_elsewhere(&self, node: u64, filter: &str, qos: QoS) {
        let interest = resolve::granted(&broker(), filter, TopicOptions::default()).expect("a filter");
        let node = u32::try_from(node).expect("a small number");
        let session = SessionId { node, lane: 0, index: 0, generation: 0 };
        self.environment.directory.space(&broker().space()).change(session, &[], &[(interest, qos)]);
    }

    /// A chunk from another node with one message.
    async fn deliver(&self, topic: &str, payload: &[u8], qos: QoS) {
        let mut chunk = ChunkWriter::default();
        let number = chunk.topic(&SpaceId::Broker(BrokerId::new("broker")), topic);
        chunk.message(number, qos, payload);
        self.peers.deliver(SOURCE, chunk.take().into()).await;
    }

    /// Everything that was sent to the other node: topic, QoS and payload.
    fn sent(&self) -> Vec<(String, QoS, Vec<u8>)> {
        self.links.messages(OTHER).concat()
    }
}

fn message(topic: &str, qos: QoS, payload: &[u8]) -> (String, QoS, Vec<u8>) {
    (topic.to_owned(), qos, payload.to_vec())
}

/// The answer comes at the end of a turn in which everything before was handled and shipped.
async fn ping(client: &mut DuplexStream) {
    client.write_all(&[0xc0, 0]).await.expect("the server reads");
    assert_eq!(read(client, 2).await, [0xd0, 0], "PINGRESP");
}

const PUBACK: [u8; 4] = [0x40, 2, 0, 1];

#[actix_rt::test]
async fn a_puback_waits_for_the_node_of_a_subscriber() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "a", QoS::AtLeastOnce);
    let mut publisher = world.client(None).await;
    publisher.write_all(&publish("a", b"x", QoS::AtLeastOnce)).await.expect("the server reads");
    publisher.write_all(&publish("b", b"nobody", QoS::AtLeastOnce)).await.expect("the server reads");
    ping(&mut publisher).await;
    assert_eq!(world.sent(), [message("a", QoS::AtLeastOnce, b"x")]);
    world.peers.acknowledged(OTHER, 1);
    assert_eq!(
        read(&mut publisher, 8).await,
        [PUBACK, PUBACK].concat(),
        "the second has waited for its turn"
    );
}

#[actix_rt::test]
async fn a_puback_waits_no_longer_for_a_node_that_is_gone() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "a", QoS::AtLeastOnce);
    let mut publisher = world.client(None).await;
    publisher.write_all(&publish("a", b"x", QoS::AtLeastOnce)).await.expect("the server reads");
    ping(&mut publisher).await;
    world.links.0.lock().unregistered.insert(OTHER);
    world.peers.link_ended(OTHER);
    assert_eq!(read(&mut publisher, 4).await, PUBACK);
    publisher.write_all(&publish("a", b"y", QoS::AtLeastOnce)).await.expect("the server reads");
    assert_eq!(read(&mut publisher, 4).await, PUBACK, "and is not waited for when it has no sessions");
}

#[actix_rt::test]
async fn a_message_of_another_node_reaches_the_sessions_here_and_goes_no_further() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "a/#", QoS::AtLeastOnce);
    world.subscribe_elsewhere(OTHER + 1, "a/#", QoS::AtLeastOnce);
    let mut plain = world.subscriber("a/+", QoS::AtMostOnce).await;
    let mut acknowledged = world.subscriber("a/b", QoS::AtLeastOnce).await;
    let message = publish("a/b", b"x", QoS::AtLeastOnce);
    let plain_message = publish("a/b", b"x", QoS::AtMostOnce);
    for _ in 0..2 {
        world.deliver("a/b", b"x", QoS::AtLeastOnce).await;
        assert_eq!(read(&mut plain, plain_message.len()).await, plain_message);
    }
    assert_eq!(read(&mut acknowledged, message.len()).await, message);
    world.deliver("a/nobody\r\n", b"x", QoS::AtMostOnce).await;
    let odd = publish("a/nobody\r\n", b"x", QoS::AtMostOnce);
    assert_eq!(read(&mut plain, odd.len()).await, odd, "characters of a topic are its own");
    // A session that comes later gets what comes later still.
    let mut late = world.subscriber("a/b", QoS::AtMostOnce).await;
    world.deliver("a/b", b"y", QoS::AtMostOnce).await;
    let expected = publish("a/b", b"y", QoS::AtMostOnce);
    assert_eq!(read(&mut late, expected.len()).await, expected);
    assert!(world.links.0.lock().sent.is_empty());
}

#[actix_rt::test]
async fn what_nobody_here_knows_is_taken_and_reaches_nobody() {
    let world = World::new().await;
    let mut witness = world.subscriber("#", QoS::AtMostOnce).await;
    let mut chunk = ChunkWriter::default();
    let elsewhere = SpaceId::Broker(BrokerId::new("another"));
    let here = broker().space();
    for (space, topic) in [(&elsewhere, "a"), (&here, "$devices/d/events"), (&here, "a/+"), (&here, "")] {
        let number = chunk.topic(space, topic);
        chunk.message(number, QoS::AtLeastOnce, b"x");
    }
    world.peers.deliver(SOURCE, chunk.take().into()).await;
    world.deliver("end", b"x", QoS::AtMostOnce).await;
    let end = publish("end", b"x", QoS::AtMostOnce);
    assert_eq!(read(&mut witness, end.len()).await, end, "nothing came before");
}

#[actix_rt::test]
async fn a_chunk_that_cannot_be_read_is_dropped_as_a_whole_and_the_link_goes_on() {
    let world = World::new().await;
    let mut witness = world.subscriber("#", QoS::AtMostOnce).await;
    let mut chunk = ChunkWriter::default();
    let number = chunk.topic(&broker().space(), "a");
    chunk.message(number, QoS::AtMostOnce, b"x");
    let mut damaged = chunk.take();
    damaged.push(0xff);
    for bytes in [damaged, Vec::new(), vec![0x99; 1000]] {
        world.peers.deliver(SOURCE, bytes.into()).await;
    }
    world.deliver("end", b"x", QoS::AtMostOnce).await;
    let end = publish("end", b"x", QoS::AtMostOnce);
    assert_eq!(read(&mut witness, end.len()).await, end);
    let malformed = &world.environment.forwarding.counters.chunks_malformed;
    assert_eq!(malformed.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[actix_rt::test]
async fn a_publisher_waits_while_too_much_is_on_the_way_to_a_node() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "a", QoS::AtLeastOnce);
    let (mut publisher, mut bystander) = (world.client(None).await, world.client(None).await);
    world.links.set_load(OTHER, BACKLOG_BYTES_MAX + 1, true);
    for payload in [b"1", b"2", b"3"] {
        publisher.write_all(&publish("a", payload, QoS::AtMostOnce)).await.expect("the server reads");
        ping(&mut bystander).await;
    }
    assert_eq!(world.sent(), [message("a", QoS::AtMostOnce, b"1")], "then the load was known");
    assert_eq!(world.counter(|counters| counters.messages_received.get()), 1);
    world.links.set_load(OTHER, 0, true);
    world.peers.link_changed(OTHER);
    ping(&mut publisher).await;
    let payloads: Vec<_> = world.sent().into_iter().map(|(_, _, payload)| payload).collect();
    assert_eq!(payloads, [b"1", b"2", b"3"], "each once, in order");
    assert_eq!(world.counter(|counters| counters.messages_received.get()), 3);
}

#[actix_rt::test]
async fn qos_0_is_dropped_and_counted_when_a_node_cannot_be_reached_and_enough_waits_for_it() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "a", QoS::AtLeastOnce);
    let mut witness = world.subscriber("a", QoS::AtMostOnce).await;
    let mut publisher = world.client(None).await;
    world.links.set_load(OTHER, BACKLOG_BYTES_MAX + 1, false);
    for payload in [b"1", b"2"] {
        publisher.write_all(&publish("a", payload, QoS::AtMostOnce)).await.expect("the server reads");
        ping(&mut publisher).await;
    }
    assert_eq!(world.sent(), [message("a", QoS::AtMostOnce, b"1")]);
    assert_eq!(world.counter(|counters| counters.messages_dropped_link_full.get()), 1);
    let expected = [publish("a", b"1", QoS::AtMostOnce), publish("a", b"2", QoS::AtMostOnce)].concat();
    assert_eq!(read(&mut witness, expected.len()).await, expected, "sessions here get all");
}

#[actix_rt::test]
async fn a_will_goes_to_other_nodes_behind_what_its_client_has_published() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "#", QoS::AtLeastOnce);
    let mut witness = world.subscriber("wills/+", QoS::AtMostOnce).await;
    let mut client = world.client(Some("wills/a")).await;
    client.write_all(&publish("a", b"last", QoS::AtMostOnce)).await.expect("the server reads");
    drop(client);
    let will = publish("wills/a", b"gone", QoS::AtMostOnce);
    assert_eq!(read(&mut witness, will.len()).await, will);
    ping(&mut witness).await;
    let expected = [message("a", QoS::AtMostOnce, b"last"), message("wills/a", QoS::AtMostOnce, b"gone")];
    assert_eq!(world.sent(), expected);
}

#[actix_rt::test]
async fn the_api_waits_for_the_nodes_of_subscribers() {
    let world = World::new().await;
    world.subscribe_elsewhere(OTHER, "a", QoS::AtLeastOnce);
    let principal = broker();
    let publish = || publisher::publish(&world.environment, &principal, "a", bytes::Bytes::from_static(b"x"));
    {
        let mut published = std::pin::pin!(publish());
        assert!(futures::poll!(published.as_mut()).is_pending());
        assert_eq!(world.sent(), [message("a", QoS::AtLeastOnce, b"x")]);
        world.peers.acknowledged(OTHER, 1);
        published.await.expect("it is with its subscribers");
    }
    world.links.set_load(OTHER, BACKLOG_BYTES_MAX + 1, true);
    assert!(matches!(publish().await, Err(PublisherError::Congested)));
    assert_eq!(world.sent().len(), 1);
}

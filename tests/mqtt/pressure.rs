//! A subscriber that reads nothing costs bounded memory and costs nobody else a message.

use std::fs;

use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role},
    janitor,
    node::Node,
    ops,
    packet::{Message, Packet},
    runtime::run,
};

use crate::BINARY;

const PAYLOAD_BYTES: usize = 64 * 1024;

/// Limits small enough to be reached within seconds.
const CONFIGURATION: &str = "[limits]\noutbox_bytes_max = 1048576\nqueue_bytes_max = 1048576\n";

/// What the kernel may buffer for one stalled connection on both sides, above the node's own bound.
const SOCKET_BYTES_MAX: u64 = 16 << 20;

fn node_with_small_limits() -> Node {
    let directory = janitor::new_directory("small-");
    let file = directory.join("rookery.toml");
    fs::write(&file, CONFIGURATION).expect("the directory is writable");
    Node::start_in(BINARY, &directory.join("data"), &["--config", file.to_str().expect("the path is text")])
}

/// Publishes `count` messages one after the other, each received by the healthy subscriber before the next.
async fn publish_and_receive(fixture: &Fixture<'_>, device: &mut Client, healthy: &mut Client, count: usize) {
    let topic = fixture.expand("$devices/{D1}/events");
    let payload = vec![7; PAYLOAD_BYTES];
    for _ in 0..count {
        device.publish_unacknowledged(&topic, &payload).await;
        assert_eq!(healthy.receive().await.payload.len(), PAYLOAD_BYTES);
    }
}

#[test]
fn stalled_qos_0_subscriber_loses_messages_and_nobody_else_does() {
    let node = node_with_small_limits();
    run(async {
        let fixture = Fixture::create(&node).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut stalled = fixture.connect(Role::R).await;
        assert_eq!(stalled.subscribe(&[(&topic, 0)]).await, [0]);
        let mut healthy = fixture.connect(Role::R).await;
        assert_eq!(healthy.subscribe(&[(&topic, 0)]).await, [0]);
        let mut device = fixture.connect(Role::D1).await;
        publish_and_receive(&fixture, &mut device, &mut healthy, 50).await;
        let before = node.resident_bytes();
        // 128 MiB for a subscriber whose outbox holds 1 MiB.
        publish_and_receive(&fixture, &mut device, &mut healthy, 2000).await;
        let grown = node.resident_bytes().saturating_sub(before);
        assert!(grown < SOCKET_BYTES_MAX, "the stalled subscriber costs {grown} bytes");
        let dropped = ops::metric(&node, "rookery_messages_dropped_outbox_full_total");
        assert!(dropped.is_some_and(|dropped| dropped > 100.0), "drops are counted: {dropped:?}");
        // It gets on with what was kept, and its connection was never at fault.
        assert_eq!(stalled.receive().await.payload.len(), PAYLOAD_BYTES);
        stalled.fence().await;
        stalled.take_inbox();
        publish_and_receive(&fixture, &mut device, &mut healthy, 1).await;
        assert_eq!(stalled.receive_exactly(1).await.len(), 1);
    });
}

#[test]
fn stalled_qos_1_subscriber_is_closed_and_nobody_else_is() {
    let node = node_with_small_limits();
    run(async {
        let fixture = Fixture::create(&node).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut stalled = fixture.subscriber(Role::R, &topic).await;
        stalled.acknowledges = false;
        let mut healthy = fixture.subscriber(Role::R, &topic).await;
        let mut device = fixture.connect(Role::D1).await;
        let payload = vec![7; PAYLOAD_BYTES];
        for _ in 0..100 {
            device.publish(&topic, &payload).await;
            assert_eq!(healthy.receive().await.quality, 1);
        }
        // Its queue of 1 MiB was full after 16 messages.
        while let Some(packet) = stalled.next().await {
            assert!(matches!(packet, Packet::Publish(_)), "{packet:?}");
        }
        healthy.fence().await;
        device.fence().await;
        assert_eq!(ops::metric(&node, "rookery_sessions_closed_slow_total"), Some(1.0));
    });
}

#[test]
fn unacknowledged_message_is_sent_again_within_the_connection() {
    let directory = janitor::new_directory("redelivery-");
    let file = directory.join("rookery.toml");
    fs::write(&file, "[limits]\nredelivery_interval_s = 1\n").expect("the directory is writable");
    let arguments = ["--config", file.to_str().expect("the path is text")];
    let node = Node::start_in(BINARY, &directory.join("data"), &arguments);
    run(async {
        let fixture = Fixture::create(&node).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        backend.acknowledges = false;
        fixture.connect(Role::D1).await.publish(&topic, b"x").await;
        let first = backend.receive().await;
        backend.acknowledges = true;
        let again = backend.receive().await;
        assert_eq!(again, Message { duplicate: true, ..first }, "U-M2");
    });
}

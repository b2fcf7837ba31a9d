//! Limits of the original that are off unless they are configured: how often devices and brokers publish, and how many
//! clients a broker has (`spec/domain.md`, quotas; U-M11).

use std::fs;

use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role, unique_client_id},
    janitor,
    node::Node,
    ops,
    packet::{Connect, Message, Packet},
    runtime::{run, within},
    tls::TlsOptions,
};
use tonic::Code;

use crate::BINARY;

/// The quotas of the original are 1, 50 and 50.
const CONFIGURATION: &str = "[limits]\ndevice_messages_per_second_max = 5\nbroker_messages_per_second_max = 3\n\
                             [quotas]\nclients_per_broker_max = 2\n";

fn node() -> Node {
    let directory = janitor::new_directory("quotas-");
    let file = directory.join("rookery.toml");
    fs::write(&file, CONFIGURATION).expect("the directory is writable");
    Node::start_in(BINARY, &directory.join("data"), &["--config", file.to_str().expect("the path is text")])
}

fn counted(node: &Node, name: &str) -> f64 {
    ops::metric(node, name).expect("the metric exists")
}

/// Publishes 20 messages at once with QoS 0, and returns how many get to the subscriber.
async fn flood(publisher: &mut Client, subscriber: &mut Client, topic: &str) -> usize {
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend(Message::new(topic, &[number], 0).encode());
    }
    publisher.send(&bytes).await;
    publisher.fence().await;
    subscriber.fence().await;
    subscriber.take_inbox().len()
}

#[test]
fn a_device_above_its_rate_loses_qos_0_and_waits_with_qos_1() {
    let node = node();
    run(async {
        let fixture = Fixture::create(&node).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.connect(Role::R).await;
        assert_eq!(backend.subscribe(&[(&topic, 1)]).await, [1]);
        let mut device = fixture.connect(Role::D1).await;
        let received = flood(&mut device, &mut backend, &topic).await;
        assert!((5..20).contains(&received), "{received} of 20 got through");
        let dropped = counted(&node, "rookery_messages_dropped_over_rate_total");
        assert_eq!(dropped as usize, 20 - received, "those that did not are counted");

        // More than a second's worth, and what stands behind it is not lost either.
        let mut bytes = Vec::new();
        for packet_identifier in 1..=12 {
            bytes.extend(Message { packet_identifier, ..Message::new(&topic, b"q", 1) }.encode());
        }
        device.send(&bytes).await;
        for packet_identifier in 1..=12 {
            assert_eq!(device.next().await, Some(Packet::PubAck(packet_identifier)));
        }
        assert_eq!(backend.receive_exactly(12).await.len(), 12);
        assert!(counted(&node, "rookery_publishers_slowed_total") >= 1.0);
        device.fence().await;

        // Nobody else is held up: another device, and the registry, which has no such limit.
        let mut other = fixture.connect(Role::D2).await;
        other.publish(&fixture.expand("$devices/{D2}/events"), b"x").await;
        let slowed = counted(&node, "rookery_publishers_slowed_total");
        for _ in 0..30 {
            backend.publish(&fixture.expand("$devices/{D1}/commands"), b"x").await;
        }
        assert_eq!(counted(&node, "rookery_publishers_slowed_total"), slowed);
    });
}

#[test]
fn the_clients_of_a_broker_share_a_rate_and_are_few() {
    let node = node();
    run(async {
        let fixture = Fixture::create(&node).await;
        let mut subscriber = fixture.connect(Role::B).await;
        assert_eq!(subscriber.subscribe(&[("a/b", 0)]).await, [0]);
        let mut publisher = fixture.connect(Role::B).await;
        let received = flood(&mut publisher, &mut subscriber, "a/b").await;
        assert!((3..20).contains(&received), "{received} of 20 got through");
        let results = (0..20).map(|_| fixture.api.publish(fixture.entity(Role::B), "a/b", b"x"));
        let refused = futures::future::join_all(results).await.into_iter().filter_map(Result::err);
        let refused: Vec<_> = refused.map(|status| status.code()).collect();
        assert!(
            !refused.is_empty() && refused.iter().all(|code| *code == Code::ResourceExhausted),
            "{refused:?}"
        );

        // A third client waits outside until there is room; other brokers have their own.
        assert_eq!(connack(&fixture, Role::B).await, 3);
        assert_eq!(connack(&fixture, Role::B2).await, 0);
        publisher.disconnect().await;
        within("room for another client", async { while connack(&fixture, Role::B).await != 0 {} }).await;
    });
}

/// Connects once more and returns the answer.
async fn connack(fixture: &Fixture<'_>, role: Role) -> u8 {
    let options = TlsOptions::with(fixture.certificate(role).await);
    let mut client = Client::tls(fixture.node.address("mqtts"), &fixture.node.ca_pem(), &options)
        .await
        .expect("TLS works");
    client.connect(&Connect::new(&unique_client_id())).await
}
